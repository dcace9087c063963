//! Profiles, options and secrets, as the command reads them: where paths count from, what is a mistake, what is sent with
//! which request, and a secret that is typed.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/processes.rs"]
mod processes;
#[path = "common/command.rs"]
mod running;

use common::{Server, json};
use processes::{can, field};
use running::{Place, Run};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::time::Duration;

fn token_server() -> Server {
    Server::answering(json(200, r#"{"access_token":"tok-1","token_type":"Bearer","expires_in":3600}"#))
}

// Where things are.

#[test]
fn the_paths_of_a_profile_count_from_its_directory() {
    let place = Place::new();
    place.file("elsewhere/secrets/own", "in-secrets");
    place.file("elsewhere/beside", "beside");
    place.file("home/key", "at-home");
    place.file("here/beside", "in-the-current-directory");
    place.file("credentials/credential", "credential");
    let absolute = place.path("elsewhere/beside");
    for (member, sent) in [
        ("beside", "beside"),
        ("./beside", "beside"),
        ("secrets/own", "in-secrets"),
        ("../elsewhere/beside", "beside"),
        ("~/key", "at-home"),
        (absolute.as_str(), "beside"),
        ("credential", "credential"),
    ] {
        let server = token_server();
        let url = server.url("/t");
        let text = format!(
            r#"{{"url": "{url}", "client_id": "c", "auth": "client_secret_post", "client_secret_file": "{member}",
                "param_file": {{"p": "{member}", "q": ["{member}", "{member}"]}}, "header_file": {{"X-Key": "{member}"}}}}"#
        );
        place.file("elsewhere/p.json", &text);
        let run = place.keyfob(["token", "--no-cache", "../elsewhere/p.json"]);
        run.variable("CREDENTIALS_DIRECTORY", place.path("credentials")).outcome().prints("tok-1");
        let seen = server.request();
        let body = format!("grant_type=client_credentials&client_id=c&client_secret={sent}&p={sent}&q={sent}&q={sent}");
        assert_eq!((seen.body_text(), seen.header("x-key")), (body, Some(sent)), "{member}");
    }
    // By its name, from wherever it is called.
    place.file("config/keyfob/named-secret", "of-the-profile");
    let server = token_server();
    let text = format!(r#"{{"url": "{}", "param_file": {{"p": "named-secret"}}}}"#, server.url("/t"));
    place.file("config/keyfob/named.json", text);
    place.keyfob(["token", "--no-cache", "named"]).outcome().prints("tok-1");
    assert_eq!(field(&server.request(), "p").as_deref(), Some("of-the-profile"));
    // An option's paths count from the current directory.
    let server = token_server();
    let text = format!(r#"{{"url": "{}", "param_file": {{"p": "none"}}}}"#, server.url("/t"));
    place.file("elsewhere/p.json", text);
    let options = ["token", "--no-cache", "--param-file", "p=beside", "../elsewhere/p.json"];
    place.keyfob(options).outcome().prints("tok-1");
    assert_eq!(field(&server.request(), "p").as_deref(), Some("in-the-current-directory"));
}

#[test]
fn other_paths_of_a_profile_count_from_its_directory_too() {
    let place = Place::new();
    let server = token_server();
    let elsewhere = place.path("elsewhere");
    place.file("elsewhere/p.json", format!(r#"{{"url": "{}", "cache_dir": "cache"}}"#, server.url("/t")));
    // Not by way of the harness, which names a directory of its own for the cache.
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
    command.args(["token", "../elsewhere/p.json"]).env_clear().current_dir(place.path("here"));
    assert!(command.output().unwrap().status.success());
    assert!(fs::exists(format!("{elsewhere}/cache")).unwrap());
    #[cfg(feature = "tls")]
    {
        place.file("elsewhere/p.json", r#"{"url": "https://localhost:1", "ca_file": "none.pem"}"#);
        let outcome = place.keyfob(["token", "--no-cache", "../elsewhere/p.json"]).outcome();
        assert!(outcome.stderr.contains("elsewhere/none.pem: there is no such file"), "{outcome:?}");
    }
    place.file("elsewhere/p.json", r#"{"url": "https://as.example", "client_secret_file": "~/x", "client_id": "c"}"#);
    let run = place.keyfob(["token", "--no-cache", "../elsewhere/p.json"]).without_variable("HOME");
    run.outcome().fails(2, "keyfob: profile ../elsewhere/p.json: ~/x: HOME is not set to an absolute path");
}

#[test]
fn a_secret_that_is_not_there_is_named_by_its_whole_path() {
    let place = Place::new();
    place
        .file("elsewhere/p.json", r#"{"url": "https://as.example", "client_id": "c", "client_secret_file": "secret"}"#);
    place
        .keyfob(["token", "--no-cache", &place.path("elsewhere/p.json")])
        .outcome()
        .fails(2, &format!("keyfob: secret file {}: there is no such file", place.path("elsewhere/secret")));
}

/// The command, run by a user who may not look everywhere, or none where there is no such user here.
fn as_nobody(test: &str, run: Run) -> Option<Command> {
    let run = run.command();
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let nobody: &[&str] = &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let words = if is_root { nobody } else { &["env"] };
    let mut check = Command::new(words[0]);
    check.args(&words[1..]).args(["test", "-x"]).arg(run.get_program());
    if !can(test, "another user than root must reach the command", &mut check) {
        return None;
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(run.get_program()).args(run.get_args()).env_clear().current_dir("/");
    for (name, value) in run.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Some(command)
}

/// Falling through to the system's profile, or to another file, would send other credentials.
#[test]
fn what_cannot_be_looked_at_is_an_error() {
    let place = Place::new();
    let (config, credentials) = (place.path("config"), place.path("credentials"));
    place.file("config/keyfob/meter.json", r#"{"url": "https://as.example"}"#);
    place.file("credentials/secret", "s3cret");
    symlink("nowhere", format!("{config}/keyfob/link.json")).unwrap();
    symlink("nowhere", format!("{credentials}/link")).unwrap();
    let secret = |file| ["token", "--no-cache", "--url", "https://as.example", "--client-secret-file", file];
    place
        .keyfob(["token", "link"])
        .outcome()
        .fails_and_stops_curl(2, &format!("keyfob: profile {config}/keyfob/link.json: there is no such file"));
    place
        .keyfob([&secret("link")[..], &["--client-id", "c"]].concat())
        .variable("CREDENTIALS_DIRECTORY", &credentials)
        .outcome()
        .fails(2, &format!("keyfob: secret file {credentials}/link: there is no such file"));
    for directory in [format!("{config}/keyfob"), credentials.clone()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let test = "what_cannot_be_looked_at_is_an_error";
    let meter = as_nobody(test, place.keyfob(["token", "--no-cache", "meter"]));
    let run = place.keyfob([&secret("secret")[..], &["--client-id", "c"]].concat());
    let other = as_nobody(test, run.variable("CREDENTIALS_DIRECTORY", &credentials));
    for (command, what) in
        [(meter, format!("profile {config}/keyfob/meter.json")), (other, format!("secret file {credentials}/secret"))]
    {
        let Some(mut command) = command else { continue };
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((stderr, output.status.code()), (format!("keyfob: {what}: permission denied\n"), Some(2)));
    }
    for directory in [format!("{config}/keyfob"), credentials] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_profile_may_come_out_of_a_pipe() {
    let place = Place::new();
    let server = token_server();
    let path = place.path("here/pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let text = format!(r#"{{"url": "{}", "client_id": "c", "client_secret_file": "secret"}}"#, server.url("/t"));
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        let mut pipe = fs::OpenOptions::new().write(true).open(path).unwrap();
        for part in [&text[..10], &text[10..]] {
            std::thread::sleep(Duration::from_millis(50));
            pipe.write_all(part.as_bytes()).unwrap();
        }
    });
    // It is in no directory of its own, so its paths count from the current one.
    place.keyfob(["token", "--no-cache", "./pipe"]).outcome().prints("tok-1");
    writer.join().unwrap();
}

// Mistakes.

#[test]
fn a_mistake_in_a_profile_is_named() {
    let place = Place::new();
    for (members, message) in [
        (r#""url": "https://b.example""#, "profile ./p.json: duplicate member \"url\", at line 1, column 30"),
        (
            r#""param": {"a": "1", "b": "2", "a": "3"}"#,
            "profile ./p.json: duplicate member \"a\", at line 1, column 60",
        ),
        (r#""client-id": "c""#, "profile: unknown member \"client-id\"; did you mean \"client_id\"?"),
        (r#""no_proxi": true"#, "profile: unknown member \"no_proxi\"; did you mean \"no_proxy\"?"),
        (
            r#""client_secret_fil": "c""#,
            "profile: unknown member \"client_secret_fil\"; did you mean \"client_secret_file\"?",
        ),
        (
            r#""refresh_token_evn": "c""#,
            "profile: unknown member \"refresh_token_evn\"; did you mean \"refresh_token_env\"?",
        ),
        (
            r#""grant": "clientcredentials""#,
            "unknown grant \"clientcredentials\"; did you mean \"client_credentials\"?",
        ),
        (r#""timeout": "5 s""#, "`timeout`: must be seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)"),
    ] {
        place.file("here/p.json", format!(r#"{{"url": "https://a.example", {members}}}"#));
        place.keyfob(["token", "--no-cache", "./p.json"]).outcome().fails(2, &format!("keyfob: {message}"));
    }
}

#[test]
fn a_time_may_have_a_unit_and_a_fraction() {
    let place = Place::new();
    let server = Server::with(|_, _| std::thread::sleep(Duration::from_secs(2)));
    for timeout in ["0.5", "0.5s", "500ms"] {
        place
            .token(&server.url("/t"), &["--timeout", timeout])
            .outcome()
            .fails(4, &format!("keyfob: no complete answer from {} within 0.5 s", server.address()));
    }
}

// What is sent with which request.

/// What belongs to the endpoint is in each request for a token, the one with the refresh token included; what the grant
/// exchanges is not.
#[test]
fn a_refresh_has_the_parameters_of_the_endpoint() {
    for grant in ["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"] {
        let place = Place::new();
        place.file("here/assertion", "once");
        place.file("here/key", "s3cret");
        let server = Server::answering(json(200, r#"{"access_token":"tok","expires_in":3600,"refresh_token":"rt"}"#));
        let url = server.url("/t");
        let options =
            ["token", "--url", &url, "--grant", grant, "--param", "audience=a", "--param-file", "api_key=key"];
        let all =
            [&options[..], &["--header", "X-A: a", "--header-file", "X-B: key", "--param-file", "assertion=assertion"]];
        for more in [&[][..], &["--fresh"]] {
            place.keyfob([&all.concat(), more].concat()).outcome_with_secrets().prints("tok");
        }
        let seen = server.requests();
        let sent = |name: &str| seen.iter().map(|seen| field(seen, name)).collect::<Vec<_>>();
        let both = |text: &str| vec![Some(text.to_owned()), Some(text.to_owned())];
        let first = grant.replace(':', "%3A");
        assert_eq!(sent("grant_type"), [Some(first), Some("refresh_token".to_owned())]);
        assert_eq!((sent("audience"), sent("api_key")), (both("a"), both("s3cret")));
        assert_eq!(sent("assertion"), [Some("once".to_owned()), None]);
        for seen in &seen {
            assert_eq!((seen.header("x-a"), seen.header("x-b")), (Some("a"), Some("s3cret")));
        }
    }
}

#[test]
fn a_refresh_token_that_nothing_could_replace_is_not_sent() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"access_token":"tok-1","expires_in":3600,"refresh_token":"rt-2"}"#));
    let url = server.url("/t");
    let grant = ["--url", &url, "--grant", "refresh_token"];
    let hint = "hint: put the refresh token into a file, which is rewritten (--refresh-token-file), or use a cache";
    let message = "keyfob: the server may hand out a new refresh token, and there is no place to keep it";
    for verb in [&["token"][..], &["keep", "--file", "kept"]] {
        for options in [["--refresh-token-env", "RT"], ["--refresh-token-file", "-"]] {
            let run = place.keyfob([verb, &grant, &options, &["--no-cache"]].concat());
            run.variable("RT", "rt-1")
                .input("rt-1")
                .outcome()
                .fails(2, &format!("{message}: the cache is turned off (--no-cache)\n{hint}"));
        }
    }
    assert_eq!(server.requests(), []);
    // With a cache the next process finds the new one there.
    for (options, token) in [(&[][..], "rt-1"), (&["--fresh"], "rt-2")] {
        let all = [&["token"][..], &grant, &["--refresh-token-env", "RT"], options].concat();
        place.keyfob(all).variable("RT", "rt-1").outcome().prints("tok-1");
        assert_eq!(field(server.requests().last().unwrap(), "refresh_token").as_deref(), Some(token));
    }
    // To end a token, no refresh token is sent.
    let options = ["revoke", "--url", &url, "--grant", "refresh_token", "--refresh-token-env", "RT", "--no-cache"];
    let run = place.keyfob([&options[..], &["--access-token-file", "secret"]].concat()).variable("RT", "rt-1");
    assert!(run.outcome().stderr.contains("its description has no way to end a token"));
}

#[test]
fn a_line_end_in_a_secret_from_the_environment_is_a_mistake_unless_it_ends_it() {
    let place = Place::new();
    let server = token_server();
    let hint = "hint: take it out; only a single line end at the very end of a file or variable is ignored";
    let client = ["--client-id", "c", "--client-secret-env", "S"];
    let password = ["--grant", "password", "--username", "u", "--password-env", "S"];
    for (options, what) in [(&client[..], "client secret"), (&password, "password")] {
        for (value, fault) in [
            ("geheim\n\n", "byte 6 is a line end"),
            ("ge\nheim", "byte 2 is a line end"),
            ("\u{1}geheim\n", "byte 0 is a control character"),
        ] {
            place
                .token(&server.url("/t"), options)
                .variable("S", value)
                .outcome()
                .fails(2, &format!("keyfob: environment variable S: {fault}, which a {what} cannot hold\n{hint}"));
        }
        assert_eq!(server.requests(), []);
    }
    for value in ["geheim", "geheim\n", "geheim\r\n"] {
        let options = [&client[..], &["--auth", "client_secret_post"]].concat();
        place.token(&server.url("/t"), &options).variable("S", value).outcome().prints("tok-1");
        assert_eq!(field(server.requests().last().unwrap(), "client_secret").as_deref(), Some("geheim"));
    }
}

// A secret that is typed.

/// Runs the command at a terminal of its own, types what `TYPE` says once it is asked, and prints what the terminal showed,
/// whether it shows what is typed during the question and afterwards, and how the command ended.
const TERMINAL: &str = r#"
import os, pty, sys, termios, time, signal
pid, master = pty.fork()
if pid == 0:
    os.execve(sys.argv[1], sys.argv[1:], dict(os.environ))
shown = b""
def echoes(): return bool(termios.tcgetattr(master)[3] & termios.ECHO)
while b": " not in shown:
    shown += os.read(master, 1000)
quiet = not echoes()
typed = os.environ["TYPE"].encode()
os.write(master, typed)
if b"\n" not in typed and b"\x03" not in typed:
    time.sleep(0.1)
    os.kill(pid, signal.SIGTERM)
status = None
after = None
while True:
    # The terminal is there as long as the master is, but says nothing once the command has ended.
    ended, code = os.waitpid(pid, os.WNOHANG)
    if ended:
        status = code
        break
    after = echoes()
    time.sleep(0.01)
try:
    while True:
        part = os.read(master, 1000)
        if not part: break
        shown += part
except OSError:
    pass
print(repr(shown.decode()), quiet, os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), echoes())
"#;

#[test]
fn a_secret_that_is_typed_is_asked_for_and_not_shown() {
    if !can("a_secret_that_is_typed", "it needs Python", Command::new("python3").arg("--version")) {
        return;
    }
    let place = Place::new();
    let server = token_server();
    let run = |options: &[&str], typed: &str| {
        let command = place.token(&server.url("/t"), options).command();
        let mut python = Command::new("python3");
        python.args(["-c", TERMINAL]).arg(command.get_program()).args(command.get_args());
        python.current_dir(place.path("here")).env("TYPE", typed);
        let output = python.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let secret = ["--client-id", "c", "--auth", "client_secret_post", "--client-secret-file", "-"];
    assert_eq!(run(&secret, "typed\n"), "'client secret: \\r\\ntok-1\\r\\n' True 0 True\n");
    assert_eq!(field(&server.request(), "client_secret").as_deref(), Some("typed"));
    let key = ["--param-file", "api_key=-"];
    assert_eq!(run(&key, "typed\nand more\n"), "'api key: \\r\\ntok-1\\r\\n' True 0 True\n");
    assert_eq!(field(server.requests().last().unwrap(), "api_key").as_deref(), Some("typed"));
    // Nothing typed; Ctrl-C; a signal from outside.
    let empty = run(&secret, "\n");
    assert_eq!(empty, "'client secret: \\r\\nkeyfob: standard input: it is empty\\r\\n' True -2 True\n");
    for (typed, signal) in [("ty\u{3}", 2), ("ty", 15)] {
        let outcome = run(&secret, typed);
        assert!(outcome.ends_with(&format!("True {signal} True\n")), "{outcome}");
        assert!(!outcome.contains("ty"), "{outcome}");
    }
    assert_eq!(server.requests().len(), 2);
}
