//! Secrets: where they come from, and that no output shows them.

use crate::*;

#[test]
fn a_secret_that_cannot_be_read_is_named_by_its_place() {
    let place = Place::new();
    let server = token_server();
    place.file("here/empty", "");
    place.file("here/line-end", "\r\n");
    place.file("here/not-text", b"hunter2\xFF");
    place.file("here/large", SENTINEL_LARGE.repeat(64 * 1024 / 8 + 1));
    place.file("here/two-lines", "hunter2\nhunter2\n");
    let client = |options: &[&'static str]| [&["--client-id", "c"], options].concat();
    for (options, why) in [
        (client(&["--client-secret-file", "none"]), "secret file HERE/none: there is no such file"),
        (client(&["--client-secret-file", "./no/ne"]), "secret file HERE/no/ne: there is no such file"),
        (client(&["--client-secret-file", "."]), "secret file HERE: it is a directory"),
        (client(&["--client-secret-file", "/dev/null"]), "secret file /dev/null: it is a device"),
        (client(&["--client-secret-file", "/dev/zero"]), "secret file /dev/zero: it is a device"),
        (client(&["--client-secret-file", "empty"]), "secret file HERE/empty: it is empty"),
        (client(&["--client-secret-file", "line-end"]), "secret file HERE/line-end: it is empty"),
        (client(&["--client-secret-file", "not-text"]), "secret file HERE/not-text: it is not UTF-8 text"),
        (
            client(&["--client-secret-file", "large"]),
            "secret file HERE/large: it is longer than 64 KiB, so it cannot be a secret",
        ),
        (client(&["--client-secret-env", "NONE"]), "environment variable NONE: it is not set"),
        (client(&["--client-secret-env", "EMPTY"]), "environment variable EMPTY: it is empty"),
        (client(&["--client-secret-env", "NOT_TEXT"]), "environment variable NOT_TEXT: it is not UTF-8 text"),
        (client(&["--client-secret-file", "-"]), "standard input: it is empty"),
        (client(&["--param-file", "assertion=none"]), "secret file HERE/none: there is no such file"),
        (client(&["--header-file", "X-Key: none"]), "secret file HERE/none: there is no such file"),
        (
            client(&["--header-file", "X-Key: two-lines"]),
            "secret file HERE/two-lines: byte 7 is a line end, which a header cannot hold\n\
             hint: take it out; only a single line end at the very end of a file or variable is ignored",
        ),
        (
            vec!["--grant", "refresh_token", "--refresh-token-file", "none"],
            "secret file HERE/none: there is no such file",
        ),
        (
            vec!["--grant", "password", "--username", "u", "--password-env", "NONE"],
            "environment variable NONE: it is not set",
        ),
        (
            vec!["--dialect", "bearer-session", "--session-token-file", "two-lines"],
            "secret file HERE/two-lines: byte 7 is a line end, which a session token cannot hold\n\
             hint: take it out; only a single line end at the very end of a file or variable is ignored",
        ),
    ] {
        let run = place.token(&server.url("/t"), &options).variable("EMPTY", "");
        let run = run.variable("NOT_TEXT", OsStr::from_bytes(b"hunter2\xFF"));
        run.outcome().fails(2, &format!("keyfob: {}", why.replace("HERE", &place.path("here"))));
    }
    let too_long = place.token(&server.url("/t"), &client(&["--client-secret-file", "-"]));
    too_long
        .input(SENTINEL_LARGE.repeat(64 * 1024 / 8 + 1))
        .outcome()
        .fails(2, "keyfob: standard input: it is longer than 64 KiB, or grew while it was read");
    assert_eq!(server.requests(), []);
}

#[test]
fn a_secret_file_that_everybody_can_read_is_pointed_out() {
    let place = Place::new();
    let server = token_server();
    let options = ["--client-id", "c", "--client-secret-file", "secret"];
    for (mode, stderr) in [
        (0o600, ""),
        (0o640, ""),
        (0o644, "hint: secret file secret: everybody can read it (chmod o-r)\n"),
        (0o444, "hint: secret file secret: everybody can read it (chmod o-r)\n"),
    ] {
        std::fs::set_permissions(place.path("here/secret"), std::fs::Permissions::from_mode(mode)).unwrap();
        place.token(&server.url("/t"), &options).outcome().is(0, "tok-1\n", stderr);
    }
}

/// As a shell makes one of `<(command)`: the writer may come late and take its time.
#[test]
fn a_secret_may_come_out_of_a_pipe() {
    let place = Place::new();
    let server = token_server();
    let path = place.path("here/pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        for part in ["hun", "ter2\n"] {
            std::thread::sleep(Duration::from_millis(50));
            pipe.write_all(part.as_bytes()).unwrap();
        }
    });
    let options = ["--client-id", "c", "--client-secret-file", "pipe", "--auth", "client_secret_post"];
    place.token(&server.url("/t"), &options).outcome().prints("tok-1");
    writer.join().unwrap();
    assert_eq!(server.request().body_text(), "grant_type=client_credentials&client_id=c&client_secret=hunter2");
}

