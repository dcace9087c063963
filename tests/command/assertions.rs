//! Assertions: keys, claims, and commands that sign.

use crate::signing::{claims, decoded, path};
use crate::*;

/// A place with keys in the current directory.
fn place() -> Place {
    let place = Place::new();
    for name in ["p256.pem", "ed25519.pem", "p256.der", "service-account.json", "p256.encrypted.pem"] {
        place.file(&format!("here/{name}"), std::fs::read(path(name)).unwrap());
    }
    place
}

fn last(server: &Server) -> String {
    server.requests().last().unwrap().body_text()
}

/// What the server was sent, with the header and the claims of an assertion, less those that differ each time.
fn sent(server: &Server) -> String {
    let body = last(server);
    let shown = body.split('&').map(|pair| match pair.split_once("assertion=") {
        Some((name, value)) => {
            let header = String::from_utf8(decoded(value.split('.').next().unwrap())).unwrap();
            let claims = claims(&body, &format!("{name}assertion")).unwrap();
            let (before, rest) = claims.split_once("\"iat\":").unwrap_or((&claims, ""));
            let after = rest.split_once("\"jti\":\"").map_or("", |(_, rest)| rest.split_once('"').unwrap().1);
            format!("{name}assertion={header}{before}…{after}")
        }
        None => pair.to_owned(),
    });
    shown.collect::<Vec<_>>().join("&").replace(&server.url(""), "URL")
}

const TYPE: &str = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
const BEARER: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
const CLIENT: &str = "grant_type=client_credentials&client_id=id&";

