//! How a cache follows changes of its token in the store.

#![cfg(all(feature = "std", target_os = "linux"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use keyfob::{BootClock, Client, Endpoint, Error, Grant, Request, Response, Store, TokenCache};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("follow-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> Store {
        Store::at(&self.0).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A cache whose server issues tok-1, tok-2 and so on with this member for the lifetime.
fn cache(issued: &Arc<AtomicUsize>, lifetime: &'static str) -> TokenCache {
    let issued = issued.clone();
    let answer = move |request: &Request| -> Result<Response, Error> {
        if request.method() == "DELETE" {
            return Ok(Response::new(204, Vec::new()));
        }
        let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Response::new(200, format!(r#"{{"access_token":"tok-{number}"{lifetime}}}"#).into_bytes()))
    };
    let endpoint = Endpoint::from_json(r#"{"url":"https://as.example/t","revoke":"delete"}"#).unwrap();
    let client =
        Client::with_parts(endpoint, answer, BootClock).client_id("c").client_secret(keyfob::SecretSource::value("s"));
    TokenCache::new(client, Grant::client_credentials())
}

const HOUR: &str = r#","expires_in":3600"#;

fn held(cache: &mut TokenCache) -> Option<String> {
    cache.at_hand(Duration::ZERO).unwrap().map(|token| token.expose().to_owned())
}

#[test]
fn a_token_that_another_process_revoked_is_forgotten() {
    for is_from_store in [false, true] {
        let (place, issued) = (Place::new(&format!("revoked-{is_from_store}")), Arc::default());
        let (mut first, mut second) =
            (cache(&issued, HOUR).store(place.store()), cache(&issued, HOUR).store(place.store()));
        let (one, other) = if is_from_store { (&mut second, &mut first) } else { (&mut first, &mut second) };
        if is_from_store {
            other.token().unwrap();
        }
        assert_eq!(one.token().unwrap().expose(), "tok-1");
        assert!(!one.follow_store());
        assert_eq!(held(other).as_deref(), Some("tok-1"));
        other.revoke().unwrap();
        assert!(one.follow_store());
        assert_eq!(held(one), None);
        assert!(!one.follow_store(), "once");
        assert_eq!(one.token().unwrap().expose(), "tok-2");
    }
}

#[test]
fn a_token_that_another_process_replaced_gives_way_to_the_newer_one() {
    let (place, issued) = (Place::new("replaced"), Arc::default());
    let (mut one, mut other) = (cache(&issued, HOUR).store(place.store()), cache(&issued, HOUR).store(place.store()));
    one.token().unwrap();
    other.renew().unwrap();
    assert!(one.follow_store());
    assert_eq!(held(&mut one).as_deref(), Some("tok-2"));
    assert!(!one.follow_store());
    assert_eq!(issued.load(Ordering::SeqCst), 2, "the server is not asked");
}

#[test]
fn a_token_that_is_not_in_the_store_stays() {
    // Of unknown life, it is not stored; then without a store; then without its directory; then it could not be written.
    let issued = Arc::default();
    let place = Place::new("unknown");
    let mut unknown = cache(&issued, "").store(place.store());
    let gone = Place::new("gone");
    let mut without_directory = cache(&issued, HOUR).store(gone.store());
    for cache in [&mut unknown, &mut cache(&issued, HOUR), &mut without_directory] {
        let token = cache.token().unwrap();
        let _ = fs::remove_dir_all(&gone.0);
        assert!(!cache.follow_store());
        assert_eq!(held(cache).as_deref(), Some(token.expose()));
    }
    let full = Place::new("full");
    let mut cache = cache(&issued, HOUR).store(full.store());
    // A directory has the place of the file, so nothing can be written.
    cache.token().unwrap();
    let mut entries = fs::read_dir(&full.0).unwrap().map(|entry| entry.unwrap().path());
    let entry = entries.find(|path| path.extension().is_some_and(|ending| ending == "token")).unwrap();
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    let token = cache.renew().unwrap();
    assert!(!cache.follow_store());
    assert_eq!(held(&mut cache).as_deref(), Some(token.expose()));
}
