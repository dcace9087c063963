//! `keyfob helper`: a credential in the words of git, cargo and kubectl.

use crate::*;
use std::time::SystemTime;

fn place(server: &Server) -> Place {
    let place = Place::new();
    let cache = place.path("cache");
    let text =
        format!(r#"{{"url": "{}", "client_id": "c", "cache_dir": "{cache}", "format": "curl"}}"#, server.url("/t"));
    place.file("config/keyfob/p.json", text);
    place
}

/// A server whose tokens differ.
fn server() -> Server {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Server::with(move |_, stream| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        let _ = stream.write_all(&json(200, &format!(r#"{{"access_token":"tok-{number}","expires_in":3600}}"#)));
    })
}

/// Cuts the seconds since 1970 of an hour from now.
#[track_caller]
fn without_expiry(text: &str) -> String {
    let soon = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 3600;
    let near = (soon - 60..=soon).find(|at| text.contains(&at.to_string())).expect("an hour from now");
    text.replace(&near.to_string(), "EXPIRY")
}

#[test]
fn git_gets_a_token_and_has_a_refused_one_replaced() {
    let server = server();
    let place = place(&server);
    let git = |action: &str, input: &str| place.keyfob(["helper", "git", "p", action]).input(input).outcome();
    for (input, output) in [
        ("protocol=https\nhost=git.example\n\n", "username=oauth2\npassword=tok-1\npassword_expiry_utc=EXPIRY\n"),
        ("protocol=http\nhost=localhost:8000\n", "username=oauth2\npassword=tok-1\npassword_expiry_utc=EXPIRY\n"),
        (
            "capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=git.example\n",
            "capability[]=authtype\nauthtype=Bearer\nephemeral=1\ncredential=tok-1\npassword_expiry_utc=EXPIRY\n",
        ),
    ] {
        let outcome = git("get", input);
        assert_eq!((without_expiry(&outcome.stdout).as_str(), outcome.stderr.as_str()), (output, ""), "{input}");
    }
    let no = "keyfob: helper: git asks for a server that is not https, which gets no token";
    for input in ["protocol=http\nhost=git.example\n", "protocol=http\nhost=localhost.example\n", "host=x\n", ""] {
        git("get", input).fails(2, no);
    }
    // Another's credential is none of this profile's business.
    for (action, input) in [("store", "password=tok-1\n"), ("erase", "password=other\n"), ("erase", ""), ("later", "")]
    {
        git(action, input).is(0, "", "");
    }
    assert_eq!(server.requests().len(), 1);
    for (input, next) in [("password=tok-1\n", "tok-2"), ("authtype=Bearer\ncredential=tok-2\n", "tok-3")] {
        git("erase", input).is(0, "", "");
        assert!(git("get", "protocol=https\nhost=g.example\n").stdout.contains(next));
    }
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn git_gets_the_scheme_of_the_api_and_nothing_that_git_cannot_send() {
    let server = server();
    let place = place(&server);
    let ask = |api: &str| {
        let question = "capability[]=authtype\nprotocol=https\nhost=g.example\n";
        place.file(
            "config/keyfob/q.json",
            format!(r#"{{"url": "{}", "client_id": "c", "api": "{api}"}}"#, server.url("/t")),
        );
        place.keyfob(["helper", "git", "q", "get"]).input(question).outcome()
    };
    let outcome = ask("Authorization: Token {token}");
    assert!(
        outcome.stdout.starts_with("capability[]=authtype\nauthtype=Token\nephemeral=1\ncredential="),
        "{outcome:?}"
    );
    let no = "keyfob: helper: git sends a scheme and a credential in the header Authorization, and the profile's `api` says \
              otherwise";
    for api in ["X-Auth-Token: {token}", "Authorization: {token}"] {
        ask(api).fails(2, no);
    }
}

#[test]
fn cargo_gets_a_header_and_the_reason_of_a_failure() {
    let server = server();
    let place = place(&server);
    let hello = r#"{"v":[1]}"#;
    let get = r#"{"v":1,"registry":{"index-url":"sparse+https://r.example/"},"kind":"get","operation":"read","args":["helper","cargo","p"]}"#;
    let answer = r#"{"Ok":{"kind":"get","token":"Bearer tok-1","cache":"expires","expiration":EXPIRY,"operation_independent":true}}"#;
    // cargo puts the words of its configuration into the question.
    for (words, input) in [
        (&["--cargo-plugin"][..], get.to_owned()),
        (&["helper", "cargo", "p"], get.replace(r#","args":["helper","cargo","p"]"#, "")),
    ] {
        let outcome = place.keyfob(words).input(input + "\n").outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        assert_eq!(without_expiry(&outcome.stdout), format!("{hello}\n{answer}\n"));
    }
    let other = r#"{"v":1,"kind":"login","name":"x"}"#;
    let not_supported = r#"{"Err":{"kind":"operation-not-supported"}}"#;
    place.keyfob(["--cargo-plugin"]).input(format!("{other}\nnonsense\n")).outcome().is(
        0,
        &format!("{hello}\n{not_supported}\n{not_supported}\n"),
        "",
    );
    let missing = get.replace("\"p\"", "\"none\"");
    let outcome = place.keyfob(["--cargo-plugin"]).input(missing + "\n").outcome();
    let error = r#"{"Err":{"kind":"other","message":"profile none: not found","caused-by":[]}}"#;
    assert_eq!((outcome.code, outcome.stdout), (Some(2), format!("{hello}\n{error}\n")));
    // A registry to which the token would go in plain text, or none.
    for registry in ["sparse+http://r.example/", "http://127.0.0.1.example/", "https:///", ""] {
        let outcome =
            place.keyfob(["--cargo-plugin"]).input(get.replace("sparse+https://r.example/", registry)).outcome();
        let message = "helper: cargo asks for a server that is not https, which gets no token";
        let error = format!(r#"{{"Err":{{"kind":"other","message":"{message}","caused-by":[]}}}}"#);
        assert_eq!((outcome.code, outcome.stdout), (Some(2), format!("{hello}\n{error}\n")), "{registry}");
    }
    // Without a known life there is no moment to give.
    let unknown = Server::answering(json(200, r#"{"access_token":"tok-1"}"#));
    let get = get.replace("\"p\"", &format!("\"p\",\"--url\",\"{}\"", unknown.url("/t")));
    let outcome = place.keyfob(["--cargo-plugin"]).input(get + "\n").outcome();
    let answer = r#"{"Ok":{"kind":"get","token":"Bearer tok-1","cache":"never","operation_independent":true}}"#;
    outcome.is(0, &format!("{hello}\n{answer}\n"), "");
}

#[test]
fn kubectl_gets_a_credential_in_the_version_that_it_asks_for() {
    let server = server();
    let place = place(&server);
    for (info, version) in [
        ("", "v1"),
        (r#"{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","spec":{}}"#, "v1beta1"),
        ("nonsense", "v1"),
    ] {
        let outcome = place.keyfob(["helper", "kubectl", "p"]).variable("KUBERNETES_EXEC_INFO", info).outcome();
        let (start, end) = outcome.stdout.split_once("Timestamp\":\"").unwrap();
        assert_eq!(
            start,
            format!(
                r#"{{"apiVersion":"client.authentication.k8s.io/{version}","kind":"ExecCredential","status":{{"token":"tok-1","expiration"#
            )
        );
        assert!(end.ends_with("Z\"}}\n") && end.starts_with("20"), "{end}");
    }
    for (words, message) in [
        (&["helper"][..], "usage: helper: the programs are git, cargo, kubectl, docker and gcp"),
        (&["helper", "svn", "p"], "usage: helper: the programs are git, cargo, kubectl, docker and gcp"),
        (&["helper", "git", "p"], "usage: helper: git wants get, store or erase"),
        (&["helper", "docker", "p"], "usage: helper: the programs are git, cargo, kubectl, docker and gcp"),
        (&["helper", "kubectl"], "usage: helper: no profile is given"),
    ] {
        let hint = "hint: `keyfob help` lists the commands and options";
        place.keyfob(words).outcome().fails(2, &format!("keyfob: {message}\n{hint}"));
    }
    place
        .keyfob(["helper", "kubectl", "p", "--client-secret-file", "-"])
        .outcome()
        .fails(2, "keyfob: helper: the program uses standard input, so secrets must be in files");
}

#[test]
fn docker_and_google_get_the_token_and_the_reason_of_a_failure() {
    let server = server();
    let place = place(&server);
    let docker = place.keyfob(["helper", "docker", "p", "get"]).input("registry.example\n").outcome();
    docker.prints(r#"{"ServerURL":"registry.example","Username":"oauth2","Secret":"tok-1"}"#);
    for server in ["http://registry.example", "ftp://registry.example", ""] {
        let no = "helper: docker asks for a server that is not https, which gets no token";
        let outcome = place.keyfob(["helper", "docker", "p", "get"]).input(server).outcome();
        outcome.is(2, &format!("{no}\n"), &format!("keyfob: {no}\n"));
    }
    let types = "urn:ietf:params:oauth:token-type:";
    for (given, token_type) in [(None, "jwt"), (Some("id_token"), "id_token")] {
        let run = place.keyfob(["helper", "gcp", "p"]);
        let outcome = match given {
            Some(given) => run.variable("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE", format!("{types}{given}")),
            None => run,
        }
        .outcome();
        let answer = format!(
            r#"{{"version":1,"success":true,"token_type":"{types}{token_type}","id_token":"tok-1","expiration_time":EXPIRY}}"#
        );
        assert_eq!((without_expiry(&outcome.stdout), outcome.stderr.as_str()), (answer + "\n", ""));
    }
    let unknown = Server::answering(json(200, r#"{"access_token":"tok-1"}"#));
    place
        .keyfob(["helper", "gcp", "p", "--url", &unknown.url("/t")])
        .outcome()
        .prints(&format!(r#"{{"version":1,"success":true,"token_type":"{types}jwt","id_token":"tok-1"}}"#));
    let no = "helper: docker may get the token, not store or erase it";
    let hint = "hint: `keyfob help` lists the commands and options";
    let store = place.keyfob(["helper", "docker", "p", "store"]).input("{}").outcome();
    store.is(2, &format!("usage: {no}\n"), &format!("keyfob: usage: {no}\n{hint}\n"));
    let no = "helper: gcp gets a token of type jwt or id_token";
    let saml =
        place.keyfob(["helper", "gcp", "p"]).variable("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE", format!("{types}saml2"));
    saml.outcome().is(
        2,
        &format!("{{\"version\":1,\"success\":false,\"code\":\"config\",\"message\":\"{no}\"}}\n"),
        &format!("keyfob: {no}\n"),
    );
    let refusing = Server::answering(json(401, r#"{"error":"invalid_client"}"#));
    let outcome = place.keyfob(["helper", "docker", "p", "get", "--url", &refusing.url("/t")]);
    let outcome = outcome.input("registry.example").outcome();
    assert!(outcome.code == Some(3) && outcome.stdout.contains("invalid_client"), "{outcome:?}");
}

/// A program with an environment of its own.
fn program(name: &str, place: &Place) -> std::process::Command {
    let mut command = std::process::Command::new(name);
    command.env_clear().current_dir(place.path("here"));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", place.path("home")).env("XDG_CONFIG_HOME", place.path("config"));
    command
}

#[test]
fn git_itself_sends_the_token_and_has_a_rejected_one_replaced() {
    let tokens = server();
    let place = place(&tokens);
    let remote = Server::with(|_, stream| {
        let _ = stream.write_all(&answer(401, &["www-authenticate: Basic realm=\"x\""], ""));
    });
    for round in 1..=2 {
        let helper = format!("credential.helper=!{} helper git p", env!("CARGO_BIN_EXE_keyfob"));
        let mut git = program("git", &place);
        git.args(["-c", &helper, "ls-remote", &remote.url("/r.git")]);
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        // It need not be installed.
        let Ok(output) = git.output() else { return };
        let requests = remote.requests();
        let sent: Vec<&str> = requests.iter().filter_map(|request| request.header("authorization")).collect();
        // Before git 2.46 it is the password of oauth2.
        let basic = ["Basic b2F1dGgyOnRvay0x", "Basic b2F1dGgyOnRvay0y"][round - 1];
        let bearer = format!("Bearer tok-{round}");
        assert!(sent.len() == round && [basic, &bearer].contains(&sent[round - 1]), "{sent:?}: {output:?}");
        assert_eq!(tokens.requests().len(), round + 1, "the rejected one was replaced");
    }
}

#[test]
fn cargo_itself_sends_the_token() {
    let tokens = server();
    let place = place(&tokens);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let config = format!(r#"{{"dl":"{api}","api":"{api}"}}"#);
    let registry = Server::on(listener, move |seen, stream| {
        let body = if seen.target == "/config.json" { config.as_str() } else { r#"{"users":[]}"# };
        let _ = stream.write_all(&json(200, body));
    });
    let keyfob = env!("CARGO_BIN_EXE_keyfob");
    let provider = format!("credential-provider = [\"{keyfob}\", \"helper\", \"cargo\", \"p\"]");
    place.file("here/.cargo/config.toml", format!("[registries.r]\nindex = \"sparse+{api}/\"\n{provider}\n"));
    let mut cargo = program(env!("CARGO"), &place);
    cargo.args(["owner", "--list", "--registry", "r", "foo"]).env("CARGO_HOME", place.path("home"));
    let output = cargo.output().unwrap();
    let requests = registry.requests();
    let last = requests.last().unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(last.target, "/api/v1/crates/foo/owners", "{output:?}");
    assert_eq!(last.header("authorization"), Some("Bearer tok-1"));
    assert!(output.status.success(), "{output:?}");
}
