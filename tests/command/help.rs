//! Help and version, and that the documentation has what the help has.

use crate::*;

fn help(words: &[&str]) -> String {
    let outcome = Place::new().keyfob(words).outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{words:?}");
    let text = outcome.stdout;
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{words:?}");
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "{words:?}: {longest:?} columns");
    text
}

#[test]
fn help_and_version_come_out_on_standard_output() {
    let place = Place::new();
    let all = help(&["help"]);
    assert!(all.starts_with("keyfob gets an OAuth 2.0 access token and keeps it valid.\n\n"), "{all}");
    for arguments in [&["--help"][..], &["-h"], &["help", "--help"]] {
        assert_eq!(help(arguments), all, "{arguments:?}");
    }
    // Without a command nothing was done.
    place.keyfob([""; 0]).outcome().is(2, "", &all);
    for argument in ["--version", "-V"] {
        place.keyfob([argument]).outcome().prints(&format!("keyfob {VERSION}"));
    }
}

#[test]
fn each_verb_has_a_help_of_its_own() {
    for (verb, has, has_not) in [
        (
            "token",
            &["--url", "--verbose", "--client-secret-env", "PROFILE is a file"][..],
            &["--on-renew", "--count", "--status"][..],
        ),
        ("revoke", &["--access-token-file"], &["--on-renew", "--count", "--status"]),
        ("keep", &["--on-renew", "--url"], &["--count", "--status"]),
        ("bench", &["-n, --count N", "--url"], &["--on-renew", "--status", "--single"]),
        ("probe", &["--url", "--format"], &["--on-renew", "--status", "--count"]),
        ("parse", &["--status", "--show-secrets"], &["--url", "--verbose", "PROFILE is a file"]),
        ("demo", &["keyfob demo\n"], &["--url"]),
    ] {
        let text = help(&["help", verb]);
        assert!(text.starts_with(&format!("keyfob {verb}")), "{text}");
        for word in has {
            assert!(text.contains(word), "{verb}: {word} in {text}");
        }
        for word in has_not {
            assert!(!text.contains(word), "{verb}: {word} in {text}");
        }
        for arguments in [[verb, "--help"], [verb, "-h"]] {
            assert_eq!(help(&arguments), text, "{arguments:?}");
        }
    }
    let codes = help(&["help", "exit-codes"]);
    for row in ["0            ", "3  refused", "4  unreachable, outcome_unknown", "7  untrusted"] {
        assert!(codes.contains(&format!("\n  {row}")), "{row} in {codes}");
    }
    for (topic, message) in [
        ("tokn", "help: unknown topic \"tokn\"; did you mean \"token\"?"),
        ("profiles", "help: unknown topic \"profiles\"; did you mean \"profile\"?"),
        (
            "hunter2",
            "help: unknown topic; the topics are token, revoke, keep, exec, status, forget, helper, introspect, bench, probe, parse, from-curl, demo, help, profile and exit-codes",
        ),
    ] {
        let outcome = Place::new().keyfob(["help", topic]).outcome();
        outcome.is(2, "", &format!("keyfob: usage: {message}\n{USAGE_HINT}\n"));
    }
}

/// The options that a text names.
fn options(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = text.split(|c| !is_part(c)).map(|word| word.trim_end_matches('-'));
    words.filter(|word| word.starts_with("--") && word.len() > 3).collect()
}

