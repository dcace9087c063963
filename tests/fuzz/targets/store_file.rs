//! What stands in a store's directory. A file, or a key, that keyfob did not write is never an error and yields no token;
//! and even what is sealed with the right key may hold anything: nothing panics, a token out of it can be sent and lives.

#![no_main]

use keyfob::{Client, Endpoint, Error, ErrorKind, Grant, Request, Response, Store, TokenCache};
use keyfob_fuzz::{Input, place, shown};
use libfuzzer_sys::fuzz_target;
use std::hash::Hasher;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

const NOW: Duration = Duration::from_secs(1000);

/// A store with one file, as keyfob wrote it.
struct Written {
    store: Store,
    file: PathBuf,
    key_file: PathBuf,
    key: Vec<u8>,
    content: String,
    sealed: Vec<u8>,
}

static WRITTEN: LazyLock<Written> = LazyLock::new(|| {
    let directory = place("store");
    let store = Store::at(&directory).expect("a directory of one's own in memory");
    let token = tokens(&store, true).token().expect("the stand-in answers");
    assert_eq!(token.expose(), "stored");
    let names = std::fs::read_dir(&directory).expect("it is there");
    let mut names = names.filter_map(|entry| Some(entry.ok()?.path()));
    let file = names.find(|path| path.extension().is_some_and(|end| end == "token")).expect("the token's file");
    let key_file = directory.join("keyfob-key");
    let (key, sealed) = (std::fs::read(&key_file).expect("the key"), std::fs::read(&file).expect("the file"));
    let text = String::from_utf8(sealed.clone()).expect("a form");
    let (content, end) = text.split_once('\n').expect("a seal behind it");
    let written = Written { store, file, key_file, key, content: content.to_owned(), sealed };
    // The target is worth something only as long as it can seal as keyfob does.
    assert_eq!(written.seal(content), end, "keyfob seals in another way by now");
    written
});

impl Written {
    /// The seal that src/store.rs makes: SipHash-2-4 under two keys over texts with their lengths.
    #[allow(deprecated)]
    fn seal(&self, content: &str) -> String {
        let digits = std::str::from_utf8(&self.key).expect("text").lines().nth(1).expect("the key's digits").to_owned();
        let part = |index: usize| u64::from_str_radix(&digits[index * 16..][..16], 16).expect("hex digits");
        let name = self.file.file_name().and_then(|name| name.to_str()).expect("a name");
        let half = |a: u64, b: u64| {
            let mut hasher = std::hash::SipHasher::new_with_keys(a, b);
            for text in ["file", name, content] {
                hasher.write(&(text.len() as u64).to_le_bytes());
                hasher.write(text.as_bytes());
            }
            hasher.finish()
        };
        format!("{:016x}{:016x}", half(part(0), part(1)), half(part(2), part(3)))
    }
}

fn tokens(store: &Store, answers: bool) -> TokenCache {
    let endpoint = Endpoint::new("https://as.example/token").expect("this is a URL");
    let server = move |_: &Request| match answers {
        true => Ok(Response::new(200, *br#"{"access_token":"stored","expires_in":3600,"refresh_token":"r"}"#)),
        false => Err(Error::new(ErrorKind::Unreachable, "there is no server")),
    };
    let client = Client::with_parts(endpoint, server, || NOW)
        .client_id("id")
        .client_secret(keyfob::SecretSource::value("secret"));
    TokenCache::new(client, Grant::client_credentials()).store(store.clone())
}

fuzz_target!(|data: &[u8]| {
    let written = &*WRITTEN;
    let mut input = Input::new(data);
    let how = input.byte();
    let bytes = input.rest();
    let text = || String::from_utf8_lossy(bytes).replace('\n', " ");
    let sealed = |content: String| [content.as_bytes(), b"\n", written.seal(&content).as_bytes()].concat();
    let own = |names: &[&str]| -> String {
        let fields =
            written.content.split('&').filter(|field| names.iter().any(|name| field.split('=').next() == Some(name)));
        fields.map(|field| format!("{field}&")).collect()
    };
    let (is_sealed, content) = match how % 6 {
        0 => (false, bytes.to_vec()),
        1 => (false, [written.content.as_bytes(), b"\n", bytes].concat()),
        2 => (true, sealed(text())),
        // About this very request, with anything behind it.
        3 => (true, sealed(own(&["identity", "credentials", "written"]) + &text())),
        4 => (
            true,
            sealed(own(&["identity", "credentials", "written", "token", "deadline", "fetched", "renew"]) + &text()),
        ),
        _ => {
            // The key's file is another one.
            if bytes == written.key {
                return;
            }
            std::fs::write(&written.key_file, bytes).expect("the key's file is there");
            let found = tokens(&written.store, false).at_hand(Duration::ZERO);
            assert!(found.expect("no error").is_none(), "a token under another key");
            std::fs::write(&written.key_file, &written.key).expect("the key's file is there");
            // Whoever makes a new key removes what the old one sealed.
            let private = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&written.file);
            std::io::Write::write_all(&mut private.expect("a file"), &written.sealed).expect("room for it");
            return;
        }
    };
    if !is_sealed && content == written.sealed {
        return;
    }
    std::fs::write(&written.file, content).expect("the file is there");
    let mut tokens = tokens(&written.store, false);
    let found = tokens.at_hand(Duration::ZERO).expect("what is in a store is never an error");
    assert!(is_sealed || found.is_none(), "a token without a seal");
    let Some(token) = found else {
        if how & 0x80 != 0 {
            match tokens.token() {
                Err(error) => drop(shown(&error, 12 * 4096)),
                Ok(token) => panic!("a token from nowhere: {:?}", token.expose()),
            }
            // What the failed attempt left: whatever it is, it is read again. A new file would be open to others.
            assert!(self::tokens(&written.store, false).at_hand(Duration::ZERO).expect("no error").is_none());
            if !written.file.exists() {
                let _ = self::tokens(&written.store, true).token().map(|_| ());
                let _ = self::tokens(&written.store, true).renew().expect("the stand-in answers");
            }
        }
        return;
    };
    assert!(token.is_stored() && !token.is_expired(NOW));
    assert!(!token.expose().is_empty() && token.expose().bytes().all(|byte| matches!(byte, 0x21..=0x7E)));
    match token.authorization() {
        Ok(header) => assert!(header.expose().bytes().all(|byte| matches!(byte, 0x20..=0x7E))),
        // Up to 300 characters of its type, escaped.
        Err(error) => drop(shown(&error, 3500)),
    }
    let _ =
        (format!("{token:?}"), token.member("session.id"), tokens.last_failure().map(|error| shown(&error, 12 * 4096)));
});
