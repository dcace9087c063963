//! A device that has just booted: `--wait` for what is not there yet, `--splay` for a site whose power has returned.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/processes.rs"]
mod processes;
#[path = "common/command.rs"]
mod running;

use common::{Server, json};
use keyfob::{BootClock, Clock, Spread};
use processes::{Started, can_unshare, issuing};
use running::{Outcome, Place, Refusing};
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn token(place: &Place, url: &str, options: &[&str]) -> running::Run {
    place.keyfob([&["token", "--url", url, "--client-id", "c"], options].concat())
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    for options in [&["--wait", "20"][..], &["--wait", "20", "--no-cache"], &["--wait", "20", "--fresh"]] {
        let place = Place::new();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut waiting = Started::new(token(&place, &format!("http://{port}/t"), options));
        std::thread::sleep(Duration::from_millis(700));
        assert!(waiting.is_running(), "{options:?}");
        let answer = json(200, r#"{"access_token":"tok-1","expires_in":60}"#);
        let server = Server::on(TcpListener::bind(port).unwrap(), move |_, stream| drop(stream.write_all(&answer)));
        waiting.outcome().prints("tok-1");
        assert_eq!(server.requests().len(), 1, "{options:?}");
    }
}

#[test]
fn it_is_waited_within_the_budget_and_only_for_what_passes() {
    let place = Place::new();
    let nobody = Refusing::new();
    let host = nobody.address();
    // Nothing is there, and the budget ends: the last error is told.
    let start = Instant::now();
    let outcome = token(&place, &format!("http://{host}/t"), &["--wait", "2", "--no-cache"]).outcome();
    outcome.fails(4, &format!("keyfob: no connection to {host}: connection refused"));
    let took = start.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_secs(8)).contains(&took), "{took:?}");
    // What is wrong for good is told at once, remembered or not, and so is a wish that is longer than the budget.
    let json_type = "content-type: application/json";
    for (status, body, header, code) in
        [(401, r#"{"error":"invalid_client"}"#, json_type, 3), (429, "", "retry-after: 60", 6)]
    {
        let server = Server::answering(common::answer(status, &[header], body));
        let start = Instant::now();
        for _ in 0..2 {
            let outcome = token(&place, &server.url("/t"), &["--wait", "5"]).outcome();
            assert_eq!((outcome.code, server.requests().len()), (Some(code), 1), "{status}: {outcome:?}");
        }
        assert!(start.elapsed() < Duration::from_secs(3), "{status}: {:?}", start.elapsed());
    }
    // A server that asks for a second is asked again after it.
    let asked = AtomicUsize::new(0);
    let server = Server::with(move |_, stream| {
        let answer = match asked.fetch_add(1, Ordering::SeqCst) {
            0 => common::answer(503, &["retry-after: 1"], ""),
            _ => json(200, r#"{"access_token":"tok-1","expires_in":60}"#),
        };
        let _ = stream.write_all(&answer);
    });
    token(&place, &server.url("/t"), &["--wait", "10"]).outcome().prints("tok-1");
}

/// The machine's share, as the command makes it.
fn share() -> Spread {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"]
        .iter()
        .find_map(|file| std::fs::read(file).ok().filter(|id| !id.trim_ascii().is_empty()));
    Spread::from_seed(id.unwrap().trim_ascii())
}

/// In a time namespace in which the device has just booted.
fn just_booted(run: running::Run) -> (Outcome, Duration) {
    let behind = BootClock.now().as_secs() - 1;
    let like = run.command();
    let mut command = Command::new("unshare");
    command.args(["-T", &format!("--boottime=-{behind}"), "-f"]).arg(like.get_program()).args(like.get_args());
    command.current_dir(like.get_current_dir().unwrap()).env_clear();
    let start = Instant::now();
    (Started::command(command).outcome(), start.elapsed())
}

#[test]
fn the_first_fetch_after_a_boot_is_put_off_by_the_devices_share() {
    if !can_unshare("splay", &["-T", "--boottime=-1", "-f"]) {
        return;
    }
    // So that this device's share is some 4 s after the boot.
    let part = share().of(Duration::from_secs(1000)).as_secs_f64() / 1000.0;
    let splay = ((4.0 / part).ceil() as u64).min(86_400);
    let at = share().of(Duration::from_secs(splay));
    assert!(at < Duration::from_secs(10), "{at:?}: a machine whose share is nearly nothing");
    let (place, splay) = (Place::new(), splay.to_string());
    let server = issuing(3600, Duration::ZERO);
    let url = server.url("/t");
    let (outcome, took) = just_booted(token(&place, &url, &["--splay", &splay, "-v"]));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "tok-1\n"), "{outcome:?}");
    let told = format!("keyfob: the first fetch is delayed until {} s after boot (--splay)\n", at.as_secs());
    assert!(outcome.stderr.contains(&told), "{outcome:?}");
    // It had been up for one to two seconds when it was asked.
    assert!(took + Duration::from_secs(2) > at && took < at + Duration::from_secs(5), "{took:?}, {at:?}");
    // When the boot is long past nothing is put off.
    let start = Instant::now();
    let usual_time = token(&place, &url, &["--splay", &splay, "--fresh"]).outcome();
    assert!(usual_time.code == Some(0) && start.elapsed() < Duration::from_secs(2), "{usual_time:?}");
}
