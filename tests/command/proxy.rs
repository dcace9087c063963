//! Proxies.

use crate::*;

/// A proxy that answers CONNECT so, and then passes everything on to where it was asked to.
pub(crate) struct Proxy {
    server: Server,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn new(answer: &'static [u8]) -> Self {
        Self::leading_to(None, answer)
    }

    /// Passes everything on to this address, whatever name it was asked for.
    pub(crate) fn leading_to(address: Option<SocketAddr>, answer: &'static [u8]) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let wrapper = move |mut client: TcpStream| {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let some = read_once(&mut client);
                if some.is_empty() {
                    return None;
                }
                head.extend(some);
            }
            let head = String::from_utf8(head).unwrap();
            log.lock().unwrap().push(head.clone());
            client.write_all(answer).ok()?;
            let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next())?;
            let target = address.map_or(target.to_owned(), |address| address.to_string());
            if !answer.starts_with(b"HTTP/1.1 200") {
                return None;
            }
            let mut server = TcpStream::connect(target).ok()?;
            let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
            let back = std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
            // The client hears of the end first: it has its answer.
            let _ = back_and_forth(&mut client, &mut server);
            let _ = back.join();
            None
        };
        Self { server: Server::start("http", Box::new(wrapper), Box::new(|_, _| {})), asked }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("")
    }

    /// The first lines of what it was asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

fn back_and_forth(client: &mut TcpStream, server: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(client, server)?;
    server.shutdown(std::net::Shutdown::Write)
}

pub(crate) const CONNECTED: &[u8] = b"HTTP/1.1 200 Connected\r\n\r\n";

