//! Help and version.

use crate::*;

#[test]
fn help_and_version_come_out_on_standard_output() {
    let place = Place::new();
    let help = place.keyfob(["help"]).outcome();
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.starts_with("keyfob gets an OAuth 2.0 access token.\n\n"), "{}", help.stdout);
    assert!(help.stdout.ends_with('\n') && !help.stdout.ends_with("\n\n"));
    for arguments in [&["--help"][..], &["-h"], &["token", "--help"], &["revoke", "-h"], &["parse", "--help"]] {
        assert_eq!(place.keyfob(arguments).outcome(), help, "{arguments:?}");
    }
    // Nothing was asked for, and nothing done.
    place.keyfob([""; 0]).outcome().is(2, "", &help.stdout);
    for argument in ["--version", "-V"] {
        place.keyfob([argument]).outcome().prints(&format!("keyfob {VERSION}"));
    }
}

#[test]
fn help_mentions_every_option() {
    let help = Place::new().keyfob(["help"]).outcome().stdout;
    let words: Vec<&str> = help.split([' ', ',', '\n', '[', ']', '(', ')']).collect();
    for option in [
        "--url",
        "--dialect",
        "--grant",
        "--params",
        "--auth",
        "--method",
        "--client-id",
        "--username",
        "--client-secret-file",
        "--password-file",
        "--session-token-file",
        "--refresh-token-file",
        "--access-token-file",
        "--client-secret-env",
        "--password-env",
        "--scope",
        "--param",
        "--param-file",
        "--header",
        "--header-file",
        "--environment",
        "--field",
        "--basic-raw",
        "--ca-file",
        "--system-roots",
        "--client-cert-file",
        "--client-key-file",
        "--client-key-env",
        "--proxy",
        "--no-proxy",
        "--allow-http",
        "--timeout",
        "--lifetime",
        "--min-valid",
        "--no-cache",
        "--fresh",
        "--cache-dir",
        "--wait",
        "--splay",
        "--file",
        "--mode",
        "--on-renew",
        "--verbose",
        "--format",
        "--status",
        "--content-type",
        "--show-secrets",
        "--help",
        "--version",
    ] {
        assert!(words.contains(&option), "help does not mention {option}");
    }
    for verb in ["token", "revoke", "parse", "demo", "help"] {
        assert!(help.contains(&format!("keyfob {verb}")), "help does not mention {verb}");
    }
}
