//! Two builds of the command on one cache directory. `KEYFOB_OTHER_COMMAND` names the other; without it, today's is both.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/processes.rs"]
mod processes;
#[path = "common/command.rs"]
mod running;

use common::{Server, json};
use processes::{Started, field, issuing};
use running::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const TODAY: &str = env!("CARGO_BIN_EXE_keyfob");

fn other() -> OsString {
    std::env::var_os("KEYFOB_OTHER_COMMAND").filter(|path| !path.is_empty()).unwrap_or_else(|| TODAY.into())
}

/// Both orders.
fn orders() -> [[OsString; 2]; 2] {
    [[other(), TODAY.into()], [TODAY.into(), other()]]
}

fn start(program: &OsString, place: &Place, url: &str, options: &[&str]) -> Started {
    let today = place.keyfob([&["token", "--url", url, "--client-id", "c"], options].concat()).command();
    let mut command = Command::new(program);
    command.args(today.get_args()).env_clear().current_dir(place.path("here"));
    command.env("HOME", place.path("home")).env("XDG_CONFIG_HOME", place.path("config"));
    Started::command(command)
}

#[track_caller]
fn token(program: &OsString, place: &Place, url: &str, options: &[&str]) -> String {
    let outcome = start(program, place, url, options).outcome();
    assert_eq!(outcome.code, Some(0), "{program:?}: {outcome:?}");
    outcome.stdout
}

/// The records, by their bytes.
fn records(place: &Place) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(place.path("cache")).unwrap().map(|entry| entry.unwrap().path());
    let records = paths.filter(|path| path.extension().is_some_and(|end| end == "token"));
    records.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn each_finds_its_own_record_and_leaves_the_others_alone() {
    for [first, second] in orders() {
        let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
        let url = server.url("/t");
        let ones = token(&first, &place, &url, &[]);
        let before = records(&place);
        assert!(!before.is_empty(), "{first:?} stored nothing");
        let others = token(&second, &place, &url, &[]);
        let both = records(&place);
        for (path, bytes) in &before {
            assert_eq!(both.get(path), Some(bytes), "{second:?} changed {path:?}");
        }
        for _ in 0..2 {
            assert_eq!(token(&first, &place, &url, &[]), ones);
            assert_eq!(token(&second, &place, &url, &[]), others);
        }
        assert_eq!(records(&place), both);
        assert!(server.requests().len() <= 2);
    }
}

#[test]
fn records_of_formats_to_come_are_left_alone() {
    let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
    place.file("cache/keyfob99-0-0123.token", "in another format");
    let before = records(&place);
    for _ in 0..2 {
        token(&TODAY.into(), &place, &server.url("/t"), &["--fresh"]);
    }
    assert_eq!(records(&place).len(), 2);
    assert!(before.iter().all(|(path, bytes)| records(&place).get(path) == Some(bytes)));
}

#[test]
fn invalid_records_of_the_other_are_ignored() {
    for [first, second] in orders() {
        let (place, server) = (Place::new(), issuing(3600, Duration::ZERO));
        let url = server.url("/t");
        token(&first, &place, &url, &[]);
        for path in records(&place).keys() {
            fs::write(path, "no record").unwrap();
        }
        assert_eq!(token(&second, &place, &url, &[]), "tok-2\n");
    }
}

/// A server that replaces the refresh token with each answer.
fn rotating() -> Server {
    let issued = AtomicUsize::new(0);
    Server::with(move |_, stream| {
        let n = issued.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!(r#"{{"access_token":"tok-{n}","expires_in":3600,"refresh_token":"r-{n}"}}"#);
        let _ = stream.write_all(&json(200, &body));
    })
}

fn sent_refresh_tokens(server: &Server) -> Vec<String> {
    server.requests().iter().filter_map(|seen| field(seen, "refresh_token")).collect()
}

#[test]
fn a_rotating_refresh_token_that_only_the_cache_keeps_is_never_sent_twice() {
    for order in orders() {
        let (place, server) = (Place::new(), rotating());
        for program in order.iter().cycle().take(6) {
            token(program, &place, &server.url("/t"), &["--fresh"]);
        }
        let sent = sent_refresh_tokens(&server);
        assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), sent.len(), "{sent:?}");
        // Each format has its own record, and each of these begins with the grant.
        assert_eq!((server.requests().len(), sent.len()), (6, 6 - records(&place).len()));
    }
}

#[test]
fn a_rotating_refresh_token_in_a_file_is_never_sent_twice() {
    for order in orders() {
        let (place, server) = (Place::new(), rotating());
        place.file("here/refresh", "r-0");
        for program in order.iter().cycle().take(6) {
            token(
                program,
                &place,
                &server.url("/t"),
                &["--grant", "refresh_token", "--refresh-token-file", "refresh", "--fresh"],
            );
        }
        let sent = sent_refresh_tokens(&server);
        assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), sent.len(), "{sent:?}");
        assert_eq!(sent.len(), 6);
    }
}

#[test]
fn both_at_the_same_time_get_valid_tokens() {
    for round in 0..10 {
        let (place, server) = (Place::new(), issuing(3600, Duration::from_millis(20)));
        let url = server.url("/t");
        let programs = [other(), TODAY.into(), other(), TODAY.into()];
        let started: Vec<_> = programs.iter().map(|program| start(program, &place, &url, &[])).collect();
        let outcomes: Vec<_> = started.into_iter().map(Started::outcome).collect();
        let issued: BTreeSet<_> = (1..=server.requests().len()).map(|n| format!("tok-{n}\n")).collect();
        for outcome in outcomes {
            assert!(outcome.code == Some(0) && issued.contains(&outcome.stdout), "round {round}: {outcome:?}");
        }
    }
}
