//! A refresh token file, used through the library: the new token cannot be written although the file was writable before.

#![cfg(all(feature = "std", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/rotating.rs"]
mod rotating;

use keyfob::{Client, Error, ErrorKind, Grant, SharedTokenCache, TokenCache};
use rotating::Rotating;
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// While the server answers the first request, a directory takes the file's place.
fn client(world: &Rotating) -> Client {
    let directory = world.directory.clone();
    world.client(move |number| {
        if number == 1 {
            fs::rename(directory.join("rt"), directory.join("kept")).unwrap();
            fs::create_dir(directory.join("rt")).unwrap();
        }
        None
    })
}

fn make_room(world: &Rotating) {
    fs::remove_dir(world.path("rt")).unwrap();
    fs::rename(world.path("kept"), world.path("rt")).unwrap();
}

fn read(world: &Rotating, name: &str) -> String {
    fs::read_to_string(world.path(name)).unwrap_or_else(|error| error.kind().to_string())
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
        let world = Rotating::new(name);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = heard.clone();
        let report = move |error: &Error| {
            hear.lock().unwrap().push(format!("{error}; {}", error.hint().unwrap()));
        };
        let mut fetch = asker(client(&world), Grant::refresh_token_file_with(world.path("rt"), report));
        assert_eq!(fetch().unwrap(), "a1", "{name}");
        let (file, new) = (world.path("rt"), world.path(".rt.new"));
        let message = format!(
            "refresh token file {}: cannot write the new token: it is a directory; the new token is in {}: move it \
             into place, because the old one is used up",
            file.display(),
            new.display()
        );
        assert_eq!(*heard.lock().unwrap(), [message], "{name}");
        assert_eq!((read(&world, ".rt.new").as_str(), world.sent().len()), ("r1\n", 1), "{name}");
        // The next fetch puts it into place first, and sends it.
        make_room(&world);
        world.wait(60);
        assert_eq!(fetch().unwrap(), "a2", "{name}");
        assert_eq!(
            (read(&world, "rt").as_str(), read(&world, ".rt.new").as_str()),
            ("r2\n", "entity not found"),
            "{name}"
        );
        assert_eq!((world.sent(), heard.lock().unwrap().len()), (vec!["r0".to_owned(), "r1".to_owned()], 1), "{name}");
    }
}

#[test]
fn the_access_token_is_withheld_without_a_report() {
    for (name, asker) in ASKERS {
        let world = Rotating::new(&format!("{name}-silent"));
        let mut fetch = asker(client(&world), Grant::refresh_token_file(world.path("rt")));
        let error = fetch().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{name}");
        assert!(
            error.hint().unwrap().ends_with("move it into place, because the old one is used up"),
            "{name}: {error:?}"
        );
        assert_eq!(read(&world, ".rt.new"), "r1\n");
        // Nothing is lost: the next attempt has the newer one.
        make_room(&world);
        world.wait(60);
        assert!(fetch().is_ok(), "{name}");
        assert_eq!(world.sent()[..2], ["r0", "r1"], "{name}");
    }
}

/// Needs root, and a file system that supports the attribute.
#[test]
fn an_immutable_file_is_detected_before_anything_is_sent() {
    for (mark, name) in [("i", "rt"), ("a", "rt"), ("a", ".")] {
        let world = Rotating::new(&format!("mark-{mark}-{}", name.len()));
        let change = |sign: &str| {
            let status = Command::new("chattr").arg(format!("{sign}{mark}")).arg(world.path(name)).output();
            status.is_ok_and(|output| output.status.success())
        };
        if !change("+") {
            println!("a_file_that_is_marked: skipped, because it needs root, and a file system with these marks");
            return;
        }
        let result = client(&world).fetch(&Grant::refresh_token_file(world.path("rt")));
        assert!(change("-"));
        let error = result.unwrap_err();
        let message =
            format!("refresh token file {}: cannot be rewritten: permission denied", world.path("rt").display());
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, message), "{mark} {name}");
        assert_eq!(world.sent(), [""; 0]);
    }
}
