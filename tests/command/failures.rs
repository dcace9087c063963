//! Exit codes 3 to 7: what the server and the network do.

use crate::*;

/// An answer with its status, the OAuth error in it, and what the command makes of it.
type Row<'a> = (Vec<u8>, u16, Option<&'a str>, &'a str, Option<&'a str>);

#[track_caller]
fn check(kind: &str, code: i32, rows: &[Row<'_>]) {
    for (answer, status, oauth_error, message, hint) in rows {
        let server = Server::answering(answer.clone());
        let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        // What the server fails at may pass.
        let json = error_json(kind, message, Some(*status), *oauth_error, None, *status >= 500);
        error_for(&server, &[], code, &format!("keyfob: {message}{hint}"), &json);
    }
}

#[test]
fn a_refusal_keeps_the_servers_words() {
    let long = "x".repeat(400);
    check(
        "refused",
        3,
        &[
            (
                json(400, r#"{"error":"invalid_client","error_description":"no such client"}"#),
                400,
                Some("invalid_client"),
                "the server refused (status 400): invalid_client (no such client)",
                Some(CLIENT_HINT),
            ),
            (
                json(401, r#"{"error":"invalid_client"}"#),
                401,
                Some("invalid_client"),
                "the server refused (status 401): invalid_client",
                Some(CLIENT_HINT),
            ),
            (
                json(200, r#"{"error":"invalid_grant","error_description":"used up","access_token":"hunter2"}"#),
                200,
                Some("invalid_grant"),
                "the server refused (status 200): invalid_grant (used up)",
                Some("the password or the token that was sent is wrong, expired or used up"),
            ),
            (
                json(400, r#"{"error":"unauthorized_client"}"#),
                400,
                Some("unauthorized_client"),
                "the server refused (status 400): unauthorized_client",
                Some("the server does not allow this client this grant"),
            ),
            (
                json(400, r#"{"error":"unsupported_grant_type"}"#),
                400,
                Some("unsupported_grant_type"),
                "the server refused (status 400): unsupported_grant_type",
                Some("the server does not know this grant: check --grant and --params"),
            ),
            (
                json(400, r#"{"error":"invalid_scope"}"#),
                400,
                Some("invalid_scope"),
                "the server refused (status 400): invalid_scope",
                Some("the server does not allow this scope: check --scope"),
            ),
            (
                json(400, r#"{"error":"invalid_request","error_description":"two\nlines and \u001b[31m red"}"#),
                400,
                Some("invalid_request"),
                "the server refused (status 400): invalid_request (two lines and \\u{1b}[31m red)",
                Some("a parameter is missing or unknown: compare the request with the service's documentation"),
            ),
            (
                json(400, &format!(r#"{{"error":"odd","error_description":"{long}"}}"#)),
                400,
                None,
                &format!("the server refused (status 400): odd ({}…)", "x".repeat(300)),
                None,
            ),
            (
                answer(400, &["content-type: application/x-www-form-urlencoded"], "error=odd&error_description=a+b"),
                400,
                None,
                "the server refused (status 400): odd (a b)",
                None,
            ),
        ],
    );
}

#[test]
fn a_refusal_without_words_is_one_too() {
    let refused = |status: u16, why: &str| format!("the server refused (status {status}){why}");
    let wordless = |status: u16| refused(status, " and gave no reason in the words of OAuth");
    check(
        "refused",
        3,
        &[
            (answer(401, &[], ""), 401, None, &refused(401, " and did not say why"), Some(CREDENTIALS_HINT)),
            (
                answer(401, &["www-authenticate: Basic realm=\"hunter2\""], "no\n"),
                401,
                None,
                &refused(401, ": no"),
                Some(CREDENTIALS_HINT),
            ),
            (
                answer(403, &["content-type: text/html"], "<html>hunter2 is forbidden</html>"),
                403,
                None,
                &refused(403, " and answered with HTML"),
                Some(CREDENTIALS_HINT),
            ),
            (
                answer(403, &["content-type: text/plain"], "error code: 1010"),
                403,
                None,
                &refused(403, ": error code: 1010"),
                Some("this is Cloudflare, which does not take this User-Agent: send another one (--header)"),
            ),
            (json(400, r#"{"message":"bad key"}"#), 400, None, &refused(400, ": bad key"), Some(CREDENTIALS_HINT)),
            (json(400, r#"{"access_token":"hunter2"}"#), 400, None, &wordless(400), Some(CREDENTIALS_HINT)),
        ],
    );
}

#[test]
fn an_answer_that_cannot_be_used_is_told_without_its_text() {
    let not_a_token = |why: &str| format!("the answer is no token response: {why}");
    let redirects =
        |status: u16| format!("the server redirects (status {status}), and credentials are not sent after it");
    check(
        "unusable",
        5,
        &[
            (
                answer(200, &["content-type: text/html"], "<html>hunter2</html>"),
                200,
                None,
                &not_a_token("the body is HTML or XML, not JSON"),
                Some(ENDPOINT_HINT),
            ),
            (json(200, ""), 200, None, &not_a_token("the body is empty"), Some(ENDPOINT_HINT)),
            (
                b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                204,
                None,
                &not_a_token("the body is empty"),
                Some(ENDPOINT_HINT),
            ),
            (json(200, "hunter2"), 200, None, &not_a_token("the body is not a JSON object"), Some(BODY_HINT)),
            (
                json(200, r#"{"access_token":"hunter2"#),
                200,
                None,
                &not_a_token("the JSON text is cut off, at byte 24"),
                Some(ENDPOINT_HINT),
            ),
            (
                json(200, r#"{"access_token":"hunter2 "}"#),
                200,
                None,
                &not_a_token("the access token holds a character that is not visible ASCII, at byte 24"),
                Some(ENDPOINT_HINT),
            ),
            (
                json(200, r#"{"access_token":""}"#),
                200,
                None,
                &not_a_token("the access token is empty, at byte 17"),
                Some(ENDPOINT_HINT),
            ),
            (
                answer(302, &["location: https://other.example/token?key=hunter2"], ""),
                302,
                None,
                &redirects(302),
                Some("it names https://other.example/token; if that is the token endpoint, use its URL"),
            ),
            (
                answer(307, &["location: https://me:hunter2@other.example/token#hunter2"], ""),
                307,
                None,
                &redirects(307),
                Some("it names https://other.example/token; if that is the token endpoint, use its URL"),
            ),
            (
                answer(308, &["location: /login?next=hunter2"], r#"{"access_token":"hunter2"}"#),
                308,
                None,
                &redirects(308),
                Some("it names /login; if that is the token endpoint, use its URL"),
            ),
            (answer(301, &[], ""), 301, None, &redirects(301), None),
            (
                answer(404, &["content-type: text/html"], "<html>hunter2</html>"),
                404,
                None,
                "the server answered with status 404",
                Some("check the URL's path"),
            ),
            (
                answer(405, &[], ""),
                405,
                None,
                "the server answered with status 405",
                Some("check the method: --method"),
            ),
            (
                answer(415, &[], ""),
                415,
                None,
                "the server answered with status 415",
                Some("the server wants the parameters elsewhere: --params form or json"),
            ),
            (json(500, r#"{"access_token":"hunter2"}"#), 500, None, "the server answered with status 500", None),
            (
                json(500, r#"{"error":"server_error"}"#),
                500,
                Some("server_error"),
                "the server answered with status 500: server_error",
                None,
            ),
            (
                json(500, r#"{"error":"Internal Server Error","message":"hunter2"}"#),
                500,
                None,
                "the server answered with status 500: Internal Server Error",
                None,
            ),
            (answer(502, &[], "<html>hunter2</html>"), 502, None, "the server answered with status 502", None),
        ],
    );
}

#[test]
fn an_answer_without_a_status_to_tell_of_is_unusable_too() {
    for (bytes, message) in [
        (answer(200, &[], &"x".repeat(1024 * 1024 + 1)), "the answer is larger than 1 MiB"),
        (b"SSH-2.0-OpenSSH_9.7\r\n".to_vec(), "the answer from HOST is not HTTP: it is SSH"),
    ] {
        let server = Server::answering(bytes);
        let json = error_json("unusable", message, None, None, None, false);
        error_for(&server, &[], 5, &format!("keyfob: {message}"), &json);
    }
}

#[test]
fn a_token_that_lives_too_short_is_unusable() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"access_token":"hunter2","expires_in":60}"#));
    let message = "a new token lives 60 s, but at least 61 s were requested";
    let text = format!("keyfob: {message}\nhint: request less, or have the server issue tokens that live longer\n");
    let json = format!("{}\n", error_json("unusable", message, None, None, None, false));
    for (format, stdout, stderr) in
        [("token", "", &text), ("header", "", &text), ("curl", "proto = \"-all\"\n", &text), ("json", "", &json)]
    {
        place.token(&server.url("/t"), &["--min-valid", "61", "--format", format]).outcome().is(5, stdout, stderr);
    }
}

#[test]
fn a_token_that_expired_on_its_way_is_unusable() {
    let place = Place::new();
    let server = Server::with(|_, stream| {
        std::thread::sleep(Duration::from_millis(1100));
        let _ = stream.write_all(&json(200, r#"{"access_token":"hunter2","expires_in":1}"#));
    });
    let outcome = place.token(&server.url("/t"), &[]).outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(5), ""));
    let (before, rest) = outcome.stderr.split_once(", ").expect("there is a comma");
    let (seconds, after) = rest.split_once(" s ").expect("there are seconds");
    assert_eq!(before, "keyfob: the token had expired when it arrived");
    assert!(seconds.parse::<f32>().is_ok_and(|seconds| (1.1..20.0).contains(&seconds)), "{seconds}");
    assert_eq!(
        after,
        "after the request was sent\n\
         hint: the connection is slower than the token's life: ask whoever runs the server for a longer one\n"
    );
}

#[test]
fn a_server_that_asks_to_wait_is_waited_for() {
    let oauth = r#"{"error":"temporarily_unavailable","error_description":"back soon"}"#;
    let refusal = r#"{"error":"invalid_client"}"#;
    let date = "date: Sun, 22 Nov 2026 06:40:00 GMT";
    for (answer, message, status, oauth_error, wait, hint) in [
        (answer(429, &["Retry-After: 7"], ""), "the server asks to wait (status 429)", 429, None, Some(7), ""),
        (answer(503, &["retry-after:  0 "], ""), "the server asks to wait (status 503)", 503, None, Some(0), ""),
        (answer(503, &["retry-after: soon"], ""), "the server asks to wait (status 503)", 503, None, None, ""),
        (
            answer(503, &["retry-after: Sun, 22 Nov 2026 06:42:00 GMT", date], ""),
            "the server asks to wait (status 503)",
            503,
            None,
            Some(120),
            "",
        ),
        (
            answer(503, &["retry-after: Sun, 22 Nov 2026 06:42:00 GMT"], ""),
            "the server asks to wait (status 503)",
            503,
            None,
            None,
            "",
        ),
        (
            answer(503, &["content-type: application/json", "retry-after: 7"], oauth),
            "the server asks to wait (status 503): temporarily_unavailable (back soon)",
            503,
            Some("temporarily_unavailable"),
            Some(7),
            "",
        ),
        (
            answer(429, &["content-type: application/json"], refusal),
            "the server asks to wait (status 429): invalid_client",
            429,
            Some("invalid_client"),
            None,
            CLIENT_HINT,
        ),
        (
            answer(429, &["content-type: application/json"], r#"{"access_token":"hunter2"}"#),
            "the server asks to wait (status 429)",
            429,
            None,
            None,
            "",
        ),
    ] {
        let server = Server::answering(answer);
        let mut hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") };
        if let Some(seconds) = wait {
            hint += &format!("\nhint: not before {seconds} s from now");
        }
        let json = error_json("wait", message, Some(status), oauth_error, wait, true);
        error_for(&server, &[], 6, &format!("keyfob: {message}{hint}"), &json);
    }
}

#[test]
fn a_port_that_refuses_is_unreachable() {
    let place = Place::new();
    let nobody = Refusing::new();
    let url = format!("http://{}/t?key=hunter2", nobody.address());
    let message = format!("no connection to {}: connection refused", nobody.address());
    place.token(&url, &[]).outcome().fails(4, &format!("keyfob: {message}"));
    let json = error_json("unreachable", &message, None, None, None, true);
    place.token(&url, &["--format", "json"]).outcome().fails(4, &json);
    place.token(&url, &["--format=curl"]).outcome().is(4, "proto = \"-all\"\n", &format!("keyfob: {message}\n"));
}

#[test]
fn an_answer_that_was_cut_off_may_be_asked_for_again_only_where_that_is_harmless() {
    let place = Place::new();
    let refresh = ["--grant", "refresh_token", "--refresh-token-file", "secret"];
    let password = ["--grant", "password", "--username", "u", "--password-file", "secret"];
    let assertion = ["--grant", "urn:ietf:params:oauth:grant-type:jwt-bearer", "--param-file", "assertion=secret"];
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"access_token\":\"hunter2"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\n{\"access_token\":\"hunter2",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"",
    ] {
        let server = Server::answering(answer);
        let message =
            format!("the connection to {} ended before the answer did: unexpected end of file", server.address());
        for (options, retryable) in [
            (&[][..], true),
            (&["--dialect", "bearer-session", "--session-token-file", "secret"], true),
            (&password, true),
            (&refresh, false),
            (&assertion, false),
        ] {
            let json = error_json("outcome_unknown", &message, None, None, None, retryable);
            let hint = match answer {
                b"" => "\nhint: the server sent nothing: if it speaks TLS, write https:// in the URL",
                _ => "",
            };
            error_for(&server, options, 4, &format!("keyfob: {message}{hint}"), &json);
        }
    }
    let server = Server::with(|_, _| std::thread::sleep(Duration::from_secs(3)));
    let message = format!("no complete answer from {} within 1 s", server.address());
    place.token(&server.url("/t"), &["--timeout", "1"]).outcome().fails(4, &format!("keyfob: {message}"));
    let json = error_json("outcome_unknown", &message, None, None, None, false);
    let options = [&refresh[..], &["--timeout", "1", "--format", "json"]].concat();
    place.token(&server.url("/t"), &options).outcome().fails(4, &json);
}

/// That the one before is used up, which the cache knows, is no reason to refuse the one that came for it.
#[test]
fn a_rotated_refresh_token_is_spent_by_the_next_process() {
    let place = Place::new();
    let server = Server::with(|seen, stream| {
        let body = seen.body_text();
        let (_, number) = body.split_once("refresh_token=r").unwrap();
        let next = number.parse::<u32>().unwrap() + 1;
        let body = format!(r#"{{"access_token":"a{next}","expires_in":3600,"refresh_token":"r{next}"}}"#);
        let _ = stream.write_all(&json(200, &body));
    });
    place.file("here/refresh", "r1");
    let url = server.url("/t");
    for (more, token) in [(&[][..], "a2"), (&["--fresh"], "a3"), (&[], "a3"), (&["--fresh"], "a4")] {
        let options = ["token", "--url", &url, "--grant", "refresh_token", "--refresh-token-file", "refresh"];
        place.keyfob([&options, more].concat()).outcome().prints(token);
        assert_eq!(std::fs::read_to_string(place.path("here/refresh")).unwrap(), token.replace('a', "r"));
    }
}

#[test]
fn html_is_no_form_whatever_it_is_called() {
    let place = Place::new();
    for (body, reject) in [
        ("<a href=\"/l?a=1&access_token=evil&b=2\">", "the body is HTML or XML, not JSON"),
        ("Log in at http://portal/?x=1&access_token=evil&n=2", "a character that is not allowed in a form, at byte 3"),
        ("x=1&access_token=evil&n=\"", "a character that is not allowed in a form, at byte 24"),
    ] {
        let run = place.keyfob(["parse", "--content-type", "application/x-www-form-urlencoded"]).input(body);
        run.outcome().is(5, &format!("{{\"reject\":\"{reject}\"}}\n"), "");
    }
}

#[test]
fn the_place_of_an_error_object_can_be_chosen() {
    let place = Place::new();
    let gone = Refusing::new();
    let url = format!("http://{}/t", gone.address());
    let why = format!("no connection to {}: connection refused", gone.address());
    let json = error_json("unreachable", &why, None, None, None, true);
    let run = |options: &[&str]| place.token(&url, &[&["--client-id", "c"], options].concat()).outcome();
    run(&["--format", "json", "--error-to", "stdout"]).is(4, &format!("{json}\n"), "");
    run(&["--error-to=stdout", "--format=json"]).is(4, &format!("{json}\n"), "");
    run(&["--format", "json", "--error-to", "stderr"]).fails(4, &json);
    run(&["--error-to", "stdout"]).fails(4, &format!("keyfob: {why}"));
    run(&["--error-to", "elsewhere"]).fails(2, "keyfob: --error-to: must be stdout or stderr");
    // Even where the command line is wrong.
    let outcome = run(&["--format", "json", "--error-to", "stdout", "--nonsense"]);
    assert!(outcome.code == Some(2) && outcome.stdout.starts_with("{\"error\":\"config\""), "{outcome:?}");
}