/// Eight bytes of a secret that is too large.
const SENTINEL_LARGE: &str = "hunter2,";

#[test]
fn standard_input_holds_one_secret() {
    let place = Place::new();
    let server = token_server();
    let password = ["--grant", "password", "--username", "u", "--password-file", "-", "--client-id", "c"];
    for (options, first, second) in [
        ([&password[..], &["--client-secret-file", "-"]].concat(), "client_secret_file", "password_file"),
        ([&password[..], &["--param-file", "otp=-"]].concat(), "param_file", "password_file"),
        (vec!["--param-file", "a=-", "--param-file", "b=-"], "param_file", "param_file"),
        (vec!["--header-file", "A: -", "--header-file", "B: -"], "header_file", "header_file"),
        (
            vec!["--client-id", "c", "--client-secret-file", "-", "--header-file", "B: -"],
            "client_secret_file",
            "header_file",
        ),
    ] {
        place
            .token(&server.url("/t"), &options)
            .input(SENTINEL)
            .outcome()
            .fails(2, &format!("keyfob: `{first}` and `{second}` both read standard input, which has one secret"));
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn a_secret_comes_from_a_file_a_variable_or_standard_input() {
    let place = Place::new();
    place.file("here/lf", "file-lf\n");
    place.file("here/crlf", "file-crlf\r\n");
    place.file("here/bare", "file-bare");
    place.file("here/spaces", " spaces \n");
    place.file("credentials/lf", "credential");
    place.file("credentials/other", "other-credential\n");
    let credentials = place.path("credentials");
    for (options, input, directory, secret) in [
        (["--client-secret-file", "lf"], "", "", "file-lf"),
        (["--client-secret-file", "crlf"], "", "", "file-crlf"),
        (["--client-secret-file", "bare"], "", "", "file-bare"),
        (["--client-secret-file", "spaces"], "", "", "+spaces+"),
        (["--client-secret-env", "SECRET"], "", "", "variable"),
        (["--client-secret-env", "SECRET_LF"], "", "", "variable-lf"),
        (["--client-secret-env", "SECRET_CRLF"], "", "", "variable-crlf"),
        (["--client-secret-file", "-"], "input-lf\n", "", "input-lf"),
        (["--client-secret-file", "-"], "input-crlf\r\n", "", "input-crlf"),
        (["--client-secret-file", "-"], "input-bare", "", "input-bare"),
        (["--client-secret-file", "lf"], "", &credentials, "credential"),
        (["--client-secret-file", "other"], "", &credentials, "other-credential"),
        (["--client-secret-file", "crlf"], "", &credentials, "file-crlf"),
        (["--client-secret-file", "./lf"], "", &credentials, "file-lf"),
        (["--client-secret-file", "../here/lf"], "", &credentials, "file-lf"),
        (["--client-secret-file", "-"], "input-bare", &credentials, "input-bare"),
    ] {
        let server = token_server();
        let options = [&["--client-id", "c", "--auth", "client_secret_post"], &options[..]].concat();
        let mut run = place.token(&server.url("/t"), &options).input(input).variable("SECRET", "variable");
        run = run.variable("SECRET_LF", "variable-lf\n").variable("SECRET_CRLF", "variable-crlf\r\n");
        if !directory.is_empty() {
            run = run.variable("CREDENTIALS_DIRECTORY", directory);
        }
        run.outcome().prints("tok-1");
        assert_eq!(
            server.request().body_text(),
            format!("grant_type=client_credentials&client_id=c&client_secret={secret}"),
            "{options:?}"
        );
    }
}

#[test]
fn a_file_with_a_slash_is_not_looked_for_among_the_credentials() {
    let place = Place::new();
    place.file("credentials/sub/only-there", SENTINEL);
    place.file("credentials/only-there", SENTINEL);
    let server = token_server();
    for file in ["./only-there", "sub/only-there"] {
        let run = place.token(&server.url("/t"), &["--client-id", "c", "--client-secret-file", file]);
        run.variable("CREDENTIALS_DIRECTORY", place.path("credentials")).outcome().fails(
            2,
            &format!(
                "keyfob: secret file {}: there is no such file",
                place.path(&format!("here/{}", file.trim_start_matches("./")))
            ),
        );
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn a_secret_that_the_server_echoes_is_cut_out() {
    let place = Place::new();
    place.file("here/key", "hunter2-key\n");
    let echo = |text: String| {
        let body = format!(r#"{{"error":"invalid_client {text}","error_description":"not {text}, {text}"}}"#);
        answer(400, &["content-type: application/json"], &body)
    };
    for (options, input) in [
        (&["--client-id", "c", "--client-secret-file", "secret"][..], ""),
        (&["--client-id", "c", "--client-secret-file", "secret", "--params", "json"], ""),
        (&["--client-id", "c", "--client-secret-file", "-"], "hunter2"),
        (&["--client-id", "c", "--client-secret-env", "SECRET"], ""),
        (&["--grant", "password", "--username", "u", "--password-file", "secret"], ""),
        (&["--grant", "refresh_token", "--refresh-token-file", "secret"], ""),
        (&["--dialect", "bearer-session", "--session-token-file", "secret"], ""),
        (&["--param-file", "assertion=secret"], ""),
        (&["--header-file", "X-Key: secret"], ""),
    ] {
        let server = Server::with(move |_, stream| {
            let _ = stream.write_all(&echo(SENTINEL.to_owned()));
        });
        let run = place.token(&server.url("/t"), options).variable("SECRET", SENTINEL).input(input);
        run.outcome().fails(3, "keyfob: the server refused (status 400): ‹redacted› (‹redacted›)");
        let json = [options, &["--format", "json"]].concat();
        let run = place.token(&server.url("/t"), &json).variable("SECRET", SENTINEL).input(input);
        run.outcome().fails(
            3,
            "{\"error\":\"refused\",\
             \"message\":\"the server refused (status 400): ‹redacted› (‹redacted›)\",\
             \"status\":400,\"oauth_error\":null,\"retry_after\":null,\"retryable\":false}",
        );
    }
    // In the redirect's path, and in the answer to a revocation.
    let server = Server::answering(answer(302, &["location: https://other.example/hunter2/x"], ""));
    place
        .token(&server.url("/t"), &["--param-file", "a=secret"])
        .outcome()
        .fails(5, "keyfob: the server redirects (status 302), and credentials are not sent after it");
    let server = Server::answering(json(401, r#"{"error":"x","error_description":"bad hunter2"}"#));
    let options = ["--dialect", "bearer-session", "--access-token-file", "secret"];
    place
        .keyfob([&["revoke", "--url", &server.url("/t")], &options[..]].concat())
        .outcome()
        .fails(3, "keyfob: the server refused (status 401): x (‹redacted›)");
}

#[test]
fn a_secret_that_the_server_echoes_encoded_is_cut_out() {
    let place = Place::new();
    place.file("here/odd", "p&ss w\"rd");
    let id = ["--client-id", "c", "--client-secret-file", "odd"];
    for (options, encoded) in [
        (vec!["--auth", "client_secret_basic"], "YzpwJTI2c3MrdyUyMnJk"),
        (vec!["--auth", "client_secret_basic", "--basic-raw"], "YzpwJnNzIHcicmQ="),
        (vec!["--auth", "client_secret_post"], "p%26ss+w%22rd"),
        (vec!["--params", "query"], "p%26ss%20w%22rd"),
        (vec!["--params", "json"], "p&ss w\\\"rd"),
    ] {
        // As the server was sent it: in a header, or in the parameters.
        let server = Server::with(|request, stream| {
            let sent = format!(
                "{} {} {}",
                request.header("authorization").unwrap_or_default(),
                request.target,
                request.body_text()
            );
            let text = sent.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = stream.write_all(&json(400, &format!(r#"{{"error":"x","error_description":"{text}"}}"#)));
        });
        let outcome = place.token(&server.url("/t"), &[&id[..], &options].concat()).outcome();
        assert_eq!(outcome.code, Some(3));
        assert!(!outcome.stderr.contains(encoded), "{options:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_redirect_without_a_scheme_hides_the_user_information_too() {
    let place = Place::new();
    let server = Server::answering(answer(302, &["location: //me:hunter2@other.example/token?x"], ""));
    place.token(&server.url("/t"), &[]).outcome().fails(
        5,
        "keyfob: the server redirects (status 302), and credentials are not sent after it\n\
         hint: it names //other.example/token; if that is the token endpoint, use its URL",
    );
}

#[test]
fn two_secrets_from_standard_input_are_an_error_even_if_one_is_not_needed() {
    let place = Place::new();
    let server = token_server();
    let options = ["--client-id", "c", "--client-secret-file", "-", "--password-file", "-"];
    let outcome = place.token(&server.url("/t"), &options).input(SENTINEL).outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
    assert_eq!(server.requests(), []);
}

#[test]
fn an_echo_in_any_coding_is_cut_out_and_our_own_words_are_not() {
    let place = Place::new();
    place.file("here/odd", "p@ss+w%rd &<\"x");
    place.file("here/quoted", "päss'/&");
    place.file("here/percent", "100%25 off now");
    place.file("here/short", "secret");
    place.file("here/longer", "secret-and-more");
    let id = ["--client-id", "c"];
    for (options, body, message) in [
        (
            vec!["--client-secret-file", "odd"],
            r#"{"error":"x","error_description":"got p%40ss%2bw%25rd%20%26%3c%22x, p@ss+w%rd &amp;&lt;&quot;x"}"#,
            "keyfob: the server refused (status 400): x (‹redacted›)\n",
        ),
        // As PHP, .NET and Python write it into HTML and into JSON inside of JSON.
        (
            vec!["--client-secret-file", "quoted"],
            r#"{"error":"x","error_description":"p&#228;ss&#039;&#x2f;&#38;, p&#xE4;ss&apos;/&#x26;, p\\u00e4ss\\u0027\\/\\u0026"}"#,
            "keyfob: the server refused (status 400): x (‹redacted›)\n",
        ),
        // In part: a percent sign as it is before one that is encoded.
        (
            vec!["--client-secret-file", "percent"],
            r#"{"error":"x","error_description":"got 100%25%20off+now, 100%2525%20off%20now"}"#,
            "keyfob: the server refused (status 400): x (‹redacted›)\n",
        ),
        (
            vec![
                "--client-secret-file",
                "short",
                "--grant",
                "password",
                "--username",
                "u",
                "--password-file",
                "longer",
            ],
            r#"{"error":"x","error_description":"got secret-and-more"}"#,
            "keyfob: the server refused (status 400): x (‹redacted›)\n",
        ),
        (
            vec!["--client-secret-file", "short"],
            r#"{"error":"invalid_client","error_description":"wrong secret"}"#,
            "keyfob: the server refused (status 400): invalid_client (‹redacted›)\n\
             hint: check client id and secret, and the client authentication: some servers want it among the parameters \
             (--auth client_secret_post), or not form-encoded (--basic-raw)\n",
        ),
    ] {
        let server = Server::answering(json(400, body));
        let outcome = place.token(&server.url("/t"), &[&id[..], &options].concat()).outcome();
        outcome.is(3, "", message);
    }
}
