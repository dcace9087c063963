//! Variables of a profile's templates, given in the profile, by an option or in a file.

use crate::common::{Server, json};
use crate::running::Place;

fn profile(place: &Place, server: &Server, more: &str) {
    let url = server.url("/{tenant}/token");
    place.file(
        "here/p.json",
        format!(
            r#"{{"url": "{url}", "omit_grant_type": true, "header": {{"X-Key": "{{api_key}}"}},
                "param": {{"as": "{{tenant}}"}}, "var_file": {{"api_key": "key"}}{more}}}"#
        ),
    );
}

#[test]
fn variables_come_from_the_profile_an_option_or_a_file() {
    let place = Place::new();
    place.file("here/key", "k3y\n");
    for (more, options, tenant) in [
        (r#", "var": {"tenant": "acme"}"#, &[][..], "acme"),
        ("", &["--var", "tenant=acme"], "acme"),
        (r#", "var": {"tenant": "acme"}"#, &["--var", "tenant=other"], "other"),
    ] {
        let server = Server::answering(json(200, r#"{"access_token":"tok"}"#));
        profile(&place, &server, more);
        let words = [&["token", "./p.json", "--no-cache"], options].concat();
        place.keyfob(words).outcome().prints("tok");
        let request = server.request();
        assert_eq!(
            (request.target.as_str(), request.body_text()),
            (&*format!("/{tenant}/token"), format!("as={tenant}"))
        );
        assert_eq!(request.header("x-key"), Some("k3y"));
    }
}

/// An Authorization scheme of the service's own.
#[test]
fn a_header_template_replaces_the_client_authentication() {
    let place = Place::new();
    place.file("here/secret", "s3cret\n");
    let server = Server::answering(json(200, r#"{"access_token":"tok"}"#));
    place.file(
        "here/p.json",
        format!(
            r#"{{"url": "{}", "client_id": "c", "client_secret_file": "secret",
                "header": {{"Authorization": "ID {{base64:{{client_id}}:{{client_secret}}}}"}}}}"#,
            server.url("/t")
        ),
    );
    place.keyfob(["token", "./p.json", "--no-cache"]).outcome().prints("tok");
    let request = server.request();
    assert_eq!(request.header("authorization"), Some("ID YzpzM2NyZXQ="));
    assert_eq!(request.body_text(), "grant_type=client_credentials");
}

#[test]
fn a_variable_that_has_no_value_or_leaves_its_place_is_an_error_and_nothing_is_sent() {
    let place = Place::new();
    place.file("here/key", "k3y\n");
    let server = Server::answering(json(200, r#"{"access_token":"tok"}"#));
    profile(&place, &server, "");
    for (options, lines) in [
        (
            &[][..],
            "url: the variable \"tenant\" has no value\n\
             hint: set it (--var), or write {{tenant}} for the text itself",
        ),
        (&["--var", "tenant=.."], "url: the variable in its path is \"..\", which would name another path"),
    ] {
        let words = [&["token", "./p.json", "--no-cache"], options].concat();
        place.keyfob(words).outcome().fails(2, &format!("keyfob: {lines}"));
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn variables_parameters_and_headers_come_from_the_environment_too() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"access_token":"tok"}"#));
    let members = r#", "var_env": {"key": "KEY"}, "header_env": {"X-Key": "KEY"}, "param_env": {"p": "KEY"}, "param": {"q": "{key}"}"#;
    place.file("here/p.json", format!(r#"{{"url": "{}"{members}}}"#, server.url("/t")));
    place.keyfob(["token", "./p.json", "--no-cache"]).variable("KEY", "hunter2").outcome().prints("tok");
    let options = ["--var-env", "key=OTHER", "--header-env", "x-key: OTHER", "--param-env", "p=OTHER"];
    let run = place.keyfob([&["token", "./p.json", "--no-cache"][..], &options].concat());
    run.variable("OTHER", "other").outcome().prints("tok");
    let seen = server.requests().into_iter().map(|seen| (seen.body_text(), seen.header("x-key").map(str::to_owned)));
    let expected = ["hunter2", "other"]
        .map(|value| (format!("grant_type=client_credentials&q={value}&p={value}"), Some(value.to_owned())));
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    let run = place.keyfob(["token", "./p.json", "--no-cache"]);
    run.outcome().fails(2, "keyfob: environment variable KEY: it is not set");
}
