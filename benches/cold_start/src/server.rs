//! The authorization server, on loopback: http and https, and a proxy that makes its answers late.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/data/tls/valid.pem");
const KEY: &[u8] = include_bytes!("../../../tests/data/tls/valid.key.pem");

pub const SECRET: &str = "kX2mWq7ZtR9vLbN4sYc8HfJd3GpTa6Ue";
const CREDENTIALS: &str = "bXktY2xpZW50OmtYMm1XcTdadFI5dkxiTjRzWWM4SGZKZDNHcFRhNlVl";

/// So many connections are served at a time: a client that goes on living after its answer holds up nobody.
const SERVING: usize = 4;

pub struct Server {
    pub plain: SocketAddr,
    pub tls: SocketAddr,
}

impl Server {
    pub fn start() -> Self {
        let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
        let chain = CertificateDer::pem_slice_iter(CERTIFICATE).map(|one| one.expect("a certificate")).collect();
        // rustls's defaults, so with the two session tickets that servers send.
        let config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let config = Arc::new(config.expect("the key fits"));
        let plain = listen(|stream| {
            answer(&stream);
            end(&stream);
        });
        let tls = listen(move |stream| {
            let conn = ServerConnection::new(config.clone()).expect("a configuration that can be used");
            let mut tls = StreamOwned::new(conn, stream);
            answer(&mut tls);
            tls.conn.send_close_notify();
            let _ = tls.flush();
            end(&tls.sock);
        });
        Self { plain, tls }
    }
}

/// The token that a path is answered with.
pub fn token(path: &str) -> String {
    // With the members around it 220 bytes, or 8 KiB and some.
    "0123456789abcdef".repeat(512)[..if path == "/large" { 8192 } else { 146 }].into()
}

fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = listener.local_addr().expect("an address");
    for _ in 0..SERVING {
        let (listener, serve) = (listener.clone(), serve.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = stream.set_nodelay(true);
                serve(stream);
            }
        });
    }
    address
}

/// Reads a request and answers it: with a token, if it has what it needs.
fn answer(mut stream: impl Read + Write) {
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    let text = loop {
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break text;
            }
        }
    };
    let path = text.split(' ').nth(1).unwrap_or_default();
    let good =
        text.starts_with("POST ") && text.contains(CREDENTIALS) && text.contains("grant_type=client_credentials");
    let (status, body) = match good {
        true => (
            "200 OK",
            format!(r#"{{"access_token":"{}","token_type":"Bearer","expires_in":3600,"scope":"read"}}"#, token(path)),
        ),
        false => ("401 Unauthorized", r#"{"error":"invalid_client"}"#.into()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    let _ = stream.write_all((head + &body).as_bytes());
    let _ = stream.flush();
}

/// Closes a connection when the client has: what comes in unread would reset it.
fn end(mut stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = stream.read_to_end(&mut Vec::new());
}

/// A way to the server on which all that a client sends arrives later by `delay`: so a fetch takes as many times longer as
/// it waits for the server.
pub fn late(server: SocketAddr, delay: Duration) -> SocketAddr {
    listen(move |client| {
        let server = TcpStream::connect(server).expect("the server");
        server.set_nodelay(true).expect("an open socket");
        let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
        thread::scope(|scope| {
            scope.spawn(|| {
                for (at, bytes) in receiver {
                    thread::sleep((at + delay).saturating_duration_since(Instant::now()));
                    let _ = (&server).write_all(&bytes);
                }
                let _ = server.shutdown(Shutdown::Write);
            });
            scope.spawn(|| {
                let _ = std::io::copy(&mut &server, &mut &client);
                let _ = client.shutdown(Shutdown::Write);
            });
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = (&client).read(&mut chunk) {
                let _ = sender.send((Instant::now(), chunk[..count].to_vec()));
            }
            drop(sender);
        });
    })
}
