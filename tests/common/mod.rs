//! A server on loopback that answers just what a test says, byte for byte, and remembers what it was sent.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn body_text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is UTF-8")
    }
}

pub trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Answers a request: writes what it likes, or nothing. The connection is closed afterwards.
type Handler = dyn Fn(&Seen, &mut dyn Stream) + Send + Sync;
/// Wraps an accepted connection, for TLS; none if that failed.
type Wrapper = dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync;

pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    requests: Arc<Mutex<Vec<Seen>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers each request with these bytes.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::with(move |_, stream| {
            let _ = stream.write_all(&bytes);
        })
    }

    pub fn with(handler: impl Fn(&Seen, &mut dyn Stream) + Send + Sync + 'static) -> Self {
        Self::start("http", Box::new(|stream| Some(Box::new(stream))), Box::new(handler))
    }

    /// On a port that the test has taken.
    pub fn on(listener: TcpListener, handler: impl Fn(&Seen, &mut dyn Stream) + Send + Sync + 'static) -> Self {
        Self::listen(listener, "http", Box::new(|stream| Some(Box::new(stream))), Box::new(handler))
    }

    pub fn start(scheme: &'static str, wrapper: Box<Wrapper>, handler: Box<Handler>) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").expect("a free port on loopback"), scheme, wrapper, handler)
    }

    fn listen(listener: TcpListener, scheme: &'static str, wrapper: Box<Wrapper>, handler: Box<Handler>) -> Self {
        let address = listener.local_addr().expect("the port's number");
        let (requests, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (requests.clone(), stopped.clone());
        let (wrapper, handler): (Arc<Wrapper>, Arc<Handler>) = (wrapper.into(), handler.into());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (seen, wrapper, handler) = (seen.clone(), wrapper.clone(), handler.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                    let Ok(closer) = stream.try_clone() else { return };
                    if let Some(mut stream) = wrapper(stream) {
                        if let Some(request) = read_request(&mut *stream) {
                            seen.lock().expect("no test thread panics with it").push(request.clone());
                            handler(&request, &mut *stream);
                            let _ = stream.flush();
                        }
                    }
                    let _ = closer.shutdown(std::net::Shutdown::Write);
                });
            }
        });
        Self { address, scheme, requests, stopped, thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the server was sent so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.requests.lock().expect("no test thread panics with it").clone()
    }

    /// The one request that the server was sent.
    #[track_caller]
    pub fn request(&self) -> Seen {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "one request and no more");
        requests.remove(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads one request; none where the other side ends before it does.
pub fn read_request(stream: &mut dyn Stream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_some(stream, &mut bytes)?;
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().expect("a content length is a number"));
    while bytes.len() < head_end + length {
        read_some(stream, &mut bytes)?;
    }
    Some(Seen { method, target, headers, body: bytes[head_end..].to_vec() })
}

fn read_some(stream: &mut dyn Stream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                return Some(());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// A whole HTTP answer with a JSON body and its length.
pub fn json(status: u16, body: &str) -> Vec<u8> {
    answer(status, &["content-type: application/json"], body)
}

/// A whole HTTP answer with these header lines, a body and its length.
pub fn answer(status: u16, headers: &[&str], body: &str) -> Vec<u8> {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 {status} Whatever\r\n{lines}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The documented answer of dialect C, as bytes.
pub const ANSWER_C: &str = "{\n\"access_token\":\"c-token\",\n\"token_type\":\"Bearer\",\n\"expires_in\":\"3599\",\n}";
