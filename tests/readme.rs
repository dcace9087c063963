//! The README and the pages of src/docs are true: their commands run, their links lead somewhere, their figures and
//! their list of tolerances are those of the project.

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
const COMMAND: &str = include_str!("../src/docs/command.md");
const COSTS: &str = include_str!("../src/docs/costs.md");
const ERRORS: &str = include_str!("../src/docs/errors.md");
const TOLERANCES: &str = include_str!("../src/docs/tolerances.md");
/// What rustdoc puts before each page: the links and pictures that a forge takes from the end of the page.
const LINKS: &str = include_str!("../src/docs/links.md");
const PICTURES: &str = include_str!("../src/docs/pictures.md");

/// Each page with its path: the README first.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(root.join("src/docs")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.is_file() && !path.ends_with("links.md") && !path.ends_with("pictures.md"));
    paths.sort();
    paths.insert(0, root.join("README.md"));
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a language in a page.
fn blocks_of<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The fenced blocks of a language in all pages.
fn blocks(language: &str) -> Vec<String> {
    let owned = |(_, page): &(PathBuf, String)| blocks_of(page, language).iter().map(|b| (*b).to_owned()).collect();
    pages().iter().flat_map::<Vec<String>, _>(owned).collect()
}

/// The definitions of links in a page: label and destination.
fn definitions(page: &str) -> Vec<(&str, &str)> {
    page.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).collect()
}

/// A page without what is in fences and in backticks, where brackets mean nothing. A label keeps its backticks.
fn prose(page: &str) -> String {
    let unfenced: String = page.split("```").step_by(2).collect();
    let mut text = String::new();
    for (index, part) in unfenced.split('`').enumerate() {
        match index % 2 {
            0 => text += part,
            _ if text.ends_with('[') => text += &format!("`{part}`"),
            _ => {}
        }
    }
    text
}

/// The anchor that both a forge and rustdoc give to a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

/// A directory with the files that the recipes name.
fn directory(name: &str, server: &Server) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    for file in ["secret", "session-token", "access-token", "password", "signing-key.pem"] {
        let path = directory.join(file);
        let content = match file {
            "signing-key.pem" => include_str!("data/jwt/p256.pem").to_owned(),
            _ => format!("{file}-value\n"),
        };
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    let profile = blocks("json").into_iter().find(|block| block.contains("environments")).unwrap();
    std::fs::write(directory.join("a.json"), on_loopback(&profile, server)).unwrap();
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
        if cfg!(not(feature = "tls")) && line.contains("--signing-key-file") {
            continue;
        }
        // What the last command pipes into needs the network.
        let line = on_loopback(line.split(" | ").next().unwrap(), &server);
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
        command.arg(words[0]).env_clear().current_dir(&directory);
        if words[0] == "bench" {
            let output = command.args(&words[1..]).args(["-n", "1", "--pause", "0"]).output().unwrap();
            let stdout = String::from_utf8(output.stdout).unwrap();
            assert!(stdout.starts_with("1 cold-start fetch from 127.0.0.1:"), "{line}: {stdout}");
            count += 1;
            continue;
        }
        // A cache of its own for each, so that each asks the server.
        command
            .arg("--cache-dir")
            .arg(directory.join(format!("cache-{}-{count}", std::process::id())))
            .args(&words[1..]);
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
    let expected = if cfg!(feature = "tls") { 19 } else { 18 };
    assert_eq!((count, server.requests().len()), (expected, expected));
}

/// Over https, with a server that wants a client certificate.
#[cfg(feature = "tls")]
fn runs_by_certificate(line: &str, directory: &Path) {
    let config = serving::config_for_clients_of(serving::CA, rustls::ALL_VERSIONS);
    let server = serving::server(config, |_, stream| drop(stream.write_all(&json(200, ANSWER_C))));
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
fn parse_prints_what_the_page_shows() {
    let line = blocks_of(COMMAND, "sh").concat().lines().find(|line| line.contains("keyfob parse")).unwrap().to_owned();
    let body = line.split('\'').nth(1).unwrap().to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyfob"));
    let child = command.arg("parse").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = blocks_of(COMMAND, "json").into_iter().find(|block| block.starts_with("{\"ok\"")).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), shown);
}

#[test]
fn each_tolerance_has_cases_in_the_corpus() {
    let corpus = include_str!("data/token_responses.jsonl");
    let is_numbered =
        |line: &&str| line.strip_prefix("| ").is_some_and(|row| row.starts_with(|c: char| c.is_ascii_digit()));
    let rows: Vec<&str> = TOLERANCES.lines().filter(is_numbered).collect();
    assert_eq!(rows.len(), 19);
    for row in rows {
        let classes = row.trim_end_matches(" |").rsplit("| ").next().unwrap();
        for class in classes.split(", ") {
            assert!(corpus.contains(&format!("\"class\": \"{class}\"")), "{class}");
        }
    }
}

