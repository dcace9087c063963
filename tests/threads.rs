//! A thread is started for the look-up of a name other than localhost, and for nothing else. Threads are counted by their numbers, so this
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
    // With a token, one of them is the server's own for the connection. The last is no name that anybody would be asked for.
    for (host, has_token, started) in [("127.0.0.1", true, 1), ("localhost", true, 1), ("a..b", false, 1)] {
        let endpoint = Endpoint::new(format!("http://{host}:{port}/token")).unwrap().allow_http(true);
        let transport = HttpTransport::new().no_proxy();
        let client = Client::with_parts(endpoint, transport, BootClock);
        let before = next_thread();
        assert_eq!(client.fetch(&Grant::client_credentials()).is_ok(), has_token, "{host}");
        assert_eq!(next_thread() - before - 1, started, "{host}");
    }
}
