//! `keyfob revoke`.

use crate::*;

#[test]
fn nothing_to_revoke_is_no_error() {
    let place = Place::new();
    let server = token_server();
    let arguments = ["revoke", "--url", &server.url("/t"), "--dialect", "bearer-session"];
    place.keyfob(arguments).outcome().prints("nothing to revoke");
    place.keyfob([&arguments[..], &["--format", "json"]].concat()).outcome().prints("{\"revoked\":false}");
    place
        .keyfob([&arguments[..], &["--no-cache"]].concat())
        .outcome()
        .fails(2, "keyfob: revoke: no token to end\nhint: name the file that contains it (--access-token-file)");
    place.keyfob([&arguments[..], &["--no-cache", "--format", "curl"]].concat()).outcome().is(
        2,
        "proto = \"-all\"\n",
        "keyfob: revoke: no token to end\nhint: name the file that contains it (--access-token-file)\n",
    );
    assert_eq!(server.requests(), []);
}

#[test]
fn a_session_is_ended_with_its_token() {
    let place = Place::new();
    for (options, line) in [
        (&["--access-token-file", "secret"][..], "revoked"),
        (&["--access-token-file", "-", "--no-cache"], "revoked"),
        (&["--access-token-env", "SECRET"], "revoked"),
        (&["--access-token-file", "secret", "--format", "json"], "{\"revoked\":true}"),
    ] {
        for answer in [answer(200, &[], ""), b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), answer(200, &[], "<html>")] {
            let server = Server::answering(answer);
            let url = server.url("/session");
            let arguments = [&["revoke", "--url", &url, "--dialect", "bearer-session"], options].concat();
            let run = place.keyfob(arguments).variable("SECRET", SENTINEL).input("hunter2\n");
            run.outcome().prints(line);
            let request = server.request();
            assert_eq!((request.method.as_str(), request.target.as_str()), ("DELETE", "/session"));
            assert_eq!(request.header("authorization"), Some("bearer hunter2"));
            assert_eq!(request.header("accept"), Some("application/json"));
            assert_eq!(request.body, b"");
        }
    }
}

#[test]
fn a_revocation_that_fails_says_so() {
    let place = Place::new();
    let server = Server::answering(answer(401, &[], ""));
    let url = server.url("/session");
    let revoke = |options: &[&str]| place.keyfob([&["revoke", "--url", &url], options].concat()).outcome();
    let session = ["--dialect", "bearer-session", "--access-token-file", "secret"];
    let refused = "the server refused (status 401) and did not say why";
    revoke(&session).fails(3, &format!("keyfob: {refused}\nhint: {CREDENTIALS_HINT}"));
    let json = error_json("refused", refused, Some(401), None, None, false);
    revoke(&[&session[..], &["--format", "json"]].concat()).fails(3, &json);
    assert_eq!(server.requests().len(), 2);

    let no_way = "keyfob: HOST: its description has no way to end a token\n\
                  hint: set where tokens are revoked (`revocation_url`), or forget the token here alone \
                  (keyfob forget)";
    let no_way = &no_way.replace("HOST", &server.address().to_string());
    for dialect in ["json-credentials", "form-credentials", "user-credentials"] {
        revoke(&["--dialect", dialect, "--access-token-file", "secret"]).fails(2, no_way);
    }
    revoke(&["--access-token-file", "secret"]).fails(2, no_way);
    place.file("here/empty", "\n");
    place.file("here/spaces", "hunter2 hunter2");
    for (file, why) in [
        ("none", "secret file HERE/none: there is no such file"),
        ("empty", "secret file HERE/empty: it is empty"),
        ("spaces", "the access token is empty, or holds a character that is not visible ASCII"),
    ] {
        let why = why.replace("HERE", &place.path("here"));
        revoke(&["--dialect", "bearer-session", "--access-token-file", file]).fails(2, &format!("keyfob: {why}"));
    }
    assert_eq!(server.requests().len(), 2);

    let server = Server::answering(answer(503, &["retry-after: 7"], ""));
    let json = error_json("wait", "the server asks to wait (status 503)", Some(503), None, Some(7), true);
    let url = server.url("/s");
    let arguments = [&["revoke", "--url", &url, "--format", "json"], &session[..]].concat();
    place.keyfob(arguments).outcome().fails(6, &json);

    let nobody = Refusing::new();
    let url = format!("http://{}/s", nobody.address());
    place
        .keyfob([&["revoke", "--url", &url], &session[..]].concat())
        .outcome()
        .fails(4, &format!("keyfob: no connection to {}: connection refused", nobody.address()));
}
