//! `keyfob from-curl`: the profile that it makes sends what the curl command line sends.

use crate::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Command lines in the style of documentation. URL is the server's address with its scheme, and HOST without.
const LINES: &[&str] = &[
    // The client among the parameters, or in the Authorization header.
    "curl -d grant_type=client_credentials -d client_id=abc -d client_secret=hunter2 URL/token",
    "curl -X POST URL/oauth2/token -d 'grant_type=client_credentials&client_id=abc&client_secret=hunter2'",
    "curl --request POST --url URL/oauth/token --header 'content-type: application/x-www-form-urlencoded' --data grant_type=client_credentials --data client_id=abc --data client_secret=hunter2 --data audience=https://api.example/",
    "curl -u abc:hunter2 -d grant_type=client_credentials URL/v1/oauth2/token",
    "curl -v -X POST \"URL/v1/oauth2/token\" -u \"abc:hunter2\" -H \"Content-Type: application/x-www-form-urlencoded\" -d \"grant_type=client_credentials\"",
    "curl URL/api/token --user abc:hunter2 --data grant_type=client_credentials --data scope=read",
    "curl -u hunter2: -d grant_type=client_credentials URL/v1/tokens",
    "curl -u 'a:hunter2&+/ =' -d grant_type=client_credentials URL/t",
    "curl -ua+b@c:hunter2%2F -d grant_type=client_credentials URL/t",
    "curl -uabc:hunter2 --basic -dgrant_type=client_credentials URL/t",
    "curl -sSf -XPOST -uabc:hunter2 -dgrant_type=client_credentials URL/t -o token.json",
    "curl -d 'grant_type=client_credentials' -d 'client_id=public' URL/t",
    // Encodings.
    "curl --data-urlencode 'client_secret=hunter2&=+ é' -d client_id=abc -d grant_type=client_credentials URL/t",
    "curl -d 'grant_type=client_credentials&client_id=abc&client_secret=hunter2%26%3D%2B%20x' URL/t",
    "curl -d grant_type=client_credentials --data-urlencode 'scope=read write' -d client_id=a -d client_secret=hunter2 URL/t",
    "curl --data-raw 'grant_type=client_credentials&scope=https%3A%2F%2Fgraph.example%2F.default&client_id=a&client_secret=hunter2' URL/acme/oauth2/v2.0/token",
    "curl --data-binary 'grant_type=client_credentials&client_id=a&client_secret=hunter2' URL/t",
    "curl --data-ascii 'grant_type=client_credentials&client_id=a&client_secret=hunter2' URL/t",
    "curl -d grant_type=client_credentials -d resource=https://a.example -d resource=https://b.example -d client_id=a -d client_secret=hunter2 URL/t",
    // Users, refresh tokens and other grants.
    "curl -X POST URL/t -d 'grant_type=password&username=alice&password=hunter2&client_id=abc'",
    "curl -X POST URL/t -u abc:hunter2 -d 'grant_type=password' -d 'username=alice' -d 'password=hunter2-too'",
    "curl -X POST URL/t -d 'username=alice&password=hunter2'",
    "curl -X POST URL/t -d 'grant_type=refresh_token&refresh_token=hunter2&client_id=abc'",
    "curl -u abc:hunter2 URL/t -d grant_type=refresh_token -d refresh_token=hunter2-too",
    "curl -d grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer -d assertion=hunter2.x.y URL/t",
    "curl URL/identity/token -d 'grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey=hunter2' -H 'Accept: application/json'",
    "curl -d grant_type=account_credentials -d account_id=42 -u abc:hunter2 URL/oauth/token",
    // JSON.
    "curl -X POST URL/t -H 'Content-Type: application/json' -d '{\"grant_type\": \"client_credentials\", \"client_id\": \"abc\", \"client_secret\": \"hunter2\", \"audience\": \"x\"}'",
    "curl --json '{\"client_id\": \"abc\", \"client_secret\": \"hunter2\"}' URL/api/v1/auth",
    "curl --request POST --url URL/login --header 'content-type: application/json' --data '{\"username\":\"alice\",\"password\":\"hunter2\"}'",
    "curl -H 'Content-Type: application/json; charset=utf-8' -d '{\"email\": \"a@b.example\", \"password\": \"hunter2 \\\"x\\\"\"}' URL/sessions",
    "curl URL/auth -H \"Content-Type: application/json\" -d \"{\\\"api_key\\\": \\\"hunter2\\\", \\\"name\\\": \\\"x\\\"}\"",
    "curl -X PUT URL/t -H 'Content-Type: application/json' -d '{\"apiKey\":\"hunter2\"}'",
    "curl -H 'Content-Type: application/json' --data-raw $'{\"client_id\": \"it\\'s\", \"client_secret\": \"hunter2\"}' URL/t",
    // The query.
    "curl 'URL/t?grant_type=client_credentials&client_id=abc&client_secret=hunter2'",
    "curl -G URL/t -d grant_type=client_credentials -d client_id=abc --data-urlencode 'client_secret=hunter2 &x'",
    "curl -X POST 'URL/oauth/token?grant_type=client_credentials&client_id=abc&client_secret=hunter2'",
    "curl -X POST -u abc:hunter2 'URL/oauth/token?grant_type=account_credentials&account_id=42'",
    "curl --get URL/t --data username=alice --data password=hunter2",
    "curl 'URL/t?api-version=7' -d grant_type=client_credentials -d client_id=abc -d client_secret=hunter2",
    // Headers.
    "curl -H 'Authorization: Bearer hunter2' URL/session",
    "curl --oauth2-bearer hunter2 -X POST URL/session",
    "curl -X POST -H 'Authorization: Basic YWJjOmh1bnRlcjI=' -d grant_type=client_credentials URL/t",
    "curl -X POST -H 'X-Api-Key: hunter2' -H 'X-Tenant: acme' -d grant_type=client_credentials URL/t",
    "curl -X POST -H 'Accept: application/vnd.example+json' -H 'Authorization: Bearer hunter2' URL/app/installations/1/access_tokens",
    "curl -H 'Metadata: true' 'URL/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.example'",
    "curl -b 'session=hunter2' -d grant_type=client_credentials URL/t",
    "curl -A 'vendor/1.0' -e 'https://www.example/' -d grant_type=client_credentials -u a:hunter2 URL/t",
    // The shell.
    "$ curl -X POST \\\n    -u abc:hunter2 \\\n    -d grant_type=client_credentials \\\n    URL/t",
    "# Get a token:\ncurl -u 'abc:it'\\''s-hunter2' -d grant_type=client_credentials URL/t | jq -r .access_token",
    "curl -L --compressed --connect-timeout 5 --max-time 10 -u abc:hunter2 -d grant_type=client_credentials HOST/t",
];

