//! Names: name servers that are dead, and hosts with a dead address before a living one.
//!
//! The command gets a mount namespace of its own, with other files in place of `/etc/hosts` and `/etc/resolv.conf`. That
//! takes root, and glibc's resolver as it is set up nearly everywhere; elsewhere it is skipped, and with `CI=true` that is
//! a failure.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/command.rs"]
mod running;

use common::{Server, json};
use running::{Outcome, Place};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

/// The files that take the place of the system's. Each is there on the systems that have these tests.
const FILES: [&str; 3] = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"];

/// Whether the tests can be done here. A line says why not.
fn can_be_done(test: &str) -> bool {
    let probe = || {
        for file in FILES {
            std::fs::metadata(file).map_err(|error| format!("{file}: {error}"))?;
        }
        let output = Command::new("unshare").args(["-m", "mount", "--bind", FILES[0], FILES[0]]).output();
        let output = output.map_err(|error| format!("unshare: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")),
        }
    };
    let Err(reason) = probe() else { return true };
    let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!is_ci, "{test}: {reason}");
    println!("{test}: skipped, because {reason}");
    false
}

/// Runs the command where names are looked up by these hosts and this name server.
fn run(place: &Place, hosts: &str, resolver: &str, options: &[&str]) -> (Outcome, Duration) {
    const SCRIPT: &str = "mount --bind hosts /etc/hosts && mount --bind resolv.conf /etc/resolv.conf && \
                          mount --bind nsswitch.conf /etc/nsswitch.conf && exec \"$@\"";
    place.file("here/hosts", hosts);
    place.file("here/resolv.conf", resolver);
    place.file("here/nsswitch.conf", "hosts: files dns\n");
    let options = [&["token", "--no-cache", "--allow-http", "--client-id", "id"], options].concat();
    let keyfob = place.keyfob(options).command();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", SCRIPT, "sh"]).arg(keyfob.get_program()).args(keyfob.get_args());
    command.current_dir(keyfob.get_current_dir().unwrap());
    // Of the environment nothing but where `unshare` and `mount` are: no proxy.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let started = Instant::now();
    let output = command.output().unwrap();
    let took = started.elapsed();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }, took)
}

#[test]
fn dead_name_servers_end_the_wait_within_the_timeout() {
    if !can_be_done("dead_name_servers_end_the_wait_within_the_timeout") {
        return;
    }
    // It takes every question and answers none. Another test run may have it already: it is as silent.
    let silent = UdpSocket::bind("127.53.53.53:53");
    assert!(silent.is_ok() || silent.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse));
    let place = Place::new();
    let patient = "nameserver 127.53.53.53\noptions timeout:30 attempts:5\n";
    let hasty = "nameserver 127.53.53.53\noptions timeout:1 attempts:1\n";
    let proxy = ["--url", "http://as.example/t", "--proxy", "http://proxy.example:3128"];
    for (what, resolver, options, timeout, message) in [
        (
            "for long",
            patient,
            &["--url", "http://as.example/t"][..],
            2,
            "keyfob: the name as.example was not found within 2 s\n\
             hint: the name servers do not answer: check the network\n",
        ),
        (
            "and the resolver gives up",
            hasty,
            &["--url", "http://as.example:8080/t"],
            20,
            "keyfob: the name as.example was not found\n\
             hint: check the host's name in the URL, and the network\n",
        ),
        (
            "for a proxy",
            patient,
            &proxy,
            2,
            "keyfob: the name of the proxy proxy.example was not found within 2 s\n\
             hint: the name servers do not answer: check the network\n",
        ),
    ] {
        let seconds = format!("{timeout}");
        let (outcome, took) = run(&place, "", resolver, &[options, &["--timeout", &seconds]].concat());
        let expected = Outcome { code: Some(4), stdout: String::new(), stderr: message.to_owned() };
        assert_eq!(outcome, expected, "{what}");
        assert!(took < Duration::from_secs(8), "{what}: {took:?}");
    }
}