#[test]
fn a_proxy_from_the_environment_is_used_unless_the_host_needs_none() {
    let place = Place::new();
    for (variable, exceptions, used) in [
        ("http_proxy", "", true),
        ("all_proxy", "", true),
        ("ALL_PROXY", "", true),
        ("http_proxy", "s.invalid,127.0.0.2", true),
        ("http_proxy", "as.invalid", false),
        ("http_proxy", "other.example, .invalid", false),
        ("all_proxy", "*", false),
        // In a CGI program this would be a request's header.
        ("HTTP_PROXY", "", false),
        ("https_proxy", "", false),
    ] {
        let server = token_server();
        let proxy = Proxy::leading_to(Some(server.address()), CONNECTED);
        // The name is found by nobody, and some name servers take long to say so.
        let timeout = if used { "20" } else { "1" };
        let run = place.token("http://as.invalid/t", &["--allow-http", "--timeout", timeout]);
        let run = run.variable(variable, proxy.url()).variable("no_proxy", exceptions);
        if used {
            run.outcome().prints("tok-1");
            assert_eq!(proxy.asked(), ["CONNECT as.invalid:80 HTTP/1.1"], "{variable} {exceptions}");
            assert_eq!(server.request().body_text(), "grant_type=client_credentials");
        } else {
            // Directly, where nobody knows the name.
            assert_eq!(run.outcome().code, Some(4), "{variable} {exceptions}");
            assert_eq!(proxy.asked(), [""; 0], "{variable} {exceptions}");
        }
    }
    let proxy = Proxy::new(CONNECTED);
    let run =
        place.token("http://as.invalid/t", &["--allow-http", "--timeout", "1"]).variable("http_proxy", proxy.url());
    assert_eq!(run.variable("NO_PROXY", "as.invalid").outcome().code, Some(4));
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn what_goes_to_this_machine_never_goes_by_a_proxy_of_the_environment() {
    let place = Place::new();
    let (server, proxy) = (token_server(), Proxy::new(CONNECTED));
    let local = server.url("/t").replace("127.0.0.1", "localhost");
    for url in [server.url("/t"), local] {
        for value in [proxy.url(), "socks5://proxy.invalid".to_owned()] {
            place
                .token(&url, &[])
                .variable("http_proxy", value.clone())
                .variable("all_proxy", value)
                .outcome()
                .prints("tok-1");
        }
    }
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn a_proxy_that_cannot_be_used_is_an_error_and_nothing_is_sent() {
    let place = Place::new();
    let proxy = Proxy::new(CONNECTED);
    let port = proxy.server.address();
    let socks = "SOCKS proxies are not supported, and must not be bypassed\n\
                 hint: name an http proxy, or list the host in no_proxy";
    let no_url = "this is not the URL of a proxy\nhint: it looks like http://proxy.example:3128; in a password, encode # as %23, / as %2F, ? as \
                  %3F, @ as %40";
    for (variable, value, why) in [
        ("all_proxy", format!("socks5://{port}"), socks),
        ("ALL_PROXY", format!("socks5://me:hunter2@{port}"), socks),
        ("http_proxy", format!("socks4://{port}"), socks),
        ("http_proxy", "ftp://me:hunter2@proxy.example".into(), no_url),
    ] {
        let run = place.token("http://as.invalid/t", &["--allow-http"]).variable(variable, value);
        run.outcome().fails(2, &format!("keyfob: {variable}: {why}"));
    }
    let options = ["--allow-http", "--timeout", "1"];
    let run = place.token("http://as.invalid/t", &options).variable("all_proxy", format!("socks5://{port}"));
    assert_eq!(run.variable("no_proxy", "as.invalid").outcome().code, Some(4));
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn a_proxy_is_sent_its_password_and_shows_it_to_nobody() {
    let place = Place::new();
    let proxy = Proxy::new(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
    let url = format!("http://me:hunter2@{}", proxy.server.address());
    let outcome = place.token("http://as.invalid/t", &["--allow-http"]).variable("http_proxy", url).outcome();
    let address = proxy.server.address();
    let message = "keyfob: the proxy wants other credentials\n\
                   hint: check the user name and the password in the URL of the proxy";
    outcome.fails(3, &format!("{message} {address}"));
    assert_eq!(proxy.asked(), ["CONNECT as.invalid:80 HTTP/1.1"]);
    let head = proxy.asked.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.contains("proxy-authorization: basic bwu6ahvudgvymg=="), "{head}");
}

#[test]
fn a_proxy_that_is_named_counts_whatever_the_environment_says() {
    let place = Place::new();
    let server = token_server();
    let proxy = Proxy::leading_to(Some(server.address()), CONNECTED);
    let other = Proxy::new(CONNECTED);
    let url = proxy.url();
    place.file("here/p.json", format!(r#"{{"url": "http://as.invalid/t", "allow_http": true, "proxy": "{url}"}}"#));
    place.file("here/n.json", r#"{"url": "http://as.invalid/t", "allow_http": true, "no_proxy": true}"#);
    let mut count = 0;
    for (words, is_used) in [
        (&["--url", "http://as.invalid/t", "--allow-http", "--proxy", &url][..], true),
        (&["./p.json"], true),
        (&["./n.json", "--proxy", &url], true),
        (&["./p.json", "--no-proxy"], false),
        (&["./n.json"], false),
        (&["--url", "http://as.invalid/t", "--allow-http", "--no-proxy"], false),
    ] {
        let timeout = if is_used { "20" } else { "1" };
        let run = place.keyfob([&["token"], words, &["--no-cache", "--timeout", timeout]].concat());
        // The exceptions are those of the environment's proxies.
        let run = run.variable("http_proxy", other.url()).variable("no_proxy", if is_used { "*" } else { "" });
        let outcome = run.outcome();
        if is_used {
            outcome.prints("tok-1");
            count += 1;
        } else {
            assert_eq!(outcome.code, Some(4), "{words:?}");
        }
        assert_eq!(proxy.asked().len(), count, "{words:?}");
    }
    assert!(proxy.asked().iter().all(|asked| asked == "CONNECT as.invalid:80 HTTP/1.1"));
    assert_eq!(other.asked(), [""; 0]);
}

#[test]
fn a_proxy_that_is_named_and_cannot_be_used_is_an_error_and_nothing_is_sent() {
    let place = Place::new();
    let proxy = Proxy::new(CONNECTED);
    let address = proxy.server.address();
    let no_url = "proxy: this is not the URL of a proxy\nhint: it looks like http://proxy.example:3128; in a password, encode # as %23, / as %2F, \
                  ? as %3F, @ as %40";
    let socks = "proxy: SOCKS proxies are not supported, and must not be bypassed\n\
                 hint: name an http proxy, or list the host in no_proxy";
    let password = "`proxy`: contains a user name or password, and everyone can read argument lists\n\
                    hint: set it in the environment: https_proxy, http_proxy or all_proxy";
    for (value, why) in [
        (String::new(), no_url),
        ("ftp://proxy.example".into(), no_url),
        (format!("socks5://{address}"), socks),
        (format!("http://me:hunter2@{address}"), password),
        (format!("http://hunter2@{address}"), password),
        (format!("me:hunter2@{address}"), password),
    ] {
        let outcome = place.token("http://as.invalid/t", &["--allow-http", "--proxy", &value]).outcome();
        outcome.fails(2, &format!("keyfob: {why}"));
        place.file(
            "here/p.json",
            format!(r#"{{"url": "http://as.invalid/t", "allow_http": true, "proxy": "{value}"}}"#),
        );
        place.keyfob(["token", "./p.json", "--no-cache"]).outcome().fails(2, &format!("keyfob: {why}"));
    }
    let both = ["--allow-http", "--proxy", &proxy.url(), "--no-proxy"];
    place
        .token("http://as.invalid/t", &both)
        .outcome()
        .fails(2, "keyfob: `proxy` and `no_proxy` are both given\nhint: remove one of them");
    // Plain http is allowed to this machine because it does not leave it.
    let server = token_server();
    place.token(&server.url("/t"), &["--proxy", &proxy.url()]).outcome().fails(
        2,
        "keyfob: plain http to this machine through a proxy would show it the credentials\n\
         hint: leave the proxy out (--no-proxy), or use https",
    );
    assert_eq!((proxy.asked(), server.requests()), (vec![], vec![]));
}

#[test]
fn a_proxy_that_trickles_ends_within_the_timeout() {
    let proxy = Server::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ");
        while stream.write_all(b"y").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let place = Place::new();
    let started = Instant::now();
    let options = ["--allow-http", "--proxy", &proxy.url(""), "--timeout", "1"];
    place.token("http://as.invalid/t", &options).outcome().fails(
        4,
        &format!(
            "keyfob: no connection to as.invalid within 1 s\nhint: connecting through the proxy {}",
            proxy.address()
        ),
    );
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
