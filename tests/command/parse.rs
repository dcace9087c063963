//! `keyfob parse`.

use crate::*;

/// What `parse` shows of a token that is alone but for its lifetime.
fn redacted(expires_in: &str) -> String {
    format!(
        "{{\"ok\":{{\"access_token\":\"‹redacted›\",\"token_type\":null,\"expires_in_s\":{expires_in},\
         \"refresh_token\":null,\"scope\":null}}}}"
    )
}

#[test]
fn parse_tells_how_an_answer_is_read() {
    let place = Place::new();
    let form = "--content-type=application/x-www-form-urlencoded";
    let all = r#"{"access_token":"hunter2","token_type":"Bearer","expires_in":"3599","refresh_token":"hunter2",
        "scope":"a b",}"#;
    for (input, options, code, line) in [
        (
            all,
            &[][..],
            0,
            "{\"ok\":{\"access_token\":\"‹redacted›\",\"token_type\":\"Bearer\",\"expires_in_s\":3599,\
             \"refresh_token\":\"‹redacted›\",\"scope\":\"a b\"}}",
        ),
        (r#"{"access_token":"hunter2"}"#, &[], 0, &redacted("null")),
        (
            r#"{"access_token":"hunter2","expires_in":0}"#,
            &["--status", "201", "--content-type", "text/plain"],
            0,
            &redacted("0"),
        ),
        ("access_token=hunter2&expires_in=60", &[form], 0, &redacted("60")),
        (
            r#"{"error":"invalid_client","error_description":"no"}"#,
            &[],
            3,
            r#"{"oauth_error":{"error":"invalid_client","error_description":"no"}}"#,
        ),
        (
            r#"{"error":"invalid_client"}"#,
            &["--status", "401"],
            3,
            r#"{"oauth_error":{"error":"invalid_client","error_description":null}}"#,
        ),
        ("error=odd", &[form], 3, r#"{"oauth_error":{"error":"odd","error_description":null}}"#),
        (
            r#"{"error":"a\"b","error_description":"\u001b[31m\n\t\u0000\u0007 \\ é"}"#,
            &["--status=400"],
            3,
            r#"{"oauth_error":{"error":"a\"b","error_description":"\u001b[31m\n\t\u0000\u0007 \\ é"}}"#,
        ),
        (all, &["--status", "500"], 5, r#"{"reject":"status 500 without an OAuth error"}"#),
        ("", &["--status", "429"], 5, r#"{"reject":"status 429 without an OAuth error"}"#),
        ("", &[], 5, r#"{"reject":"the body is empty"}"#),
        (" \r\n", &[], 5, r#"{"reject":"the body is empty"}"#),
        ("<html>hunter2", &[], 5, r#"{"reject":"the body is HTML or XML, not JSON"}"#),
        ("access_token=hunter2", &[], 5, r#"{"reject":"the body is not a JSON object"}"#),
        (r#"{"access_token":"hunter2""#, &[], 5, r#"{"reject":"the JSON text is cut off, at byte 25"}"#),
        (r#"{"token":"hunter2"}"#, &[], 5, r#"{"reject":"there is no access token"}"#),
        (
            r#"{"access_token":"hunter2 x"}"#,
            &["--show-secrets"],
            5,
            r#"{"reject":"the access token holds a character that is not visible ASCII, at byte 24"}"#,
        ),
        ("access_token=a%2", &[form], 5, r#"{"reject":"a percent sign without two hex digits, at byte 14"}"#),
    ] {
        let outcome = place.keyfob([&["parse"], options].concat()).input(input).outcome();
        outcome.is(code, &format!("{line}\n"), "");
    }
}

#[test]
fn parse_shows_secrets_when_asked_to() {
    let place = Place::new();
    let body = r#"{"access_token":"t\"\\1","refresh_token":"r1"}"#;
    place.keyfob(["parse", "--show-secrets"]).input(body).outcome().prints(
        r#"{"ok":{"access_token":"t\"\\1","token_type":null,"expires_in_s":null,"refresh_token":"r1","scope":null}}"#,
    );
}

#[test]
fn parse_reads_a_mebibyte_and_no_more() {
    let place = Place::new();
    let body = r#"{"access_token":"hunter2"}"#;
    let padding = 1024 * 1024 - body.len();
    place.keyfob(["parse"]).input(format!("{body}{}", " ".repeat(padding))).outcome().prints(&redacted("null"));
    for more in [1, 200_000] {
        let input = format!("{body}{}", " ".repeat(padding + more));
        let outcome = place.keyfob(["parse"]).input(input).outcome();
        outcome.is(5, "{\"reject\":\"the answer is larger than 1 MiB\"}\n", "");
    }
}

#[test]
fn parse_wants_a_status_that_is_one() {
    let place = Place::new();
    for (status, lines) in [
        ("99", "usage: --status: this must be an HTTP status"),
        ("1000", "usage: --status: this must be an HTTP status"),
        ("65736", "usage: --status: this must be an HTTP status"),
        ("hunter2", "usage: --status: must be a whole number\nhint: `keyfob help` lists the commands and options"),
        ("-200", "usage: --status: must be a whole number\nhint: `keyfob help` lists the commands and options"),
    ] {
        let outcome = place.keyfob(["parse", &format!("--status={status}")]).input("{}").outcome();
        outcome.fails(2, &format!("keyfob: {lines}"));
    }
}
