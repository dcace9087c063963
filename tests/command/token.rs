//! The token as each format shows it, and what is said beside it.

use crate::*;

#[test]
fn a_token_comes_out_in_each_format_as_one_line() {
    let place = Place::new();
    let body = r#"{"access_token":"a\"b\\c/d","token_type":"bearer","scope":"read write"}"#;
    let server = Server::answering(json(200, body));
    for (format, line) in [
        ("token", r#"a"b\c/d"#),
        ("header", r#"Authorization: Bearer a"b\c/d"#),
        ("curl", r#"header = "Authorization: Bearer a\"b\\c/d""#),
        (
            "json",
            "{\"access_token\":\"a\\\"b\\\\c/d\",\"token_type\":\"bearer\",\"expires_in\":null,\
             \"scope\":\"read write\",\"cache\":\"none\"}",
        ),
    ] {
        place.token(&server.url("/t"), &["--format", format]).outcome().prints(line);
    }
    place.token(&server.url("/t"), &[]).outcome().prints(r#"a"b\c/d"#);
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn json_tells_what_is_left_of_the_life_in_whole_seconds_rounded_down() {
    let place = Place::new();
    for (lifetime, options, whole) in [
        (r#""expires_in":3600,"#, &[][..], 3600),
        (r#""expires_in":"3599","#, &[], 3599),
        ("", &["--lifetime", "600"], 600),
        (r#""expires_in":0,"#, &["--lifetime", "600"], 600),
        (r#""expires_in":3600,"#, &["--lifetime", "600"], 3600),
        (r#""expires_in":3600,"#, &["--min-valid", "3500"], 3600),
    ] {
        let server = Server::answering(json(200, &format!(r#"{{{lifetime}"access_token":"tok-1"}}"#)));
        let outcome = place.token(&server.url("/t"), &[&["--format", "json"], options].concat()).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{lifetime} {options:?}");
        assert_eq!(
            without_seconds(&outcome.stdout, "\"expires_in\":", ",", whole),
            "{\"access_token\":\"tok-1\",\"token_type\":null,\"expires_in\":N,\"scope\":null,\"cache\":\"none\"}\n"
        );
    }
}

#[test]
fn an_unknown_life_is_null_and_long_enough() {
    let place = Place::new();
    for lifetime in ["", r#""expires_in":null,"#, r#""expires_in":"soon","#] {
        let server = Server::answering(json(200, &format!(r#"{{{lifetime}"access_token":"tok-1"}}"#)));
        place
            .token(&server.url("/t"), &["--format", "json", "--min-valid", "86400"])
            .outcome()
            .prints(r#"{"access_token":"tok-1","token_type":null,"expires_in":null,"scope":null,"cache":"none"}"#);
    }
}

#[test]
fn a_life_of_zero_is_handed_out_with_a_hint() {
    let place = Place::new();
    for lifetime in ["0", "-1", "\"0\""] {
        let server = Server::answering(json(200, &format!(r#"{{"access_token":"tok-1","expires_in":{lifetime}}}"#)));
        place.token(&server.url("/t"), &[]).outcome().is(
            0,
            "tok-1\n",
            "hint: the server says the token lives 0 s or less; if it means something else, set the lifetime (--lifetime)\n",
        );
    }
}

#[test]
fn a_token_of_another_type_comes_out_bare_but_not_as_a_bearer_token() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"access_token":"tok-1","token_type":"mac"}"#));
    place.token(&server.url("/t"), &["--format", "token"]).outcome().prints("tok-1");
    place
        .token(&server.url("/t"), &["--format", "json"])
        .outcome()
        .prints(r#"{"access_token":"tok-1","token_type":"mac","expires_in":null,"scope":null,"cache":"none"}"#);
    let message = "keyfob: a token of type \"mac\" cannot be sent as a bearer token\n\
         hint: such a token needs more than a header; ask whoever runs the server for a bearer token\n";
    place.token(&server.url("/t"), &["--format", "header"]).outcome().is(5, "", message);
    place.token(&server.url("/t"), &["--format", "curl"]).outcome().is(5, "proto = \"-all\"\n", message);
}

#[test]
fn a_token_may_stand_in_another_member() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"data":{"token":"tok-1","expires_in":60},"token_type":"Bearer"}"#));
    let outcome = place.token(&server.url("/t"), &["--field", "data.token", "--format", "json"]).outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        without_seconds(&outcome.stdout, "\"expires_in\":", ",", 60),
        "{\"access_token\":\"tok-1\",\"token_type\":\"Bearer\",\"expires_in\":N,\"scope\":null,\"cache\":\"none\"}\n"
    );
    place.token(&server.url("/t"), &[]).outcome().fails(
        5,
        "keyfob: the answer is no token response: there is no access token\n\
         hint: is this the token endpoint? if the token is in another place, name it (--field)",
    );
}

#[test]
fn the_documented_answer_of_form_credentials_is_read() {
    let place = Place::new();
    let server = Server::answering(json(200, common::ANSWER_C));
    let options =
        ["--dialect", "form-credentials", "--scope", "s", "--client-id", "c", "--client-secret-file", "secret"];
    place.token(&server.url("/t"), &options).outcome().prints("c-token");
}

#[test]
fn members_that_are_kept_are_printed_as_json() {
    let place = Place::new();
    let body =
        r#"{"access_token":"tok","expires_in":3600,"instance_url":"https://a.example","session":{"n":[1]},"x":null}"#;
    let server = Server::answering(json(200, body));
    let text = format!(r#"{{"url": "{}", "keep": ["instance_url", "session.n", "x", "gone"]}}"#, server.url("/t"));
    place.file("here/p.json", text);
    // The answer, then the cache.
    for cache in ["miss", "hit"] {
        let outcome = place.keyfob(["token", "./p.json", "--format", "json"]).outcome();
        assert_eq!(
            without_seconds(&outcome.stdout, "\"expires_in\":", ",", 3600),
            format!(
                "{{\"access_token\":\"tok\",\"token_type\":null,\"expires_in\":N,\"scope\":null,\"cache\":\"{cache}\",\
                 \"members\":{{\"instance_url\":\"https://a.example\",\"session.n\":\"[1]\"}}}}\n"
            )
        );
    }
    // Other formats and the log have nothing of them.
    let outcome = place.keyfob(["token", "./p.json", "--fresh", "-v"]).outcome();
    assert!(!outcome.stderr.contains("a.example") && outcome.stdout == "tok\n", "{outcome:?}");
}

#[test]
fn a_header_comes_out_as_the_api_wants_it() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"access_token":"a\"b","token_type":"Bearer","expires_in":3600}"#));
    let url = server.url("/t");
    let text =
        format!(r#"{{"url": "{url}", "api": "X-Auth-Token: {{tenant}} {{token}}", "var": {{"tenant": "acme"}}}}"#);
    place.file("here/p.json", text);
    for (format, line) in [
        ("token", r#"a"b"#),
        ("header", r#"X-Auth-Token: acme a"b"#),
        ("curl", r#"header = "X-Auth-Token: acme a\"b""#),
    ] {
        place.keyfob(["token", "./p.json", "--format", format]).outcome().prints(line);
    }
    assert_eq!(server.requests().len(), 1);
}
