//! Proxies: what is asked of them, what they may answer, and which requests go to none. `no_proxy`'s entries and proxies' URLs
//! have their tables beside their code.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[cfg(all(feature = "cli", unix))]
#[path = "common/command.rs"]
mod running;

use common::{Server, Stream, answer, json, read_request};
use keyfob::{AccessToken, BootClock, Client, Endpoint, Error, ErrorKind, Grant, HttpTransport};

const TOKEN: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;

/// A proxy that answers CONNECT with these bytes, and plays the server behind it if a request follows.
fn proxy(answer: &'static str) -> Server {
    Server::with(move |_, stream: &mut dyn Stream| {
        let _ = stream.write_all(answer.as_bytes());
        if read_request(stream).is_some() {
            let _ = stream.write_all(&json(200, TOKEN));
        }
    })
}

fn fetch_through(url: &str, proxy: &str) -> Result<AccessToken, Error> {
    let endpoint = Endpoint::new(url).unwrap().allow_http(true);
    let transport = HttpTransport::new().proxy(proxy).unwrap();
    let client = Client::with_parts(endpoint, transport, BootClock)
        .client_id("id")
        .client_secret(keyfob::SecretSource::value("hunter2"));
    client.fetch(&Grant::client_credentials())
}

#[test]
fn every_2xx_connects_and_interim_answers_are_skipped() {
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 201 Created\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 299 Yes\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 103 Early\r\nlink: <x>\r\n\r\nHTTP/1.1 101 Odd\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nvia: x,\n y\n\n",
    ] {
        let proxy = proxy(answer);
        let token = fetch_through("http://as.invalid/token", &proxy.url(""))
            .unwrap_or_else(|error| panic!("{answer}: {error}"));
        assert_eq!(token.expose(), "t0ken", "{answer}");
    }
}

#[test]
fn a_proxy_that_wants_other_credentials_refuses() {
    for (user_info, challenge, hint) in [
        ("", "", "give the proxy {} a user name and a password in its URL: http://USER:PASSWORD@HOST:PORT"),
        ("me:x@", "Basic realm=x", "check the user name and the password in the URL of the proxy {}"),
        (
            "me:x@",
            "Negotiate",
            "the proxy {} offers Negotiate, and keyfob supports Basic only: ask for that, or use a local proxy that can \
             log in",
        ),
    ] {
        let answer =
            format!("HTTP/1.1 407 Who\r\nproxy-authenticate: {challenge}\r\ncontent-length: 1\r\n\r\nx").leak();
        let proxy = proxy(answer);
        let error =
            fetch_through("http://as.invalid/t", &format!("http://{user_info}{}", proxy.address())).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::Refused, "the proxy wants other credentials".to_owned())
        );
        assert_eq!((error.status(), error.is_retryable()), (Some(407), false));
        assert_eq!(error.hint().unwrap(), hint.replace("{}", &proxy.address().to_string()));
    }
}

#[test]
fn a_407_inside_a_tunnel_is_a_refusal_too() {
    let proxy = Server::with(|_, stream: &mut dyn Stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        if read_request(stream).is_some() {
            let _ = stream.write_all(&answer(407, &["proxy-authenticate: Basic realm=x"], ""));
        }
    });
    let error = fetch_through("http://as.invalid/t", &proxy.url("")).unwrap_err();
    assert_eq!((error.kind(), error.status(), error.is_retryable()), (ErrorKind::Refused, Some(407), false));
    assert_eq!(error.to_string(), "the proxy wants other credentials");
}

#[test]
fn link_local_addresses_and_this_machine_are_never_asked_through_a_proxy() {
    let proxy = proxy("HTTP/1.1 200 OK\r\n\r\n");
    for url in [
        "http://169.254.169.254/t",
        "http://[fd00:ec2::254]/t",
        "http://metadata.google.internal/t",
        "http://[fe80::1]/t",
    ] {
        let error = fetch_through(url, &proxy.url("")).unwrap_err();
        let message = "a link-local address cannot be asked through a proxy: it would be the proxy's own";
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message), "{url}");
    }
    let error = fetch_through("http://127.0.0.1:1/t", &proxy.url("")).unwrap_err();
    let message = "plain http to this machine through a proxy would show it the credentials";
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
    assert_eq!(proxy.requests(), []);
}

#[test]
fn the_way_to_a_server_is_named_by_its_proxy_and_its_roots() {
    use keyfob::Transport;
    let route = |transport: HttpTransport, url: &str| transport.route(url).unwrap().expose().to_owned();
    let direct = || HttpTransport::new().no_proxy();
    let through = |url: &str| HttpTransport::new().proxy(url).unwrap();
    let (http, https) = ("http://as.example/t", "https://as.example/t");
    assert_eq!(route(direct(), http), route(direct().user_agent("x"), http));
    let mut ways = vec![
        route(direct(), http),
        route(through("http://p.example:1"), http),
        route(through("http://p.example:2"), http),
        route(through("http://a:b@p.example:1"), http),
        route(through("http://a:c@p.example:1"), http),
    ];
    if cfg!(feature = "tls") {
        ways.push(route(direct(), https));
        ways.push(route(through("https://p.example:1"), http));
        ways.push(route(through("https://p.example:1"), https));
    }
    let count = ways.len();
    ways.sort();
    ways.dedup();
    assert_eq!(ways.len(), count, "{ways:?}");
    // Where the configuration is wrong, there is no way.
    assert!(through("http://p.example:1").route("http://127.0.0.1/t").is_none());
}

