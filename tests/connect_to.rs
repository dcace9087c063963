//! `connect_to`: the connection goes to another place, and everything else stays as the URL says.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[cfg(all(feature = "cli", unix))]
#[path = "common/command.rs"]
mod running;
#[cfg(feature = "tls")]
#[path = "common/tls.rs"]
mod tls;

use common::{Server, Stream, json, read_request};
use keyfob::{AccessToken, Client, Endpoint, Error, ErrorKind, Grant, HttpTransport, SecretSource, Transport};
use std::time::Duration;

const TOKEN: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;

fn direct() -> HttpTransport {
    HttpTransport::new().no_proxy()
}

fn fetch(endpoint: Endpoint, transport: HttpTransport) -> Result<AccessToken, Error> {
    let client = Client::new(endpoint).transport(transport).timeout(Duration::from_secs(5)).client_id("id");
    client.client_secret(SecretSource::value("hunter2")).fetch(&Grant::client_credentials())
}

fn http(url: &str) -> Endpoint {
    Endpoint::new(url).unwrap().allow_http(true)
}

#[test]
fn the_host_header_is_the_urls() {
    let server = Server::answering(json(200, TOKEN));
    let (place, port) = (server.address().to_string(), server.address().port());
    for (url, place, host) in [
        ("http://as.invalid/t".to_owned(), place.clone(), "as.invalid".to_owned()),
        ("http://as.invalid:81/t".into(), place, "as.invalid:81".into()),
        // Without a port, the URL's.
        (format!("http://as.invalid:{port}/t"), "127.0.0.1".into(), format!("as.invalid:{port}")),
    ] {
        let token = fetch(http(&url), direct().connect_to(&place).unwrap()).unwrap();
        assert_eq!(token.expose(), "t0ken", "{url}");
        assert_eq!(server.requests().last().unwrap().header("host"), Some(host.as_str()));
    }
}

#[test]
fn a_place_that_is_none_is_refused() {
    for place in ["", ":443", "fd00::1", "as.example:", "as.example:0", "http://as.example", "u:p@as.example", "a b"] {
        let error = direct().connect_to(place).unwrap_err();
        let expected = "connect_to: this is neither HOST:PORT nor HOST";
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, expected), "{place}");
    }
}

#[test]
fn a_failure_names_both_places() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch(http("http://as.invalid/t"), direct().connect_to(&closed.to_string()).unwrap()).unwrap_err();
    let message = format!("no connection to as.invalid at {closed}: connection refused");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Unreachable, message));
    let error = fetch(http("http://127.0.0.1/t"), direct().connect_to("edge.invalid:1").unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let error = fetch(http("http://as.invalid/t"), direct().connect_to("edge.invalid:1").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the name edge.invalid was not found");
    assert_eq!(error.hint(), Some("check the host's name (`HttpTransport::connect_to`), and the network"));
}

/// Plain http needs no permission where it stays on this machine or its link. It must then stay there.
#[test]
fn plain_http_that_needs_no_permission_stays_near() {
    for (url, place, is_sent) in [
        ("http://127.0.0.1/t", "192.0.2.1:1", false),
        ("http://localhost/t", "as.invalid:1", false),
        ("http://[::1]/t", "10.0.0.1", false),
        ("http://169.254.169.254/t", "192.0.2.1", false),
        ("http://169.254.169.254/t", "", true),
        ("http://[fd00:ec2::254]/t", "", true),
        ("http://metadata.google.internal/t", "", true),
        ("http://localhost/t", "", true),
    ] {
        let server = Server::answering(json(200, TOKEN));
        let address = server.address().to_string();
        let place = if is_sent { &address } else { place };
        let result = fetch(Endpoint::new(url).unwrap(), direct().connect_to(place).unwrap());
        match is_sent {
            true => assert_eq!(result.unwrap().expose(), "t0ken", "{url}"),
            false => {
                let error = result.unwrap_err();
                let message = "connect_to: plain http to a local host must not be sent to another";
                assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message), "{url}");
            }
        }
    }
    let error = fetch(Endpoint::new("http://10.0.0.1/t").unwrap(), direct().connect_to("127.0.0.1:1").unwrap());
    let error = error.unwrap_err();
    let message = "plain http to 10.0.0.1 would show the credentials to everyone on the way";
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
}

