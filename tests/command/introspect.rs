//! `keyfob introspect`.

use crate::*;

/// A server that says of `hunter2-t` alone that it is active.
fn server() -> Server {
    Server::with(|seen, stream| {
        let body = seen.body_text();
        let answer = match (seen.target.as_str(), body.contains("token=hunter2-t&")) {
            ("/t", _) => json(200, r#"{"access_token":"hunter2-t","expires_in":3600}"#),
            ("/i", true) => answer(
                200,
                &["Date: Wed, 25 Nov 2026 12:00:00 GMT"],
                r#"{"active":true,"scope":"read","exp":1795608060,"aud":["a"],"cnf":{"x5t#S256":"abc"},"sub":"12"}"#,
            ),
            ("/i", false) => json(200, r#"{"active":false,"scope":"left out"}"#),
            _ => json(401, r#"{"error":"invalid_client","error_description":"hunter2-t"}"#),
        };
        let _ = stream.write_all(&answer);
    })
}

#[test]
fn what_the_server_says_of_a_token_is_printed_and_a_token_that_is_not_active_is_3() {
    let place = Place::new();
    let server = server();
    let profile = |name: &str, path: &str| {
        let text = format!(
            r#"{{"url": "{}", "introspection_url": "{}", "client_id": "api", "cache_dir": "{}"}}"#,
            server.url("/t"),
            server.url(path),
            place.path("cache"),
        );
        place.file(name, &text);
        place.path(name)
    };
    let (good, wrong) = (profile("p.json", "/i"), profile("wrong.json", "/other"));
    let run = |words: &[&str]| place.keyfob([&["introspect"], words].concat()).input("hunter2-other\n").outcome();

    run(&[&good]).fails(
        2,
        "keyfob: introspect: no token is cached\nhint: fetch one (keyfob token), or name the file of another \
         (--access-token-file)",
    );
    assert_eq!(server.requests(), []);
    assert_eq!(place.keyfob(["token", &good]).outcome_with_secrets().code, Some(0));
    run(&[&good]).prints(
        r#"{"active":true,"aud":["a"],"cnf":{"x5t#S256":"abc"},"exp":1795608060,"expires_in":60,"scope":"read","sub":"12"}"#,
    );
    let request = server.requests().pop().unwrap();
    assert_eq!(request.body_text(), "token=hunter2-t&token_type_hint=access_token&client_id=api");
    run(&[&good, "--access-token-file", "-"]).is(3, "{\"active\":false,\"expires_in\":null}\n", "");
    let refused = run(&[&wrong]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(3), ""));
    assert!(refused.stderr.starts_with("keyfob: the server refused (status 401): invalid_client"), "{refused:?}");

    let no_endpoint = ["--url", &server.url("/t"), "--access-token-file", "-"];
    run(&no_endpoint).fails(
        2,
        &format!(
            "keyfob: {}: its description has no introspection endpoint\nhint: set where the server says whether a token \
             is valid (`introspection_url`)",
            server.address()
        ),
    );
}
