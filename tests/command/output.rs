//! Standard output: what stops curl, what JSON escapes, and a full disk.

use crate::*;

#[test]
fn a_wrong_command_line_stops_curl_and_json_too() {
    let place = Place::new();
    let stop = "proto = \"-all\"\n";
    let no_url = "keyfob: there is no token endpoint\nhint: say where it is: `url` (--url)\n";
    let twice = format!("keyfob: usage: --url is given twice\n{USAGE_HINT}\n");
    let verb = format!("keyfob: usage: unknown command \"tokn\"; did you mean \"token\"?\n{USAGE_HINT}\n");
    for (arguments, stdout, stderr) in [
        (&["token", "--format", "curl"][..], stop, no_url),
        (&["token", "--format=curl"], stop, no_url),
        (&["revoke", "--format=curl"], stop, no_url),
        (&["token", "--url", "a", "--url", "b", "--format", "curl"], stop, &twice),
        (&["token", "--format=curl", "--url", "a", "--url", "b"], stop, &twice),
        (&["tokn", "--format=curl"], stop, &verb),
        (&["token", "--format", "token"], "", no_url),
        (
            &["token", "--format=json"],
            "",
            "{\"error\":\"config\",\"message\":\"there is no token endpoint\",\"status\":null,\"oauth_error\":null,\
             \"retry_after\":null,\"retryable\":false}\n",
        ),
        (
            &["token", "--nonsense", "--format", "json"],
            "",
            "{\"error\":\"config\",\"message\":\"usage: unknown option --nonsense\",\"status\":null,\
             \"oauth_error\":null,\"retry_after\":null,\"retryable\":false}\n",
        ),
    ] {
        place.keyfob(arguments).outcome().is(2, stdout, stderr);
    }
}

/// Pipes a configuration into the real curl; none where there is no curl.
fn curl(configuration: &str, url: &str) -> Option<std::process::ExitStatus> {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-q", "-s", "--noproxy", "*", "--max-time", "20", "-K", "-", url]);
    let child = curl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else {
        println!("skipped: there is no curl here");
        return None;
    };
    child.stdin.take().unwrap().write_all(configuration.as_bytes()).unwrap();
    Some(child.wait().unwrap())
}

#[test]
fn curl_sends_the_header_and_after_an_error_nothing() {
    let place = Place::new();
    let api = Server::answering(answer(200, &[], ""));
    let server = Server::answering(json(200, r#"{"access_token":"a\"b\\c"}"#));
    let good = place.token(&server.url("/t"), &["--format", "curl"]).outcome();
    let bad = place.token(&server.url("/t"), &["--format", "curl", "--method", "PATCH"]).outcome();
    assert_eq!(bad.stdout, "proto = \"-all\"\n");
    let Some(status) = curl(&bad.stdout, &api.url("/api")) else { return };
    assert!(!status.success());
    assert_eq!(api.requests(), []);
    assert!(curl(&good.stdout, &api.url("/api")).unwrap().success());
    assert_eq!(api.request().header("authorization"), Some(r#"Bearer a"b\c"#));
}

#[test]
fn a_closed_pipe_is_an_error_and_no_panic() {
    let place = Place::new();
    // The server answers when the pipe is closed, not before.
    let (closed, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let server = Server::with(move |_, stream| {
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(20));
        let _ = stream.write_all(&json(200, r#"{"access_token":"hunter2"}"#));
    });
    for (format, stderr) in [
        ("token", "keyfob: standard output: broken pipe\n"),
        ("curl", "keyfob: standard output: broken pipe\n"),
        (
            "json",
            "{\"error\":\"internal\",\"message\":\"standard output: broken pipe\",\"status\":null,\
             \"oauth_error\":null,\"retry_after\":null,\"retryable\":false}\n",
        ),
    ] {
        let mut command = place.token(&server.url("/t"), &["--format", format]).command();
        // Not a pipe: a child that another test starts just now would hold its other end for a moment.
        let (own, other) = UnixStream::pair().unwrap();
        command.stdin(Stdio::null()).stdout(OwnedFd::from(other)).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        own.shutdown(Shutdown::Both).unwrap();
        closed.send(()).unwrap();
        let output = child.wait_with_output().unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), shown.as_str()), (Some(1), stderr));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_and_no_panic() {
    let place = Place::new();
    let server = token_server();
    for run in [place.token(&server.url("/t"), &[]), place.keyfob(["help"]), place.keyfob(["--version"])] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run.command().stdin(Stdio::null()).stdout(full).output().unwrap();
        let shown = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), shown.as_str()), (Some(1), "keyfob: standard output: no space left\n"));
    }
}

#[test]
fn a_profile_that_asks_for_curl_stops_it_after_each_error() {
    let place = Place::new();
    for (members, lines) in [
        (r#""timeout":0"#, "`timeout`: must be longer than 0 s"),
        (
            r#""param":{"password":"hunter2"}"#,
            "`param`: password is a secret and must not be written here\nhint: put it into a file and use --password-file",
        ),
        (r#""params":"xml""#, "`params`: \"xml\" is none of form, json, query"),
        (r#""nonsense":1"#, "profile: unknown member \"nonsense\"\nhint: `keyfob help profile` lists the members"),
    ] {
        place.file("here/p.json", format!(r#"{{"url":"https://as.example","format":"curl",{members}}}"#));
        let outcome = place.keyfob(["token", "./p.json"]).outcome();
        outcome.is(2, "proto = \"-all\"\n", &format!("keyfob: {lines}\n"));
    }
    let outcome = place.keyfob(["token", "--format", "curl", "--format", "token"]).outcome();
    outcome.is(2, "proto = \"-all\"\n", &format!("keyfob: usage: --format is given twice\n{USAGE_HINT}\n"));
}

#[test]
fn json_has_no_control_character_of_any_kind() {
    let place = Place::new();
    let body = r#"{"error":"a\u007f\u009b","error_description":"b\u0085\u202e"}"#;
    let outcome = place.keyfob(["parse"]).input(body).outcome();
    let line = r#"{"oauth_error":{"error":"a\u007f\u009b","error_description":"b\u0085\u202e"}}"#;
    outcome.is(3, &format!("{line}\n"), "");
    let server = Server::answering(json(400, body));
    let outcome = place.token(&server.url("/t"), &["--format", "json"]).outcome();
    assert!(outcome.stderr.contains(r#": a\\u{7f}\\u{9b} (b\\u{85}\\u{202e})""#), "{outcome:?}");
    assert!(outcome.stderr.trim_end().chars().all(|c| !c.is_control()), "{outcome:?}");
}