/// The same for Windows, beside a line for a POSIX shell that sends the same.
const WINDOWS_LINES: &[(&str, &str)] = &[
    (
        "curl ^\r\n  -X POST ^\r\n  -H \"Content-Type: application/json\" ^\r\n  -d \"{\\\"client_id\\\": \\\"it's\\\", \\\"client_secret\\\": \\\"hunter2\\\"}\" ^\r\n  URL/t",
        "curl -H 'Content-Type: application/json' -d '{\"client_id\": \"it'\\''s\", \"client_secret\": \"hunter2\"}' URL/t",
    ),
    (
        "curl.exe -u abc:hunter2 ^\r\n -d grant_type=client_credentials^&scope=a URL/t",
        "curl -u abc:hunter2 -d 'grant_type=client_credentials&scope=a' URL/t",
    ),
    (
        "curl.exe -X POST `\r\n  -u 'abc:hunter2' `\r\n  -d 'grant_type=client_credentials' `\r\n  URL/t",
        "curl -u abc:hunter2 -d grant_type=client_credentials URL/t",
    ),
];

/// Parameters in any order, decoded.
fn pairs(text: &str) -> Vec<String> {
    let decode = |text: &str| {
        let mut parts = text.split('%');
        let mut bytes = parts.next().unwrap().replace('+', " ").into_bytes();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend(part[2..].replace('+', " ").bytes());
        }
        String::from_utf8(bytes).unwrap()
    };
    let mut pairs: Vec<String> = text.split('&').filter(|pair| !pair.is_empty()).map(decode).collect();
    pairs.sort();
    pairs
}

