//! A refresh token's file that several caches share with a store: one's successor is another's predecessor.

#![cfg(all(feature = "std", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use keyfob::{Client, Endpoint, Grant, Request, Response, Store, TokenCache};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct World {
    directory: PathBuf,
    /// The refresh tokens that the server was sent.
    sent: Arc<Mutex<Vec<String>>>,
    now: Arc<Mutex<Duration>>,
}

impl World {
    fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rotations-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("rt"), "r0\n").unwrap();
        Self { directory, sent: Arc::default(), now: Arc::new(Mutex::new(Duration::from_secs(7))) }
    }

    /// A cache of one process. The server rotates the token, but for the requests in `failing`: those it answers with
    /// this status.
    fn cache(&self, failing: &'static [usize], status: u16) -> TokenCache {
        let (sent, now) = (self.sent.clone(), self.now.clone());
        let server = move |request: &Request| {
            let body = String::from_utf8(request.body().unwrap().to_vec()).unwrap();
            let mut sent = sent.lock().unwrap();
            sent.push(body.rsplit_once('=').unwrap().1.to_owned());
            if failing.contains(&sent.len()) {
                return Ok(Response::new(status, *b"{}"));
            }
            let answer = format!(r#"{{"access_token":"a{0}","expires_in":60,"refresh_token":"r{0}"}}"#, sent.len());
            Ok(Response::new(200, answer.into_bytes()))
        };
        let now = move || *now.lock().unwrap();
        let client = Client::with_parts(Endpoint::new("https://as.example/t").unwrap(), server, now).client_id("c");
        let store = Store::at(self.directory.join("store")).unwrap();
        TokenCache::new(client, Grant::refresh_token_file(self.directory.join("rt"))).store(store)
    }

    fn wait(&self) {
        *self.now.lock().unwrap() += Duration::from_secs(100);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_failure_after_another_processs_rotation_says_nothing_against_the_token_in_the_file() {
    for status in [500, 503, 429] {
        let world = World::new(&status.to_string());
        let (mut first, mut second) = (world.cache(&[3], status), world.cache(&[3], status));
        assert_eq!(first.token().unwrap().expose(), "a1", "{status}");
        world.wait();
        assert_eq!(second.token().unwrap().expose(), "a2", "{status}");
        world.wait();
        assert_eq!(first.token().unwrap_err().status(), Some(status));
        // The other process hears of the failure.
        assert_eq!(second.token().unwrap_err().status(), Some(status));
        world.wait();
        assert_eq!(second.token().unwrap().expose(), "a4", "{status}");
        world.wait();
        assert_eq!(first.token().unwrap().expose(), "a5", "{status}");
        assert_eq!(*world.sent.lock().unwrap(), ["r0", "r1", "r2", "r2", "r4"], "{status}");
    }
}