#[cfg(feature = "tls")]
#[test]
fn roots_name_the_way_by_their_source_and_its_state() {
    use keyfob::Transport;
    let route = |transport: HttpTransport| transport.route("https://as.example/t").unwrap().expose().to_owned();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("route-roots.pem");
    let ca: &[u8] = include_bytes!("data/tls/ca.pem");
    let direct = || HttpTransport::new().no_proxy();
    std::fs::write(&path, ca).unwrap();
    let in_file = || route(direct().roots_file(&path));
    let first = in_file();
    assert_eq!(in_file(), first);
    let others = [
        route(direct()),
        route(direct().roots_pem(ca).unwrap()),
        route(direct().roots_pem(include_bytes!("data/tls/self-signed.pem")).unwrap()),
        route(direct().system_roots()),
    ];
    for (at, other) in others.iter().enumerate() {
        assert!(*other != first && !others[..at].contains(other), "{others:?}");
    }
    std::fs::write(&path, [ca, b"\n"].concat()).unwrap();
    assert_ne!(in_file(), first);
    std::fs::remove_file(&path).unwrap();
    assert_ne!(in_file(), first);
}

#[cfg(all(feature = "cli", unix))]
mod environment {
    use super::proxy;
    use super::running::Place;
    use std::os::unix::ffi::OsStrExt;

    const CONNECTED: &str = "HTTP/1.1 200 OK\r\n\r\n";
    const FORM: &str = "hint: it looks like http://proxy.example:3128; in a password, encode # as %23, / as %2F, ? as %3F, @ \
                        as %40";

    #[test]
    fn a_variable_that_is_wrong_is_named_and_nothing_is_sent() {
        let (place, proxy) = (Place::new(), proxy(CONNECTED));
        let address = proxy.address();
        for value in [
            format!("http://svc:hunter2#x@{address}"),
            format!("http://svc:hunter2/x@{address}"),
            format!("http://svc:hunter2?x@{address}"),
            "http://svc:hunter2@127.0.0.1:99999".to_owned(),
            "http://svc:hunter2@127.0.0.1:31z8".to_owned(),
        ] {
            let run = place.token("http://as.invalid/t", &["--allow-http"]).variable("http_proxy", value);
            run.outcome().fails(2, &format!("keyfob: http_proxy: this is not the URL of a proxy\n{FORM}"));
        }
        let latin_1 = std::ffi::OsStr::from_bytes(b"http://svc:hunter2\xF6@127.0.0.1:9");
        for name in ["http_proxy", "all_proxy", "ALL_PROXY"] {
            let run = place.token("http://as.invalid/t", &["--allow-http"]).variable(name, latin_1);
            let hint = "hint: in a password, percent-encode what is not ASCII";
            run.outcome().fails(2, &format!("keyfob: {name}: it is not UTF-8 text\n{hint}"));
        }
        for (value, why) in [
            (&b"10.9.*"[..], "\"10.9.*\" is neither a host, a domain, an address nor a network"),
            (b"as.invalid 10.0.0.0/33", "\"10.0.0.0/33\" is neither a host, a domain, an address nor a network"),
        ] {
            let run = place.token("http://as.invalid/t", &["--allow-http"]).variable("http_proxy", proxy.url(""));
            let hint = "hint: write example.com, .example.com, 10.1.2.3, 10.0.0.0/8, [fd00::1]:8080, or * for all";
            let run = run.variable("no_proxy", std::ffi::OsStr::from_bytes(value));
            run.outcome().fails(2, &format!("keyfob: no_proxy: {why}\n{hint}"));
        }
        assert_eq!(proxy.requests(), []);
    }

    #[test]
    fn a_no_proxy_that_is_wrong_does_not_matter_where_there_is_no_proxy() {
        let (place, server) = (Place::new(), proxy(""));
        let url = format!("http://0.0.0.0:{}/t", server.address().port());
        let run = place.token(&url, &["--allow-http", "--timeout", "5"]).variable("no_proxy", "10.9.*");
        assert_ne!(run.outcome().code, Some(2));
    }

    #[test]
    fn an_address_in_a_network_of_no_proxy_is_asked_directly() {
        let (place, proxy) = (Place::new(), proxy(CONNECTED));
        let server = super::Server::answering(super::json(200, super::TOKEN));
        // On Linux that address reaches this machine, and is no loopback address.
        let url = format!("http://0.0.0.0:{}/t", server.address().port());
        let port = server.address().port();
        for (exceptions, is_direct) in [
            ("0.0.0.0/8".to_owned(), true),
            ("10.0.0.0/8 0.0.0.0".to_owned(), true),
            (format!("0.0.0.0:{port}"), true),
            ("10.0.0.0/8".to_owned(), false),
            ("0.0.0.0:1".to_owned(), false),
        ] {
            let (asked, tunnelled) = (server.requests().len(), proxy.requests().len());
            let run = place.token(&url, &["--allow-http"]).variable("http_proxy", proxy.url(""));
            let outcome = run.variable("no_proxy", &exceptions).outcome();
            assert_eq!(
                (outcome.code, outcome.stdout.as_str()),
                (Some(0), "t0ken\n"),
                "{exceptions}: {}",
                outcome.stderr
            );
            assert_eq!(server.requests().len() - asked, usize::from(is_direct), "{exceptions}");
            assert_eq!(proxy.requests().len() - tunnelled, usize::from(!is_direct), "{exceptions}");
        }
    }
}