/// A request, without what each client sends of its own and without the order of parameters.
fn meant(seen: &Seen) -> (String, Vec<String>, BTreeMap<String, String>, Vec<String>) {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let mut headers: BTreeMap<String, String> = seen.headers.iter().cloned().collect();
    for name in ["host", "content-length", "connection", "accept-encoding"] {
        headers.remove(name);
    }
    headers.retain(|name, value| {
        !(name == "accept" && ["*/*", "application/json"].contains(&value.as_str())
            || name == "user-agent" && (value.starts_with("curl/") || value.starts_with("keyfob/")))
    });
    let body = seen.body_text();
    let is_json = headers.get("content-type").is_some_and(|value| value.contains("json"));
    let body = match is_json {
        true => match miniserde::json::from_str(&body).unwrap() {
            miniserde::json::Value::Object(object) => {
                object.iter().map(|(name, value)| format!("{name}={}", miniserde::json::to_string(value))).collect()
            }
            _ => panic!("{body}"),
        },
        false => pairs(&body),
    };
    (format!("{} {path}", seen.method), pairs(query), headers, body)
}

fn curl_sends(line: &str) -> Seen {
    let server = token_server();
    let line =
        line.trim_start_matches("$ ").replace("URL", &server.url("")).replace("HOST", &server.address().to_string());
    let mut bash = Command::new("bash");
    bash.args(["-c", &line]).env("no_proxy", "*").env("HOME", "/nonexistent");
    let output = bash.current_dir(env!("CARGO_TARGET_TMPDIR")).output().unwrap();
    server.requests().into_iter().next().unwrap_or_else(|| panic!("{line}: {output:?}"))
}

fn profile_sends(line: &str) -> Seen {
    let place = Place::new();
    let server = token_server();
    let line = line.replace("URL", &server.url("")).replace("HOST", &server.address().to_string());
    let outcome = place.keyfob(["from-curl", "--name", "vendor"]).input(line.as_str()).outcome();
    let path = place.path("config/keyfob/vendor.json");
    assert_eq!((outcome.code, outcome.stdout.trim_end()), (Some(0), path.as_str()), "{line}: {outcome:?}");
    let profile = fs::read_to_string(path).unwrap();
    assert!(!profile.contains("hunter2"), "{line}: {profile}");
    for entry in fs::read_dir(place.path("config/keyfob")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600, "{line}");
    }
    let outcome = place.keyfob(["token", "--no-cache", "vendor"]).outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "tok-1\n"), "{line}: {profile}: {outcome:?}");
    server.request()
}

#[test]
fn a_profile_sends_what_its_curl_line_sends() {
    if Command::new("curl").arg("--version").output().is_err()
        || Command::new("bash").arg("--version").output().is_err()
    {
        println!("skipped: there is no curl or no bash here");
        return;
    }
    for line in LINES {
        assert_eq!(meant(&profile_sends(line)), meant(&curl_sends(line)), "{line}");
    }
    for (line, same) in WINDOWS_LINES {
        assert_eq!(meant(&profile_sends(line)), meant(&curl_sends(same)), "{line}");
    }
}