#[test]
fn a_proxy_is_asked_for_the_place() {
    let asked = Server::with(|_, stream: &mut dyn Stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        if read_request(stream).is_some_and(|request| request.header("host") == Some("as.invalid")) {
            let _ = stream.write_all(&json(200, TOKEN));
        }
    });
    for (place, target) in
        [("edge.invalid:8080", "edge.invalid:8080"), ("[2001:db8::1]:81", "[2001:db8::1]:81"), ("edge", "edge:80")]
    {
        let transport = HttpTransport::new().proxy(&asked.url("")).unwrap().connect_to(place).unwrap();
        assert_eq!(fetch(http("http://as.invalid/t"), transport).unwrap().expose(), "t0ken", "{place}");
        let request = asked.requests().pop().unwrap();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("CONNECT", target));
    }
    let count = asked.requests().len();
    for (place, message) in [
        ("127.0.0.1:1", "plain http to this machine through a proxy would show it the credentials"),
        ("169.254.169.254", "a link-local address cannot be asked through a proxy: it would be the proxy's own"),
    ] {
        let transport = HttpTransport::new().proxy(&asked.url("")).unwrap().connect_to(place).unwrap();
        let error = fetch(http("http://as.invalid/t"), transport).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
    }
    assert_eq!(asked.requests().len(), count);
}

#[test]
fn the_place_is_a_part_of_the_way() {
    let way = |transport: HttpTransport| transport.route("https://as.example/t").unwrap().expose().to_owned();
    let ways = [
        way(direct()),
        way(direct().connect_to("10.0.0.1:1").unwrap()),
        way(direct().connect_to("10.0.0.1:2").unwrap()),
    ];
    assert!(ways[0] != ways[1] && ways[1] != ways[2] && ways[0] != ways[2]);
}

#[cfg(feature = "tls")]
mod https {
    use super::common::{Seen, Server, Stream, json};
    use super::tls;
    use super::{Endpoint, ErrorKind, TOKEN, direct, fetch};
    use std::net::TcpStream;
    use std::sync::{Arc, Mutex};

    #[test]
    fn the_name_asked_for_and_the_certificates_name_are_the_urls() {
        let names = Arc::new(Mutex::new(Vec::new()));
        let (config, asked) = (tls::config(tls::VALID, rustls::ALL_VERSIONS), names.clone());
        let wrapper = move |stream: TcpStream| -> Option<Box<dyn Stream>> {
            let stream = tls::accept(&config, stream)?;
            asked.lock().unwrap().push(stream.conn.server_name().map(str::to_owned));
            Some(Box::new(tls::Polite(stream)))
        };
        let handler = |_: &Seen, stream: &mut dyn Stream| {
            let _ = stream.write_all(&json(200, TOKEN));
        };
        let server = Server::start("https", Box::new(wrapper), Box::new(handler));
        let place = server.address().to_string();
        let transport = || direct().roots_pem(tls::CA).unwrap().connect_to(&place).unwrap();
        // The certificate is for localhost and 127.0.0.1.
        let endpoint = Endpoint::new("https://localhost/t").unwrap();
        assert_eq!(fetch(endpoint, transport()).unwrap().expose(), "t0ken");
        assert_eq!(*names.lock().unwrap(), [Some("localhost".to_owned())]);
        assert_eq!(server.request().header("host"), Some("localhost"));
        // It is for the place, and not for the URL's host.
        let error = fetch(Endpoint::new("https://as.example/t").unwrap(), transport()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        assert!(error.to_string().starts_with("as.example: its certificate is for another name: "), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[cfg(all(feature = "cli", unix))]
mod command {
    use super::running::Place;
    use super::{Server, TOKEN, json};

    #[test]
    fn the_option_and_the_member_connect_there() {
        let (place, server, proxy) = (Place::new(), Server::answering(json(200, TOKEN)), Server::answering(""));
        let address = server.address().to_string();
        let run = place.token("http://as.invalid/t", &["--allow-http", "--connect-to", &address]);
        assert_eq!(run.outcome().stdout, "t0ken\n");
        let profile = format!(r#"{{"url": "http://as.invalid/u", "allow_http": true, "connect_to": "{address}"}}"#);
        place.file("here/p.json", profile);
        // A proxy of the environment is not asked for this machine.
        let run = place.keyfob(["token", "./p.json", "--no-cache"]).variable("http_proxy", proxy.url(""));
        assert_eq!(run.outcome().stdout, "t0ken\n");
        // A metadata service: plain http without permission, and never through a proxy.
        let url = "http://169.254.169.254/v";
        let run = place.token(url, &["--connect-to", &address]).variable("http_proxy", proxy.url(""));
        assert_eq!(run.outcome().stdout, "t0ken\n");
        assert_eq!((server.requests().len(), proxy.requests().len()), (3, 0));
        place.token("http://as.invalid/t", &["--allow-http", "--connect-to", "a b"]).outcome().fails(
            2,
            "keyfob: connect_to: this is neither HOST:PORT nor HOST\n\
             hint: it looks like 10.1.2.3:8443, [fd00::1]:8443 or edge.example",
        );
    }
}
