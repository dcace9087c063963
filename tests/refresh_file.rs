//! A refresh token file, used through the library: the new token cannot be written although the file was writable before.

#![cfg(all(feature = "std", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use keyfob::{Client, Endpoint, Error, ErrorKind, Grant, Request, Response, SharedTokenCache, TokenCache};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A directory with a refresh token's file, and a server that rotates the token.
struct World {
    directory: PathBuf,
    sent: Arc<Mutex<Vec<String>>>,
    now: Arc<Mutex<Duration>>,
}

impl World {
    fn new(name: &str) -> Self {
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("refresh-file-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let directory = directory.canonicalize().unwrap();
        fs::write(directory.join("rt"), "r0\n").unwrap();
        Self { directory, sent: Arc::default(), now: Arc::new(Mutex::new(Duration::from_secs(7))) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| error.kind().to_string())
    }

    /// While the server answers the first request, a directory takes the file's place.
    fn client(&self) -> Client {
        let (sent, directory, now) = (self.sent.clone(), self.directory.clone(), self.now.clone());
        let server = move |request: &Request| -> Result<Response, Error> {
            let body = String::from_utf8(request.body().unwrap().to_vec()).unwrap();
            let mut sent = sent.lock().unwrap();
            sent.push(body.rsplit_once('=').unwrap().1.to_owned());
            if sent.len() == 1 {
                fs::rename(directory.join("rt"), directory.join("kept")).unwrap();
                fs::create_dir(directory.join("rt")).unwrap();
            }
            let answer = format!(r#"{{"access_token":"a{0}","expires_in":60,"refresh_token":"r{0}"}}"#, sent.len());
            Ok(Response::new(200, answer.into_bytes()))
        };
        Client::with_parts(Endpoint::new("https://as.example/t").unwrap(), server, move || *now.lock().unwrap())
    }

    fn make_room(&self) {
        fs::remove_dir(self.path("rt")).unwrap();
        fs::rename(self.path("kept"), self.path("rt")).unwrap();
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

type Fetch = Box<dyn FnMut() -> Result<String, Error>>;
type Asker = fn(Client, Grant) -> Fetch;

const ASKERS: [(&str, Asker); 3] = [
    ("client", |client, grant| Box::new(move || client.fetch(&grant).map(|token| token.expose().to_owned()))),
    ("cache", |client, grant| {
        let mut tokens = TokenCache::new(client, grant);
        Box::new(move || tokens.token().map(|token| token.expose().to_owned()))
    }),
    ("shared", |client, grant| {
        let tokens = SharedTokenCache::new(client, grant);
        Box::new(move || tokens.token().map(|token| token.expose().to_owned()))
    }),
];

#[test]
fn the_access_token_is_returned_if_its_refresh_token_is_safe_and_reported() {
    for (name, asker) in ASKERS {
        let world = World::new(name);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = heard.clone();
        let report = move |error: &Error| {
            hear.lock().unwrap().push(format!("{error}; {}", error.hint().unwrap()));
        };
        let mut fetch = asker(world.client(), Grant::refresh_token_file_with(world.path("rt"), report));
        assert_eq!(fetch().unwrap(), "a1", "{name}");
        let (file, new) = (world.path("rt"), world.path(".rt.new"));
        let message = format!(
            "refresh token file {}: cannot write the new token: it is a directory; the new token is in {}: move it \
             into place, because the old one is used up",
            file.display(),
            new.display()
        );
        assert_eq!(*heard.lock().unwrap(), [message], "{name}");
        assert_eq!((world.read(".rt.new").as_str(), world.sent().len()), ("r1\n", 1), "{name}");
        // The next fetch puts it into place first, and sends it.
        world.make_room();
        *world.now.lock().unwrap() += Duration::from_secs(60);
        assert_eq!(fetch().unwrap(), "a2", "{name}");
        assert_eq!((world.read("rt").as_str(), world.read(".rt.new").as_str()), ("r2\n", "entity not found"), "{name}");
        assert_eq!((world.sent(), heard.lock().unwrap().len()), (vec!["r0".to_owned(), "r1".to_owned()], 1), "{name}");
    }
}

#[test]
fn the_access_token_is_withheld_without_a_report() {
    for (name, asker) in ASKERS {
        let world = World::new(&format!("{name}-silent"));
        let mut fetch = asker(world.client(), Grant::refresh_token_file(world.path("rt")));
        let error = fetch().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{name}");
        assert!(
            error.hint().unwrap().ends_with("move it into place, because the old one is used up"),
            "{name}: {error:?}"
        );
        assert_eq!(world.read(".rt.new"), "r1\n");
        // Nothing is lost: the next attempt has the newer one.
        world.make_room();
        *world.now.lock().unwrap() += Duration::from_secs(60);
        assert!(fetch().is_ok(), "{name}");
        assert_eq!(world.sent()[..2], ["r0", "r1"], "{name}");
    }
}

/// Needs root, and a file system that supports the attribute.
#[test]
fn an_immutable_file_is_detected_before_anything_is_sent() {
    for (mark, name) in [("i", "rt"), ("a", "rt"), ("a", ".")] {
        let world = World::new(&format!("mark-{mark}-{}", name.len()));
        let change = |sign: &str| {
            let status = Command::new("chattr").arg(format!("{sign}{mark}")).arg(world.path(name)).output();
            status.is_ok_and(|output| output.status.success())
        };
        if !change("+") {
            println!("a_file_that_is_marked: skipped, because it needs root, and a file system with these marks");
            return;
        }
        let result = world.client().fetch(&Grant::refresh_token_file(world.path("rt")));
        assert!(change("-"));
        let error = result.unwrap_err();
        let message =
            format!("refresh token file {}: cannot be rewritten: permission denied", world.path("rt").display());
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, message), "{mark} {name}");
        assert_eq!(world.sent(), [""; 0]);
    }
}