/// A port that lets no connection in and refuses none, as a host behind a broken tunnel: the queue of those that wait is
/// full.
fn swallowing(address: SocketAddr) -> Option<(TcpListener, TcpStream)> {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket(family, SocketType::STREAM, None).ok()?;
    bind(&socket, &address).ok()?;
    listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let first = TcpStream::connect(address).unwrap();
    let next = TcpStream::connect_timeout(&address, Duration::from_millis(100));
    assert_eq!(next.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    Some((listener, first))
}

#[test]
fn a_living_address_behind_a_dead_one_is_found_within_5_seconds() {
    let test = "a_living_address_behind_a_dead_one_is_found_within_5_seconds";
    if !can_be_done(test) {
        return;
    }
    let server = Server::answering(json(200, r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#));
    let port = server.address().port();
    let Some(_dead) = swallowing((Ipv6Addr::LOCALHOST, port).into()) else {
        assert!(std::env::var("CI").is_err(), "{test}: there is no IPv6 here");
        println!("{test}: skipped, because there is no IPv6 here");
        return;
    };
    let place = Place::new();
    let url = format!("http://as.example:{port}/t");
    let both = "::1 as.example\n127.0.0.1 as.example\n";
    // With the usual timeout, with one that ureq would have used up, and with nothing but the dead one.
    for (hosts, timeout, expected) in [
        (both, "30", Ok("t0ken\n")),
        (both, "3", Ok("t0ken\n")),
        ("::1 as.example\n", "2", Err(format!("keyfob: no connection to as.example:{port} within 2 s\n"))),
    ] {
        let (outcome, took) = run(&place, hosts, "nameserver 127.0.0.1\n", &["--url", &url, "--timeout", timeout]);
        let (code, stdout, stderr) = match expected {
            Ok(token) => (0, token.to_owned(), String::new()),
            Err(message) => (4, String::new(), message),
        };
        assert_eq!(outcome, Outcome { code: Some(code), stdout, stderr }, "{timeout}");
        // If it was tried first, that took a second.
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn every_address_of_a_name_is_tried() {
    if !can_be_done("every_address_of_a_name_is_tried") {
        return;
    }
    let server = Server::answering(json(200, r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#));
    let port = server.address().port();
    // Nobody listens at the others; the server's is the last.
    let hosts: String = (2..42).map(|last| format!("127.0.1.{last} as.example\n")).collect();
    let place = Place::new();
    let url = format!("http://as.example:{port}/t");
    let (outcome, _) =
        run(&place, &format!("{hosts}127.0.0.1 as.example\n"), "nameserver 127.0.0.1\n", &["--url", &url]);
    assert_eq!(outcome, Outcome { code: Some(0), stdout: "t0ken\n".to_owned(), stderr: String::new() });
}

#[test]
fn localhost_needs_no_look_up() {
    if !can_be_done("localhost_needs_no_look_up") {
        return;
    }
    let answer = json(200, r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#);
    let place = Place::new();
    for (address, hosts, name) in [
        (IpAddr::from(Ipv4Addr::LOCALHOST), "", "localhost"),
        // The file that says otherwise is not read.
        (Ipv4Addr::LOCALHOST.into(), "127.0.1.9 localhost\n", "LocalHost"),
        (Ipv6Addr::LOCALHOST.into(), "", "localhost"),
    ] {
        let answer = answer.clone();
        let listener = TcpListener::bind((address, 0)).unwrap();
        let server = Server::on(listener, move |_, stream| drop(stream.write_all(&answer)));
        let url = format!("http://{name}:{}/t", server.address().port());
        let (outcome, took) = run(&place, hosts, "nameserver 127.53.53.53\n", &["--url", &url]);
        assert_eq!(
            outcome,
            Outcome { code: Some(0), stdout: "t0ken\n".to_owned(), stderr: String::new() },
            "{address}"
        );
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}
