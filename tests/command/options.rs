//! Options: what is wrong with a command line, and what does not fit together.

use crate::*;

#[test]
fn a_command_line_that_is_wrong_is_named_without_what_may_be_a_secret() {
    let place = Place::new();
    let in_file =
        |secret: &str| format!("hint: everyone can read argument lists: put it into a file and use --{secret}-file");
    let (client_secret, password) = (in_file("client-secret"), in_file("password"));
    let (session, refresh, access) = (in_file("session-token"), in_file("refresh-token"), in_file("access-token"));
    let duration = |option: &str| {
        format!("usage: --{option}: must be seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)")
    };
    let too_many = "usage: unexpected argument; a secret is never given on the command line";
    for (arguments, message, hint) in [
        (
            &["hunter2"][..],
            "usage: unknown command; the commands are token, revoke, keep, exec, status, forget, helper, introspect, bench, probe, parse, from-curl, demo, help",
            USAGE_HINT,
        ),
        (&["Token"], "usage: unknown command \"Token\"; did you mean \"token\"?", USAGE_HINT),
        (&["tokn"], "usage: unknown command \"tokn\"; did you mean \"token\"?", USAGE_HINT),
        (
            &[""],
            "usage: unknown command; the commands are token, revoke, keep, exec, status, forget, helper, introspect, bench, probe, parse, from-curl, demo, help",
            USAGE_HINT,
        ),
        (
            &["--url", "https://as.example"],
            "usage: no command before the options; the commands are token, revoke, keep, exec, status, forget, helper, introspect, bench, probe, parse, from-curl, demo, help",
            USAGE_HINT,
        ),
        (
            &["-x", "token"],
            "usage: no command before the options; the commands are token, revoke, keep, exec, status, forget, helper, introspect, bench, probe, parse, from-curl, demo, help",
            USAGE_HINT,
        ),
        (&["token", "--nonsense"], "usage: unknown option --nonsense", USAGE_HINT),
        (&["token", "--nonsense=hunter2"], "usage: unknown option --nonsense", USAGE_HINT),
        (&["token", "--URL", "https://as.example"], "usage: unknown option --URL; did you mean --url?", USAGE_HINT),
        (&["token", "--no\u{1b}[31m"], "usage: unknown option --no\\u{1b}[31m", USAGE_HINT),
        (&["token", "--client-secret", "hunter2"], "usage: unknown option --client-secret", &client_secret),
        (&["token", "--client-secret=hunter2"], "usage: unknown option --client-secret", &client_secret),
        (&["token", "--password", "hunter2"], "usage: unknown option --password", &password),
        (&["token", "--session-token", "hunter2"], "usage: unknown option --session-token", &session),
        (&["token", "--refresh-token", "hunter2"], "usage: unknown option --refresh-token", &refresh),
        (&["revoke", "--access-token", "hunter2"], "usage: unknown option --access-token", &access),
        (
            &["token", "-phunter2"],
            "usage: unknown one-letter option; there are -h, -V, -v and, for bench, -n",
            USAGE_HINT,
        ),
        (
            &["token", "-p", "hunter2"],
            "usage: unknown one-letter option; there are -h, -V, -v and, for bench, -n",
            USAGE_HINT,
        ),
        (&["token", "--url"], "usage: --url needs a value", USAGE_HINT),
        (&["token", "--client-secret-file"], "usage: --client-secret-file needs a value", USAGE_HINT),
        (&["token", "--no-cache=hunter2"], "usage: --no-cache takes no value", USAGE_HINT),
        (&["token", "--url", "a", "--url", "b"], "usage: --url is given twice", USAGE_HINT),
        (&["token", "--timeout", "5", "--timeout=5"], "usage: --timeout is given twice", USAGE_HINT),
        (
            &["token", "--client-secret-file", "a", "--client-secret-file", "a"],
            "usage: --client-secret-file is given twice",
            USAGE_HINT,
        ),
        (&["token", "--timeout", "hunter2"], &duration("timeout"), USAGE_HINT),
        (&["token", "--timeout", "1,5"], &duration("timeout"), USAGE_HINT),
        (&["token", "--timeout", "+1"], &duration("timeout"), USAGE_HINT),
        (&["token", "--timeout=-1"], &duration("timeout"), USAGE_HINT),
        (&["token", "--lifetime", ""], &duration("lifetime"), USAGE_HINT),
        (&["token", "--min-valid", "1w"], &duration("min-valid"), USAGE_HINT),
        (&["token", "--param", "hunter2"], "usage: --param: must be NAME=VALUE", USAGE_HINT),
        (&["token", "--param-file", "hunter2"], "usage: --param-file: must be NAME=VALUE", USAGE_HINT),
        (&["token", "--header", "Bearer hunter2"], "usage: --header: must be NAME:VALUE", USAGE_HINT),
        (&["token", "--header-file", "hunter2"], "usage: --header-file: must be NAME:VALUE", USAGE_HINT),
        (&["token", "./profile", "hunter2"], too_many, USAGE_HINT),
        (&["token", "./profile", "hunter2", "x"], too_many, USAGE_HINT),
        (&["revoke", "./profile", "--", "--hunter2"], too_many, USAGE_HINT),
        (&["parse", "hunter2"], too_many, USAGE_HINT),
        (&["help", "token", "hunter2"], too_many, USAGE_HINT),
        (&["--version", "hunter2"], too_many, USAGE_HINT),
        (&["parse", "--url", "https://as.example"], "usage: unknown option --url", USAGE_HINT),
        (&["token", "--status", "200"], "usage: unknown option --status", USAGE_HINT),
        (&["help", "--url=x"], "usage: unknown option --url", USAGE_HINT),
    ] {
        // Of a profile that is not there nobody can say that it is not meant for curl.
        let stdout = if arguments.starts_with(&["token", "./profile"]) { "proto = \"-all\"\n" } else { "" };
        place.keyfob(arguments).outcome().is(2, stdout, &format!("keyfob: {message}\n{hint}\n"));
    }
}

