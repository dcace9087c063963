//! `--issuer`: the endpoints come from the server's metadata.

use crate::*;

/// A server with metadata for the issuer of its own address. `other` is the address of its other endpoints.
fn server(other: Option<std::net::SocketAddr>) -> Server {
    Server::with(move |seen, stream| {
        let own = seen.header("host").unwrap_or_default().to_owned();
        let other = other.map_or(own.clone(), |other| other.to_string());
        let answer = match seen.target.as_str() {
            "/.well-known/openid-configuration" => json(
                200,
                &format!(
                    r#"{{"issuer":"http://{own}","token_endpoint":"http://{own}/t","revocation_endpoint":"http://{other}/r",
                         "introspection_endpoint":"http://{other}/i"}}"#
                ),
            ),
            "/t" => json(200, r#"{"access_token":"hunter2-t","expires_in":3600}"#),
            "/i" => json(200, r#"{"active":true}"#),
            "/r" => answer(200, &[], ""),
            _ => answer(404, &[], ""),
        };
        let _ = stream.write_all(&answer);
    })
}

#[test]
fn the_issuer_is_enough_to_fetch_introspect_and_revoke() {
    let place = Place::new();
    let server = server(None);
    let issuer = server.url("");
    let cache = place.path("cache");
    place.file("p.json", format!(r#"{{"issuer": "{issuer}", "client_id": "meter", "cache_dir": "{cache}"}}"#));
    let profile = place.path("p.json");
    let run = |words: &[&str]| place.keyfob(words).outcome_with_secrets();
    let targets = || server.requests().iter().map(|request| request.target.clone()).collect::<Vec<_>>();
    const METADATA: &str = "/.well-known/openid-configuration";

    let offline = run(&["token", &profile, "--offline"]);
    assert_eq!((offline.code, offline.stdout.as_str()), (Some(4), ""), "{offline:?}");
    assert_eq!(targets(), [] as [&str; 0]);
    assert_eq!(run(&["token", &profile]).stdout, "hunter2-t\n");
    assert_eq!(targets(), [METADATA, "/t"]);
    // Both are in the cache.
    assert_eq!(run(&["token", &profile]).stdout, "hunter2-t\n");
    assert_eq!(run(&["status", &profile]).code, Some(0));
    assert_eq!(targets().len(), 2);
    assert_eq!(run(&["introspect", &profile]).stdout, "{\"active\":true,\"expires_in\":null}\n");
    assert_eq!(run(&["revoke", &profile]).stdout, "revoked\n");
    assert_eq!(targets()[2..], ["/i", "/r"]);
    // A new token, and the metadata once more.
    assert_eq!(run(&["token", &profile, "--fresh"]).stdout, "hunter2-t\n");
    assert_eq!(targets()[4..], [METADATA, "/t"]);
    // An option replaces the profile's issuer.
    place.file("url.json", format!(r#"{{"url": "http://127.0.0.1:1/t", "cache_dir": "{cache}"}}"#));
    let other = run(&["token", &place.path("url.json"), "--issuer", &issuer, "--client-id", "other"]);
    assert_eq!((other.stdout.as_str(), other.stderr.as_str()), ("hunter2-t\n", ""));
}

#[test]
fn another_issuer_no_metadata_and_other_hosts_are_reported() {
    let place = Place::new();
    let (far, none) = (server(None), Server::answering(answer(404, &[], "")));
    let server = server(Some(far.address()));
    let run = |issuer: &str| place.keyfob(["token", "--issuer", issuer, "--no-cache"]).outcome_with_secrets();

    let outcome = run(&server.url(""));
    assert_eq!(outcome.stdout, "hunter2-t\n");
    let note = format!("keyfob: the issuer's metadata has endpoints on another host: {}\n", far.address());
    assert_eq!(outcome.stderr, note);

    let slash = format!("{}/", server.url(""));
    run(&slash).fails(
        5,
        &format!(
            "keyfob: discovery of {slash}: the metadata is that of the issuer {:?}\nhint: if that is the right one, name it \
             exactly so: \"issuer\": {:?}",
            server.url(""),
            server.url("")
        ),
    );
    let url = none.url("");
    run(&url).fails(
        5,
        &format!(
            "keyfob: discovery of {url}: the server has no metadata\nhint: {url}/.well-known/openid-configuration was \
             answered with status 404, {url}/.well-known/oauth-authorization-server with status 404; is this the issuer? \
             If it has no metadata, give the URL of its token endpoint (--url)"
        ),
    );
    run("http://as.example").fails(2, "keyfob: issuer: it must start with https://");
}
