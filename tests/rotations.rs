//! A refresh token's file that several caches share with a store: one's successor is another's predecessor.

#![cfg(all(feature = "std", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/rotating.rs"]
mod rotating;

use keyfob::{Grant, Response, Store, TokenCache};
use rotating::Rotating;

/// A cache of one process. The requests in `failing` get this status.
fn cache(world: &Rotating, failing: &'static [usize], status: u16) -> TokenCache {
    let client = world.client(move |number| failing.contains(&number).then(|| Response::new(status, *b"{}")));
    let store = Store::at(world.path("store")).unwrap();
    TokenCache::new(client.client_id("c"), Grant::refresh_token_file(world.path("rt"))).store(store)
}

#[test]
fn a_failure_after_another_processs_rotation_says_nothing_against_the_token_in_the_file() {
    for status in [500, 503, 429] {
        let world = Rotating::new(&status.to_string());
        let (mut first, mut second) = (cache(&world, &[3], status), cache(&world, &[3], status));
        assert_eq!(first.token().unwrap().expose(), "a1", "{status}");
        world.wait(100);
        assert_eq!(second.token().unwrap().expose(), "a2", "{status}");
        world.wait(100);
        assert_eq!(first.token().unwrap_err().status(), Some(status));
        // The other process hears of the failure.
        assert_eq!(second.token().unwrap_err().status(), Some(status));
        world.wait(100);
        assert_eq!(second.token().unwrap().expose(), "a4", "{status}");
        world.wait(100);
        assert_eq!(first.token().unwrap().expose(), "a5", "{status}");
        assert_eq!(world.sent(), ["r0", "r1", "r2", "r2", "r4"], "{status}");
    }
}