#[test]
fn a_command_line_that_is_not_text_is_an_error() {
    let place = Place::new();
    let not_text = OsStr::from_bytes(b"hunter2\xFF");
    for (arguments, message) in [
        ([OsStr::new("token"), OsStr::new("--client-id"), not_text], "--client-id: the value is not UTF-8 text"),
        ([OsStr::new("token"), OsStr::new("--param"), not_text], "--param: the value is not UTF-8 text"),
        (
            [not_text, OsStr::new("--param"), OsStr::new("a=b")],
            "unknown command; the commands are token, revoke, keep, exec, status, forget, helper, introspect, bench, probe, parse, from-curl, demo, help",
        ),
    ] {
        place.keyfob(arguments).outcome().fails(2, &format!("keyfob: usage: {message}\n{USAGE_HINT}"));
    }
}

#[test]
fn a_wrong_url_is_named() {
    let place = Place::new();
    for (url, lines) in [
        ("as.example/token", "url: it must start with https:// or http://"),
        ("", "url: it must start with https:// or http://"),
        ("ftp://as.example/token", "url: only https and http are known"),
        ("https://", "url: the host is missing"),
        ("https://as.example:99999/", "url: the port is not a number from 1 to 65535"),
        ("https://as.example/token#part", "url: a token endpoint has no fragment (#…)"),
        (
            "https://me:hunter2@as.example/token",
            "url: a user name or password cannot be part of it\n\
             hint: use a client secret or --username with --password-file",
        ),
        (
            "https://as.example/a token",
            "url: byte 20 is not visible ASCII\n\
             hint: percent-encode the character (a space is %20), and write a host name in punycode",
        ),
        (
            "http://as.example/token?key=hunter2",
            "plain http to as.example would show the credentials to everyone on the way\n\
             hint: use https, or allow it (--allow-http) if you trust the network",
        ),
        (
            "http://127.0.0.1.example:8080/token",
            "plain http to 127.0.0.1.example:8080 would show the credentials to everyone on the way\n\
             hint: use https, or allow it (--allow-http) if you trust the network",
        ),
    ] {
        place.token(url, &[]).outcome().fails(2, &format!("keyfob: {lines}"));
    }
    for verb in ["token", "revoke"] {
        place
            .keyfob([verb])
            .outcome()
            .fails(2, "keyfob: there is no token endpoint\nhint: say where it is: `url` (--url)");
    }
}