#[test]
fn the_documentation_names_no_option_that_the_help_does_not_have() {
    let help = help(&["help"]);
    let known = options(&help);
    // Options of other programs and of demonstrations.
    let foreign = [
        "--config",
        "--password-stdin",
        "--by-turns",
        "--target",
        "--features",
        "--release",
        "--help",
        "--builds",
        "--no-default-features",
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(root.join("src/docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    let mut seen = 0;
    for page in pages.chain([root.join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        // Only the lines that are about the command.
        for line in text.lines().filter(|line| !line.contains("cargo ") && !line.contains("cargo-")) {
            for option in options(line).into_iter().filter(|option| !foreign.contains(option)) {
                assert!(known.contains(&option), "{}: {option}: {line}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn the_page_of_profiles_has_each_member() {
    let page = include_str!("../../src/docs/profiles.md");
    let text = help(&["help", "profile"]);
    let members: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("  \"")?.split_once("\": ").map(|(name, _)| name)).collect();
    assert!(members.len() > 50, "{members:?}");
    for member in members {
        // Each secret has several members, and the page explains them once.
        let secret =
            ["_file", "_env", "_profile"].iter().find_map(|ending| member.strip_suffix(ending)).unwrap_or(member);
        let is_there = |name: &str| page.contains(&format!("`{name}`"));
        assert!(is_there(member) || is_there(secret), "{member} is not in profiles.md");
    }
}

/// Each line of the page's tables names members that there are, and its example is accepted with no other members.
#[test]
fn each_example_of_the_page_of_profiles_is_accepted() {
    let place = Place::new();
    let help = help(&["help", "profile"]);
    let page = include_str!("../../src/docs/profiles.md");
    let mut count = 0;
    for (heading, is_endpoint) in [("## The endpoint\n", true), ("## The client\n", false)] {
        let section = page.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
        for line in section.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
            let [names, _, example] = cells[..] else { panic!("{line}") };
            let names: Vec<&str> = names.split(", ").map(|name| name.trim_matches('`')).collect();
            for name in &names {
                assert!(help.contains(&format!("\n  \"{name}\": ")), "there is no member {name}");
            }
            let example = example.trim_matches('`');
            let url = if example.contains("\"url\"") || names[0] == "environments" {
                ""
            } else {
                r#""url": "https://as.example", "#
            };
            let profile = format!("{{{url}{example}}}");
            let Ok(miniserde::json::Value::Object(members)) = miniserde::json::from_str(&profile) else {
                panic!("{profile}")
            };
            assert!(members.keys().all(|name| names.contains(&name.as_str()) || name == "url"), "{line}");
            if is_endpoint {
                keyfob::Endpoint::from_json(&profile).unwrap();
            }
            place.file("here/p.json", &profile);
            // Without a token to end nothing is sent.
            let outcome = place.keyfob(["revoke", "./p.json", "--no-cache"]).outcome();
            assert!(outcome.stderr.contains("revoke: no token to end"), "{profile}: {outcome:?}");
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
    // And the whole profiles.
    place.file("config/keyfob/login.json", r#"{"url": "https://login.example", "keep": ["instance_url"]}"#);
    let profiles: Vec<&str> = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    for profile in &profiles {
        place.file("here/p.json", profile);
        let outcome = place.keyfob(["revoke", "./p.json", "--no-cache"]).outcome();
        assert!(outcome.stderr.contains("revoke: no token to end"), "{profile}: {outcome:?}");
    }
    assert!(profiles.len() > 3);
}

/// A profile of all the examples is read, as far as they do not exclude each other.
#[test]
fn the_example_of_each_member_is_accepted() {
    let place = Place::new();
    place.file("config/keyfob/login.json", r#"{"url": "https://login.example"}"#);
    let text = help(&["help", "profile"]);
    let mut count = 0;
    for line in text.lines().filter(|line| line.starts_with("  \"")) {
        // The explanation is behind two spaces, or on the next line.
        let member = line.trim().split("  ").next().unwrap();
        let name = member.split('"').nth(1).unwrap();
        let beside = match name {
            "url" => "",
            "environments" => r#", "environment": "eu""#,
            "environment" => r#", "environments": {"eu": "https://as.example"}"#,
            "path" => r#", "environments": {"eu": "https://as.example"}, "environment": "eu""#,
            _ => r#", "url": "https://as.example""#,
        };
        place.file("here/p.json", format!("{{{member}{beside}}}"));
        // Without a token to end nothing is sent; members of a grant may miss the rest of it.
        let outcome = place.keyfob(["revoke", "./p.json", "--no-cache"]).variable("VARIABLE", "value").outcome();
        let is_accepted = outcome.stderr.contains("revoke: no token to end") || name.starts_with("access_token");
        assert!(is_accepted, "{member}: {outcome:?}");
        count += 1;
    }
    assert!(count > 50);
}