#[test]
fn a_line_that_cannot_be_followed_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let basic = "curl -u abc:hunter2 -d grant_type=client_credentials https://as.example/t";
    for (line, message) in [
        ("wget https://as.example/t".to_owned(), "it does not begin with curl"),
        ("curl -d grant_type=client_credentials".to_owned(), "it has no URL"),
        (format!("{basic} hunter2"), "it has two URLs: is an argument not quoted?"),
        (
            format!("{basic} -k"),
            "--insecure: keyfob always checks certificates; if the server has its own authority, use --cacert with its certificate",
        ),
        (
            format!("{basic} -F secret=hunter2"),
            "--form: keyfob does not send multipart forms; token endpoints take application/x-www-form-urlencoded (-d)",
        ),
        (format!("{basic} --digest"), "--digest: keyfob does not know this authentication"),
        (format!("{basic} --hunter-option"), "curl's option --hunter-option is not known here"),
        (format!("{basic} --Hunter2=x"), "curl's option --… is not known here"),
        (format!("{basic} -d @body.txt"), "--data reads a file; write its content here instead"),
        (format!("{basic} -d \"scope=$SCOPE\""), "the value of the shell variable $SCOPE is not known here; write it in its place"),
        (format!("{basic} -d \"scope=$(cat s)\""), "a command substitution cannot be followed"),
        (format!("{basic} -d 'scope=hunter2"), "a single quote is not closed"),
        (
            "curl -u abc -d grant_type=client_credentials https://as.example/t".to_owned(),
            "--user: the password is missing, which curl would ask for; write it here: -u ID:SECRET",
        ),
        (
            "curl -H 'Content-Type: application/json' -d '{\"auth\": {\"password\": \"hunter2\"}}' https://as.example/t".to_owned(),
            "\"auth\": a secret inside nested JSON cannot be expressed",
        ),
        (
            "curl 'https://as.example/t?key=hunter2' -d grant_type=client_credentials".to_owned(),
            "a secret in the URL beside parameters in the body cannot be expressed",
        ),
        ("curl -X POST -H 'Content-Type: application/json' -d '[1]' https://as.example/t".to_owned(), "the body is not a JSON object"),
    ] {
        let outcome = place.keyfob(["from-curl"]).input(line.as_str()).outcome();
        outcome.is(2, "", &format!("keyfob: from-curl: {message}\n"));
    }
    // What keyfob itself does not accept is taken back.
    let line = basic.replace("https", "http");
    let outcome = place.keyfob(["from-curl"]).input(line.as_str()).outcome();
    assert!(outcome.stderr.starts_with("keyfob: plain http to as.example"), "{outcome:?}");
    let left: Vec<_> = fs::read_dir(place.path("config"))
        .unwrap()
        .flat_map(|entry| fs::read_dir(entry.unwrap().path()).unwrap())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn nothing_is_overwritten_and_no_secret_is_printed() {
    let place = Place::new();
    let line = "curl -L -u abc:hunter2 -d grant_type=client_credentials https://as.example/t; rm x";
    let directory = place.path("config/keyfob");
    let outcome = place.keyfob(["from-curl"]).input(line).outcome();
    let told = format!(
        "keyfob: from-curl: ignored what follows the first command\n\
         keyfob: from-curl: ignored --location: keyfob does not follow redirects, which would pass the credentials on\n\
         keyfob: from-curl: a secret is in {directory}/as.example.client-secret\n"
    );
    outcome.is(0, &format!("{directory}/as.example.json\n"), &told);
    assert_eq!(
        fs::read_to_string(format!("{directory}/as.example.json")).unwrap(),
        "{\n  \"url\": \"https://as.example/t\",\n  \"method\": \"POST\",\n  \"params\": \"form\",\n  \
         \"auth\": \"client_secret_basic\",\n  \"client_id\": \"abc\",\n  \
         \"client_secret_file\": \"as.example.client-secret\",\n  \"grant\": \"client_credentials\"\n}\n"
    );
    for file in ["as.example.json", "as.example.client-secret"] {
        let outcome = place.keyfob(["from-curl"]).input(line).outcome();
        let message = format!(
            "keyfob: from-curl: {directory}/as.example.client-secret: already exists\nhint: remove it, or use another --name\n"
        );
        outcome.is(
            2,
            "",
            &if file == "as.example.json" { message } else { message.replace(".client-secret", ".json") },
        );
        if file == "as.example.json" {
            fs::remove_file(format!("{directory}/as.example.client-secret")).unwrap();
        }
    }
    // The secret of a variable stays where it is.
    let line = "curl -u \"abc:$SECRET\" -d grant_type=client_credentials https://as.example/t";
    let outcome = place.keyfob(["from-curl", "--name", "./own.json"]).input(line).outcome();
    outcome.prints("./own.json");
    let profile = fs::read_to_string(place.path("here/own.json")).unwrap();
    assert!(profile.contains("\"client_secret_env\": \"SECRET\""), "{profile}");
}