#[test]
fn options_that_do_not_fit_are_an_error_and_nothing_is_sent() {
    let place = Place::new();
    let server = token_server();
    for (options, lines) in [
        (
            &["--method", "GET", "--params", "form"][..],
            "`params`: with GET they can only go into the query\nhint: leave `params` out, or use POST",
        ),
        (
            &["--method", "GET", "--params", "json"],
            "`params`: with GET they can only go into the query\nhint: leave `params` out, or use POST",
        ),
        (
            &["--grant", "bearer_session", "--params", "json", "--session-token-file", "secret"],
            "`params`: with GET they can only go into the query\nhint: leave `params` out, or use POST",
        ),
        (
            &["--dialect", "form-credentials", "--client-id", "c", "--client-secret-file", "secret"],
            "this endpoint wants a scope, and none is given\n\
             hint: add the scope its service documents: often the tenant's or host's URL",
        ),
        (
            &["--dialect", "form-credentials", "--scope", ""],
            "this endpoint wants a scope, and none is given\n\
             hint: add the scope its service documents: often the tenant's or host's URL",
        ),
        (
            &["--dialect", "entra"],
            "`dialect`: \"entra\" is none of bearer-session, form-credentials, json-credentials, user-credentials",
        ),
        (
            &["--grant", "client_credential"],
            "unknown grant \"client_credential\"; did you mean \"client_credentials\"?",
        ),
        (
            &["--grant", "client-credentials"],
            "unknown grant \"client-credentials\"; did you mean \"client_credentials\"?",
        ),
        (&["--grant", "Password"], "unknown grant \"Password\"; did you mean \"password\"?"),
        (&["--grant", "refresh"], "unknown grant \"refresh\"; did you mean \"refresh_token\"?"),
        (&["--grant", ""], "`grant`: must not be empty"),
        (&["--params", "xml"], "`params`: \"xml\" is none of form, json, query"),
        (
            &["--auth", "basic"],
            "`auth`: \"basic\" is none of client_secret_basic, client_secret_post, private_key_jwt, client_secret_jwt, \
             tls_client_auth, none",
        ),
        (&["--method", "get"], "`method`: \"get\" is none of POST, PUT, GET"),
        (&["--method", "DELETE"], "`method`: \"DELETE\" is none of POST, PUT, GET"),
        (&["--format", "hunter2"], "`format`: must be one of token, header, curl, json"),
        (&["--timeout", "0"], "`timeout`: must be longer than 0 s"),
        (
            &["--lifetime", "0"],
            "`lifetime`: this must be longer than 0: seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (&["--field", "a..b"], "field: \"a..b\" is not a path: names joined by dots, at most 8"),
        (
            &["--auth", "client_secret_basic", "--client-id", "c"],
            "the client secret is missing\n\
             hint: name the file that holds it (--client-secret-file), or authenticate by `none` if the client has \
             none; an empty secret is said by `\"client_secret\": \"\"` in a profile",
        ),
        (
            &["--auth", "client_secret_post", "--client-id", "c"],
            "the client secret is missing\n\
             hint: name the file that holds it (--client-secret-file), or authenticate by `none` if the client has \
             none; an empty secret is said by `\"client_secret\": \"\"` in a profile",
        ),
        (&["--client-secret-file", "secret"], "the client id is missing\nhint: give it as client_id (--client-id)"),
        (
            &["--basic-raw", "--client-id", "a:b", "--client-secret-file", "secret"],
            "a client id with a colon cannot be sent by raw Basic (RFC 7617 section 2)\n\
             hint: leave --basic-raw out, or use client_secret_post",
        ),
        (
            &["--grant", "password", "--password-file", "secret"],
            "the grant `password` needs a user name\nhint: set it with --username",
        ),
        (
            &["--grant", "password", "--username", "u"],
            "the grant `password` needs a password\nhint: set it with --password-file",
        ),
        (
            &["--dialect", "user-credentials", "--username", "u"],
            "the grant `password` needs a password\nhint: set it with --password-file",
        ),
        (
            &["--dialect", "bearer-session"],
            "the grant `bearer_session` needs a session token\nhint: set it with --session-token-file",
        ),
        (
            &["--grant", "refresh_token"],
            "the grant `refresh_token` needs a refresh token\nhint: set it with --refresh-token-file",
        ),
        (
            &["--client-secret-file", "secret", "--client-secret-env", "SECRET"],
            "`client_secret_file` and `client_secret_env` are both given",
        ),
        (&["--offline", "--fresh"], "`offline` and `fresh` are both given\nhint: remove one of them"),
        (
            &["--header", "X: a\r\nB: hunter2"],
            "header X: its value is empty, or holds a character that cannot be sent in a header\n\
             hint: only printable ASCII fits, without a space at either end",
        ),
        (
            &["--header", "X:"],
            "header X: its value is empty, or holds a character that cannot be sent in a header\n\
             hint: only printable ASCII fits, without a space at either end",
        ),
        (&["--header", "X : a"], "header \"X \": this is not a header name (RFC 9110 section 5.1)"),
        (&["--header", ": a"], "header \"\": this is not a header name (RFC 9110 section 5.1)"),
        (&["--header", "a\r\nb: c"], "header \"a\\r\\nb\": this is not a header name (RFC 9110 section 5.1)"),
        (
            &["--header", "Host: as.example"],
            "header Host: the HTTP client sets it itself\n\
             hint: to reach the host of the URL at another address, set the address (--connect-to)",
        ),
        (&["--header", "content-length: 1"], "header content-length: the HTTP client sets it itself"),
        (
            &["--header", "authorization: Bearer hunter2"],
            "`header`: Authorization is a secret and must not be written here\n\
             hint: put it into a file and use --header-file 'Authorization: FILE'",
        ),
        (
            &["--param", "client_secret=hunter2"],
            "`param`: client_secret is a secret and must not be written here\n\
             hint: put it into a file and use --client-secret-file",
        ),
        (
            &["--header-file", "authorization: secret", "--client-id", "c", "--client-secret-file", "secret"],
            "header Authorization: the client authentication sets it already\n\
             hint: authenticate by `none` or client_secret_post to set it yourself",
        ),
        (
            &["--param", "grant_type=password"],
            "the parameter `grant_type` would be sent twice\n\
             hint: name another grant (--grant), or leave its parameter out (`omit_grant_type` in the profile)",
        ),
        (&["--client-id", "c", "--param", "client_id=d"], "the parameter `client_id` would be sent twice"),
        (&["--scope", "a", "--param", "scope=b"], "the parameter `scope` would be sent twice"),
    ] {
        place.token(&server.url("/t"), options).outcome().fails(2, &format!("keyfob: {lines}"));
    }
    // A profile that cannot be read might have said `"format": "curl"`, so curl is kept from sending anything.
    let outcome = place.token(&server.url("/t"), &["./none"]).outcome();
    outcome.fails_and_stops_curl(2, "keyfob: profile ./none: there is no such file");
    assert_eq!(server.requests(), []);
}