#[test]
fn a_key_authenticates_the_client_or_is_the_grant() {
    let place = place();
    let server = token_server();
    let url = server.url("/t");
    let es256 = r#"{"alg":"ES256","typ":"JWT"}"#;
    let own = r#"{"iss":"id","sub":"id","aud":"URL/t",…}"#;
    let mut rows: Vec<(&str, String)> = vec![
        ("--client-id id --signing-key-file p256.pem", format!("{CLIENT}{TYPE}&client_assertion={es256}{own}")),
        ("--client-id id --signing-key-file p256.der", format!("{CLIENT}{TYPE}&client_assertion={es256}{own}")),
        (
            "--client-id id --signing-key-file p256.pem --auth private_key_jwt --key-id 7 --audience A --algorithm ES256 \
             --claim x=y --claim z=1 --claim z=2 --assertion-header typ=T",
            format!(
                "{CLIENT}{TYPE}&client_assertion={}{}",
                r#"{"alg":"ES256","kid":"7","typ":"T"}"#,
                r#"{"iss":"id","sub":"id",…,"aud":"A","x":"y","z":["1","2"]}"#
            ),
        ),
        (
            "--client-id id --client-secret-file secret --auth client_secret_jwt --audience A",
            format!(
                "{CLIENT}{TYPE}&client_assertion={}{}",
                r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"iss":"id","sub":"id",…,"aud":"A"}"#
            ),
        ),
        (
            "--grant jwt_bearer --signing-key-file service-account.json --claim scope=read",
            format!(
                "{BEARER}&assertion={}{}",
                r#"{"alg":"RS256","typ":"JWT","kid":"0a1b2c3d"}"#,
                r#"{"iss":"meter@keyfob.iam.example","aud":"URL/t",…,"scope":"read"}"#
            ),
        ),
        (
            "--grant jwt_bearer --signing-key-file p256.pem --client-id id --auth private_key_jwt --claim sub=alice --scope s",
            format!(
                "{BEARER}&client_id=id&{TYPE}&client_assertion={es256}{own}&assertion={es256}{}&scope=s",
                r#"{"iss":"id","aud":"URL/t",…,"sub":"alice"}"#
            ),
        ),
        ("--grant jwt_bearer --param-file assertion=secret", format!("{BEARER}&assertion={SENTINEL}")),
    ];
    for (options, expected) in rows.drain(..) {
        let options: Vec<&str> = options.split_whitespace().collect();
        place.token(&url, &options).outcome().prints("tok-1");
        if expected.contains(SENTINEL) {
            assert_eq!(last(&server), expected);
            continue;
        }
        assert_eq!(sent(&server), expected, "{options:?}");
    }
    // In a profile, where paths count from its directory and claims have any type.
    place.file("config/keys/key.pem", std::fs::read(path("p256.pem")).unwrap());
    place.file(
        "config/keys/p.json",
        format!(
            r#"{{"url": "{url}", "client_id": "id", "auth": "private_key_jwt", "signing_key_file": "key.pem",
                "claim": {{"sub": null, "n": 1, "list": ["a"]}}, "assertion_header": {{"x5t#S256": "AbC"}}}}"#
        ),
    );
    let profile = place.path("config/keys/p.json");
    place.keyfob(["token", &profile, "--no-cache", "--claim", "n=2"]).outcome().prints("tok-1");
    let header = r#"{"alg":"ES256","typ":"JWT","x5t#S256":"AbC"}"#;
    let claims = r#"{"iss":"id","aud":"URL/t",…,"list":["a"],"n":"2"}"#;
    assert_eq!(sent(&server), format!("{CLIENT}{TYPE}&client_assertion={header}{claims}"));
    // From a variable, and from standard input.
    let key = std::fs::read_to_string(path("ed25519.pem")).unwrap();
    let run = place.token(&url, &["--client-id", "id", "--signing-key-env", "KEY"]).variable("KEY", &key);
    run.outcome().prints("tok-1");
    place.token(&url, &["--client-id", "id", "--signing-key-file", "-"]).input(key).outcome().prints("tok-1");
    assert!(sent(&server).contains(r#"{"alg":"EdDSA","typ":"JWT"}"#));
}

/// The cache finds the token though each assertion is another, and another key is another client.
#[test]
fn the_cache_knows_a_client_by_its_key() {
    let place = place();
    let server = token_server();
    let url = server.url("/t");
    let ask = |key: &str| {
        let words = ["token", "--url", &url, "--client-id", "id", "--signing-key-file", key];
        place.keyfob(words).outcome().prints("tok-1");
        server.requests().len()
    };
    assert_eq!(["p256.pem", "p256.pem", "ed25519.pem", "p256.pem", "ed25519.pem"].map(ask), [1, 1, 2, 2, 2]);
}

#[test]
fn what_cannot_be_signed_is_said() {
    let place = place();
    let server = token_server();
    for (options, message) in [
        (
            "--client-id id --auth private_key_jwt",
            "the client authentication is `private_key_jwt`, and there is no key\n\
             hint: `private_key_jwt` needs a key (--signing-key-file), `client_secret_jwt` the client secret, and the others \
             neither",
        ),
        (
            "--audience https://api.example --client-id id --client-secret-file secret",
            "`audience` belongs to an assertion, and there is no key to sign one with\n\
             hint: name the key (--signing-key-file); a parameter of the request is set with --param",
        ),
        (
            "--client-id id --signing-key-file p256.encrypted.pem",
            "signing key: it is encrypted, and keyfob cannot ask for its password\n\
             hint: decrypt it into a file that others cannot read: (umask 077; openssl pkey -in encrypted.pem -out key.pem)",
        ),
        (
            "--client-id id --signing-key-file p256.pem --algorithm RS256",
            "signing key: it is an EC key on P-256, which signs with ES256, not with \"RS256\"\n\
             hint: leave the algorithm out, or use another key (--algorithm)",
        ),
        (
            "--client-id id --signing-key-file p256.pem --client-secret-file secret",
            "there is a client secret, but the client authentication is `private_key_jwt`\nhint: leave one of them out",
        ),
        (
            "--client-id id --signing-key-file p256.pem --sign-command x",
            "`signing_key_file` and `sign_command` are both given\nhint: remove one of them",
        ),
        ("--client-id id --sign-command x", "`sign_command` does not say how it signs\nhint: set it with --algorithm"),
        ("--client-id id --sign-command= --algorithm ES256", "`sign_command`: must not be empty"),
        (
            "--client-id id --sign-command no-such-program --algorithm ES256",
            "--sign-command: no-such-program: there is no such file",
        ),
    ] {
        let words: Vec<&str> = options.split_whitespace().collect();
        place.token(&server.url("/t"), &words).outcome().fails(2, &format!("keyfob: {message}"));
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_command_signs() {
    let place = place();
    let server = token_server();
    let run = |command: &str, algorithm: &str, more: &[&str]| {
        let options = ["--client-id", "id", "--algorithm", algorithm, "--sign-command", command];
        let run = place.token(&server.url("/t"), &[&options, more].concat());
        run.variable("PATH", std::env::var_os("PATH").unwrap()).outcome()
    };
    for (command, algorithm, length) in [
        ("head -c 64 /dev/zero", "ES256", 64),
        ("openssl dgst -sha256 -sign p256.pem", "ES256", 64),
        ("openssl dgst -sha256 -sign p256.pem", "XY256", 0),
        ("head -c 7 /dev/zero", "Other", 7),
    ] {
        run(command, algorithm, &[]).prints("tok-1");
        let body = last(&server);
        let signature = decoded(body.rsplit('.').next().unwrap());
        assert!(signature.len() == length || length == 0 && signature[0] == 0x30, "{command}: {}", signature.len());
    }
    let started = Instant::now();
    for (command, more, message) in [
        ("false", &[][..], "false: exit status: 1"),
        (
            "true",
            &[],
            "true: its output is no signature of ES256\n\
                       hint: it must print the signature alone, in bytes, not in Base64 or hexadecimal",
        ),
        (
            "head -c 65 /dev/zero",
            &[],
            "head: its output is no signature of ES256\n\
                       hint: it must print the signature alone, in bytes, not in Base64 or hexadecimal",
        ),
        ("cat /dev/zero", &[], "cat: signal: 13 (SIGPIPE)"),
        ("sleep 60", &["--timeout", "0.3"], "sleep: no signature within 0.3 s"),
    ] {
        run(command, "ES256", more).fails(2, &format!("keyfob: --sign-command: {message}"));
    }
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(server.requests().len(), 4);
}
