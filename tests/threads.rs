//! A thread is started for the look-up of a name, and for nothing else. Threads are counted by their numbers, so this
//! test has a process of its own.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Server, json};
use keyfob::{BootClock, Client, Endpoint, Grant, HttpTransport};

/// The number of a thread started now: std counts them, and shows it in the thread's id alone.
fn next_thread() -> u64 {
    let id = std::thread::spawn(|| std::thread::current().id()).join().unwrap();
    let text = format!("{id:?}");
    text.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("ThreadId(N)")
}

#[test]
fn a_thread_is_started_for_a_name_and_none_for_an_address() {
    let server = Server::answering(json(200, r#"{"access_token":"t0ken"}"#));
    let port = server.address().port();
    // The server's own thread for the connection is one of them.
    for (host, started) in [("127.0.0.1", 1), ("localhost", 2), ("127.0.0.1", 1)] {
        let endpoint = Endpoint::new(format!("http://{host}:{port}/token")).unwrap();
        let transport = HttpTransport::new().no_proxy();
        let client = Client::with_parts(endpoint, transport, BootClock);
        let before = next_thread();
        assert_eq!(client.fetch(&Grant::client_credentials()).unwrap().expose(), "t0ken");
        assert_eq!(next_thread() - before - 1, started, "{host}");
    }
}
