//! Certificates, TLS and plain http.

use crate::proxy::{CONNECTED, Proxy};
use crate::*;

#[test]
#[cfg(feature = "tls")]
fn the_systems_roots_are_those_of_its_bundle() {
    let place = Place::new();
    let server = https_server(serving::config(serving::VALID, rustls::ALL_VERSIONS));
    let no_certificate = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let cut = "-----BEGIN CERTIFICATE-----\naGVs\n";
    let ca = String::from_utf8_lossy(serving::CA);
    // In the system's bundle, what cannot be read is passed over.
    place.file("here/bundle.pem", format!("# all\n{no_certificate}{cut}{ca}{cut}"));
    place.file("here/p.json", format!(r#"{{"url": "{}", "system_roots": true}}"#, server.url("/t")));
    place.file("here/c.json", format!(r#"{{"url": "{}", "ca_file": "none"}}"#, server.url("/t")));
    let url = server.url("/t");
    for words in [&["--url", &url, "--system-roots"][..], &["./p.json"], &["./c.json", "--system-roots"]] {
        let run = place.keyfob([&["token", "--no-cache"], words].concat());
        run.variable("SSL_CERT_FILE", "bundle.pem").outcome().prints("tok-1");
    }
    // Without the option they are not.
    let outcome = place.token(&url, &[]).variable("SSL_CERT_FILE", "bundle.pem").outcome();
    assert_eq!(outcome.code, Some(7), "{outcome:?}");
    assert_eq!(place.token(&url, &["--system-roots"]).outcome().code, Some(7), "this system does not trust the tests");

    place.file("here/empty.pem", "");
    place.file("here/none.pem", format!("{no_certificate}{cut}"));
    for (name, why) in [
        ("missing.pem", "there is no such file"),
        (".", "it is a directory"),
        ("empty.pem", "there is no certificate in it that can be read"),
        ("none.pem", "there is no certificate in it that can be read"),
        ("/dev/zero", "there is no certificate in it that can be read"),
    ] {
        let outcome = place.token(&url, &["--system-roots"]).variable("SSL_CERT_FILE", name).outcome();
        outcome.fails(2, &format!("keyfob: trusted roots: SSL_CERT_FILE, {name}: {why}"));
    }
    let both = place.token(&url, &["--system-roots", "--ca-file", "bundle.pem"]).outcome();
    both.fails(2, "keyfob: `ca_file` and `system_roots` are both given\nhint: remove one of them");
    assert_eq!(server.requests().len(), 3);

    // For a token that is at hand no roots are read.
    let cached = |roots: &[&str]| place.keyfob([&["token", "--url", &url, "--cache-dir", "cache"], roots].concat());
    cached(&["--ca-file", "bundle.pem"])
        .outcome()
        .fails(2, "keyfob: trusted roots: bundle.pem: certificate 1 cannot be read");
    cached(&["--system-roots"]).variable("SSL_CERT_FILE", "bundle.pem").outcome().prints("tok-1");
    for roots in [&["--ca-file", "bundle.pem"][..], &["--system-roots"], &[]] {
        cached(roots).variable("SSL_CERT_FILE", "none").outcome().prints("tok-1");
    }
    assert_eq!(server.requests().len(), 4);
}

#[cfg(feature = "tls")]
fn https_server(config: Arc<rustls::ServerConfig>) -> Server {
    let answer = json(200, r#"{"access_token":"tok-1","token_type":"Bearer","expires_in":3600}"#);
    serving::server(config, move |_, stream| drop(stream.write_all(&answer)))
}

#[test]
#[cfg(feature = "tls")]
fn a_client_is_known_by_its_certificate() {
    let place = Place::new();
    place.file("here/ca.pem", serving::CA);
    place.file("here/cert.pem", serving::CLIENT.0);
    place.file("here/key.pem", serving::CLIENT.1);
    place.file("here/expired.pem", serving::CLIENT_EXPIRED.0);
    place.file("here/expired.key.pem", serving::CLIENT_EXPIRED.1);
    place.file("here/both.pem", [serving::CLIENT.1, serving::CLIENT.0].concat());
    place.file("credentials/key-of-the-unit", serving::CLIENT.1);
    place.file("here/encrypted.pem", serving::CLIENT_ENCRYPTED);
    let server = https_server(serving::config_for_clients_of(serving::CA, rustls::ALL_VERSIONS));
    let url = server.url("/t");
    place.file(
        "here/p.json",
        format!(
            r#"{{"url": "{url}", "auth": "tls_client_auth", "client_id": "id", "ca_file": "ca.pem",
                "client_cert_file": "cert.pem", "client_key_file": "key.pem"}}"#
        ),
    );
    let key = String::from_utf8_lossy(serving::CLIENT.1);
    let by_options = |certificate: &'static str, key: &'static str| {
        let options = ["--ca-file", "ca.pem", "--auth", "tls_client_auth", "--client-id", "id"];
        place.token(&url, &[&options[..], &["--client-cert-file", certificate, "--client-key-file", key]].concat())
    };
    let in_variable = ["--no-cache", "./p.json", "--client-key-env", "KEY"];
    let mut count = 0;
    for run in [
        by_options("cert.pem", "key.pem"),
        by_options("both.pem", "both.pem"),
        by_options("cert.pem", "-").input(serving::CLIENT.1),
        by_options("cert.pem", "key-of-the-unit").variable("CREDENTIALS_DIRECTORY", place.path("credentials")),
        place.keyfob(["token", "--no-cache", "./p.json"]),
        place.keyfob([&["token"], &in_variable[..]].concat()).variable("KEY", &*key),
    ] {
        run.outcome().prints("tok-1");
        count += 1;
    }
    let requests = server.requests();
    assert_eq!(requests.len(), count);
    for request in requests {
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.body_text(), "grant_type=client_credentials&client_id=id");
    }

    // A refusal is code 7, what cannot work is code 2.
    let outcome = by_options("expired.pem", "expired.key.pem").outcome();
    outcome.fails(
        7,
        &format!(
            "keyfob: {}: it refuses the client certificate: CertificateExpired\n\
             hint: get a new one; or the server's clock, or that of its issuer, is wrong",
            server.address()
        ),
    );
    let options = ["--ca-file", "ca.pem", "--client-id", "id"];
    for (more, why) in [
        (
            &["--auth", "tls_client_auth"][..],
            "`tls_client_auth` needs a client certificate\n\
             hint: name a certificate and its key (--client-cert-file, --client-key-file)",
        ),
        (
            &["--client-cert-file", "cert.pem"],
            "the client certificate has no key\nhint: name its key (--client-key-file)",
        ),
        (
            &["--client-key-file", "key.pem"],
            "the client key has no certificate\nhint: name its certificate (--client-cert-file)",
        ),
        (
            &["--client-cert-file", "cert.pem", "--client-key-file", "expired.key.pem"],
            "client key: it does not belong to the client certificate\n\
             hint: the file must start with the client's certificate, followed by those that issued it",
        ),
        (
            &["--client-cert-file", "cert.pem", "--client-key-file", "encrypted.pem"],
            "client key: it is encrypted, and keyfob cannot ask for its password\n\
             hint: decrypt it into a file that others cannot read: \
             (umask 077; openssl pkey -in encrypted.pem -out key.pem)",
        ),
        (
            &["--client-cert-file", "cert.pem", "--client-key-file", "missing.pem"],
            "secret file HERE/missing.pem: there is no such file",
        ),
        (
            &["--client-cert-file", "-", "--client-key-file", "-"],
            "`client_cert_file` and `client_key_file` both read standard input, which has one secret",
        ),
        (
            &["--client-key", "hunter2"],
            "usage: unknown option --client-key\n\
             hint: everyone can read argument lists: put it into a file and use --client-key-file",
        ),
    ] {
        let why = why.replace("HERE", &place.path("here"));
        place.token(&url, &[&options[..], more].concat()).outcome().fails(2, &format!("keyfob: {why}"));
    }
    place.file("here/q.json", format!(r#"{{"url": "{url}", "client_key": "hunter2"}}"#));
    place.keyfob(["token", "--no-cache", "./q.json"]).outcome().fails(
        2,
        "keyfob: profile: unknown member \"client_key\"\n\
         hint: a profile names the file of a secret: `client_key_file`",
    );
    assert_eq!(server.requests().len(), count);
}

#[test]
#[cfg(feature = "tls")]
fn trusted_roots_must_be_pem() {
    let place = Place::new();
    let no_certificate = "there is no certificate in it\nhint: it must be PEM: -----BEGIN CERTIFICATE-----";
    place.file("here/garbage.pem", "hunter2");
    place.file("here/empty.pem", "");
    for (file, why) in [
        ("/dev/zero", no_certificate),
        ("garbage.pem", no_certificate),
        ("empty.pem", no_certificate),
        (".", "it is a directory"),
        ("none", "there is no such file"),
    ] {
        let outcome = place.token("https://as.example", &["--ca-file", file]).outcome();
        outcome.fails(2, &format!("keyfob: trusted roots: {file}: {why}"));
    }
    // Where they are not needed they are not read: not for plain http, and not for a token that is there.
    let server = token_server();
    place.token(&server.url("/t"), &["--ca-file", "none"]).outcome().prints("tok-1");
}

/// A server that answers whatever it is sent with these bytes: not after a request, for there may be none.
#[cfg(feature = "tls")]
fn blurting(bytes: &'static [u8]) -> Server {
    let wrapper = move |mut stream: TcpStream| {
        read_once(&mut stream);
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while !read_once(&mut stream).is_empty() {}
        None
    };
    Server::start("https", Box::new(wrapper), Box::new(|_, _| {}))
}

#[test]
#[cfg(feature = "tls")]
fn a_server_that_speaks_no_tls_under_https_is_not_trusted() {
    let server = blurting(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let message = format!("{}: it does not speak TLS on this port", server.address());
    let hint = "hint: check the port, and whether the URL should say http://";
    let json = error_json("untrusted", &message, None, None, None, false);
    error_for(&server, &[], 7, &format!("keyfob: {message}\n{hint}"), &json);

    let server = blurting(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28]);
    let message = format!("{}: it refused the TLS connection: HandshakeFailure", server.address());
    let hint = "hint: it may want a client certificate, or another version or cipher of TLS";
    let json = error_json("untrusted", &message, None, None, None, false);
    error_for(&server, &[], 7, &format!("keyfob: {message}\n{hint}"), &json);
}

#[test]
#[cfg(not(feature = "tls"))]
fn https_without_tls_is_an_error() {
    let place = Place::new();
    let server = token_server();
    place
        .token(&format!("https://{}/t", server.address()), &[])
        .outcome()
        .fails(2, "keyfob: url: https needs the feature `tls`, which this build does not have");
    assert_eq!(server.requests(), []);
}

#[test]
fn a_server_that_speaks_tls_under_http_is_not_trusted() {
    let server = Server::answering([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46]);
    let message = format!("{} speaks TLS, and the URL says plain http", server.address());
    let json = error_json("untrusted", &message, None, None, None, false);
    error_for(&server, &[], 7, &format!("keyfob: {message}\nhint: write https:// in the URL"), &json);
}

#[test]
fn plain_http_to_another_host_goes_out_only_if_it_is_allowed() {
    let place = Place::new();
    let server = token_server();
    let proxy = Proxy::leading_to(Some(server.address()), CONNECTED);
    let run = |options: &[&str]| place.token("http://as.example/t", options).variable("http_proxy", proxy.url());
    run(&[]).outcome().fails(
        2,
        "keyfob: plain http to as.example would show the credentials to everyone on the way\n\
         hint: use https, or allow it (--allow-http) if you trust the network",
    );
    assert_eq!(proxy.asked(), [""; 0]);
    run(&["--allow-http"]).outcome().prints("tok-1");
    // The name is the proxy's to look up.
    assert_eq!(proxy.asked(), ["CONNECT as.example:80 HTTP/1.1"]);
    assert_eq!(server.request().header("host"), Some("as.example"));
}

#[test]
#[cfg(feature = "tls")]
fn trusted_roots_that_are_damaged_have_no_empty_hint() {
    let place = Place::new();
    for (content, why) in [
        ("-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n", "certificate 1 cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nQUJD\n", "this is not PEM"),
    ] {
        place.file("here/ca.pem", content);
        let outcome = place.token("https://as.example", &["--ca-file", "ca.pem"]).outcome();
        outcome.fails(2, &format!("keyfob: trusted roots: ca.pem: {why}"));
    }
}

#[test]
fn plain_http_at_a_port_that_speaks_tls_and_just_closes_gets_a_hint_and_no_second_connection() {
    let place = Place::new();
    // Closes on whatever is no TLS, as many servers do.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        read_once(&mut listener.accept().unwrap().0);
        listener
    });
    let outcome = place.token(&format!("http://{address}/t"), &[]).outcome();
    outcome.fails(
        4,
        &format!(
            "keyfob: the connection to {address} ended before the answer did: unexpected end of file\n\
             hint: the server sent nothing: if it speaks TLS, write https:// in the URL"
        ),
    );
    let listener = server.join().unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
