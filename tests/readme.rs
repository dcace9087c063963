//! The README is true: its commands run, its figures and its list of tolerances are those of the project.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[cfg(feature = "tls")]
#[path = "common/tls.rs"]
mod serving;

use common::{ANSWER_C, Server, json};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const README: &str = include_str!("../README.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A directory with the files that the recipes name.
fn directory(name: &str, server: &Server) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    for file in ["secret", "session-token", "access-token", "password"] {
        let path = directory.join(file);
        std::fs::write(&path, format!("{file}-value\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    let profile = blocks("json").into_iter().find(|block| block.contains("environments")).unwrap();
    std::fs::write(directory.join("a.json"), on_loopback(profile, server)).unwrap();
    directory
}

/// The same text with every example host replaced by the server.
fn on_loopback(text: &str, server: &Server) -> String {
    let hosts = ["as", "eu.a", "us.a", "b", "c", "d", "e"];
    hosts.iter().fold(text.to_owned(), |text, host| text.replace(&format!("https://{host}.example"), &server.url("")))
}

#[test]
fn each_command_of_the_recipes_runs() {
    let server = Server::answering(json(200, ANSWER_C));
    let directory = directory("readme-recipes", &server);
    let text = blocks("sh").concat().replace("\\\n", " ");
    let mut count = 0;
    for line in text.lines().filter(|line| line.starts_with("keyfob ")) {
        if line.contains("--client-cert-file") {
            runs_by_certificate(line, &directory);
            continue;
        }
        // What the last command pipes into needs the network.
        let line = on_loopback(line.split(" | ").next().unwrap(), &server);
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
        command.args(&words).env_clear().current_dir(&directory);
        if words[0] == "bench" {
            let output = command.args(["-n", "1", "--pause", "0"]).output().unwrap();
            let stdout = String::from_utf8(output.stdout).unwrap();
            assert!(stdout.starts_with("1 cold-start fetch from 127.0.0.1:"), "{line}: {stdout}");
            count += 1;
            continue;
        }
        // A cache of its own for each, so that each asks the server.
        command.arg("--cache-dir").arg(directory.join(format!("cache-{}-{count}", std::process::id())));
        if words[0] == "keep" {
            keeps_its_file(&mut command, &directory.join("token"));
            count += 1;
            continue;
        }
        let output = command.output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{line}");
        assert!(stdout.contains(if words[0] == "revoke" { "revoked" } else { "c-token" }), "{line}: {stdout}");
        count += 1;
    }
    assert_eq!((count, server.requests().len()), (16, 16));
}

/// Over https, with a server that wants a client certificate.
#[cfg(feature = "tls")]
fn runs_by_certificate(line: &str, directory: &Path) {
    use common::{Seen, Stream};
    let config = serving::config_for_clients_of(serving::CA, rustls::ALL_VERSIONS);
    let wrapper =
        move |stream| -> Option<Box<dyn Stream>> { Some(Box::new(serving::Polite(serving::accept(&config, stream)?))) };
    let answer = |_: &Seen, stream: &mut dyn Stream| drop(stream.write_all(&json(200, ANSWER_C)));
    let server = Server::start("https", Box::new(wrapper), Box::new(answer));
    for (name, content) in [("ca.pem", serving::CA), ("cert.pem", serving::CLIENT.0), ("key.pem", serving::CLIENT.1)] {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    let line = on_loopback(line, &server);
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
    command.args(line.split_whitespace().skip(1)).args(["--ca-file", "ca.pem", "--no-cache"]);
    let output = command.env_clear().current_dir(directory).output().unwrap();
    assert_eq!((&*output.stdout, &*output.stderr), (&b"c-token\n"[..], &b""[..]), "{line}");
    assert_eq!(server.request().body_text(), "grant_type=client_credentials&client_id=my-client");
}

#[cfg(not(feature = "tls"))]
fn runs_by_certificate(_: &str, _: &Path) {}

/// It goes on until it is told to end.
fn keeps_its_file(command: &mut Command, file: &Path) {
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    while std::fs::read_to_string(file).ok().as_deref() != Some("c-token\n") {
        assert!(started.elapsed() < Duration::from_secs(20), "there is no token in the file");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!file.exists());
}

#[test]
fn parse_prints_what_the_readme_shows() {
    let line = blocks("sh").concat().lines().find(|line| line.contains("keyfob parse")).unwrap().to_owned();
    let body = line.split('\'').nth(1).unwrap().to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
    let child = command.arg("parse").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = blocks("json").into_iter().find(|block| block.starts_with("{\"ok\"")).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), shown);
}

#[test]
fn each_tolerance_has_cases_in_the_corpus() {
    let corpus = include_str!("data/token_responses.jsonl");
    let list = README.split("## What is tolerated").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")).collect();
    assert_eq!(rows.len(), 19);
    for row in rows {
        let classes = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        for class in classes.split(", ") {
            assert!(corpus.contains(&format!("\"class\": \"{class}\"")), "{class}");
        }
    }
}

#[test]
fn each_exit_code_and_kind_is_told() {
    for (kind, code) in [
        ("internal", 1),
        ("config", 2),
        ("refused", 3),
        ("unreachable", 4),
        ("outcome_unknown", 4),
        ("unusable", 5),
        ("wait", 6),
        ("untrusted", 7),
    ] {
        assert!(README.contains(&format!("| `{kind}` | {code} |")), "{kind}");
    }
}