#[test]
fn each_exit_code_and_kind_is_documented() {
    for (kind, code) in [
        ("internal", 1),
        ("config", 2),
        ("refused", 3),
        ("unreachable", 4),
        ("outcome_unknown", 4),
        ("unusable", 5),
        ("wait", 6),
        ("untrusted", 7),
        ("threshold", 8),
    ] {
        assert!(ERRORS.contains(&format!("| `{kind}` | {code} |")), "{kind}");
    }
}

#[test]
fn the_readme_is_one_page() {
    assert!(README.lines().count() <= 200);
}

#[test]
fn each_page_is_linked_from_the_readme_and_shown_by_rustdoc() {
    let module = include_str!("../src/docs.rs");
    let names: Vec<&str> =
        module.split("pages! {").nth(1).unwrap().split('}').next().unwrap().split_whitespace().collect();
    for (path, _) in &pages()[1..] {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(names.contains(&name), "src/docs.rs does not name {name}");
        assert!(README.contains(&format!("]: src/docs/{name}.md\n")), "README.md has no link to {name}");
    }
    assert_eq!(names.len(), pages().len() - 1);
}

#[test]
fn the_cost_in_the_readme_is_that_of_the_table() {
    let cells = |text: &'static str, row: &str| -> Vec<&str> {
        let row = text.lines().find(|line| line.starts_with(row)).unwrap();
        row.trim_matches('|').split('|').map(str::trim).collect()
    };
    let (short, whole) = (cells(README, "| keyfob | "), cells(COSTS, "| keyfob | "));
    assert_eq!(short, [whole[0], whole[2], whole[4], whole[6]]);
}

#[test]
fn each_link_works_on_a_forge_and_in_rustdoc() {
    let pages = pages();
    for (path, page) in &pages {
        let (name, definitions, prose) = (path.display(), definitions(page), prose(page));
        let headings: Vec<String> = page.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
        for link in prose.split("](").skip(1) {
            let fragment = link.split(')').next().unwrap().strip_prefix('#');
            let fragment = fragment.unwrap_or_else(|| panic!("{name}: a link to another page needs a label: {link}"));
            assert!(headings.iter().any(|heading| heading == fragment), "{name}: there is no heading #{fragment}");
        }
        for (label, to) in &definitions {
            if to.starts_with("https://") {
                continue;
            }
            let (file, fragment) = to.split_once('#').unwrap_or((to, ""));
            // rustdoc resolves the path itself, with `-D warnings`, but not the fragment.
            let start = format!("[{label}]: ");
            let in_rustdoc = LINKS.lines().chain(PICTURES.lines()).find(|line| line.starts_with(&start));
            let in_rustdoc = in_rustdoc.unwrap_or_else(|| panic!("{name}: rustdoc has no link for [{label}]"));
            assert!(fragment.is_empty() || in_rustdoc.ends_with(&format!("#{fragment}")), "{name}: [{label}]: {to}");
            let file = path.parent().unwrap().join(file).canonicalize();
            let file = file.unwrap_or_else(|error| panic!("{name}: [{label}]: {to}: {error}"));
            let (_, text) = pages.iter().find(|(path, _)| *path == file).cloned().unwrap_or_default();
            let found = text.lines().any(|line| line.starts_with('#') && anchor(line) == fragment);
            assert!(found || fragment.is_empty(), "{name}: [{label}]: there is no heading #{fragment}");
        }
        let mut used = Vec::new();
        for (at, _) in prose.match_indices('[') {
            let (label, rest) = prose[at + 1..].split_once(']').unwrap();
            // In `[text][label]` the text is no label; a definition is not a use.
            if ["[", "("].iter().all(|c| !rest.starts_with(c)) {
                assert!(definitions.iter().any(|(defined, _)| *defined == label), "{name}: [{label}] is not defined");
                used.extend((at > 0 && !prose[..at].ends_with('\n') || !rest.starts_with(": ")).then_some(label));
            }
        }
        for (label, _) in &definitions {
            assert!(used.contains(label), "{name}: [{label}] is not used");
        }
    }
}

/// rustdoc has no files beside its pages, so it gets the pictures as `data:` URLs.
#[test]
fn the_pictures_of_rustdoc_are_those_of_the_benches() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut expected = String::new();
    for name in ["cold_start.svg", "fleet.svg"] {
        expected += &format!("[{name}]: <data:image/svg+xml,");
        for c in std::fs::read_to_string(root.join("benches").join(name)).unwrap().trim().chars() {
            match c {
                '%' | '#' | '<' | '>' | '&' | '\\' | '\n' => expected += &format!("%{:02X}", u32::from(c)),
                c => expected.push(c),
            }
        }
        expected += ">\n";
    }
    if PICTURES != expected {
        std::fs::write(root.join("src/docs/pictures.md"), expected).unwrap();
        panic!("src/docs/pictures.md was out of date and has been rewritten: commit it");
    }
}
