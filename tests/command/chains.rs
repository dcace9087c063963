//! A secret that is the token of another profile: its cache, its failures, its members, and chains that have no end.

use crate::common::{Seen, Stream};
use crate::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Issues `NAME-1`, `NAME-2` and so on, which live this many seconds.
fn issuing(name: &'static str, seconds: u64) -> Server {
    let count = AtomicUsize::new(0);
    let answer = move |_: &Seen, stream: &mut dyn Stream| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!(r#"{{"access_token":"{name}-{number}","expires_in":{seconds}}}"#);
        let _ = stream.write_all(&json(200, &body));
    };
    Server::with(answer)
}

/// A profile in the user's directory, with these members beside `url`.
fn profile(place: &Place, name: &str, server: &Server, members: &str) {
    let text = format!(r#"{{"url": "{}"{members}}}"#, server.url("/t"));
    place.file(&format!("config/keyfob/{name}.json"), text);
}

const EXCHANGE: &str = r#", "grant": "urn:example:exchange", "param_profile": {"subject_token": "login"}"#;

fn bodies(server: &Server) -> Vec<String> {
    server.requests().iter().map(Seen::body_text).collect()
}

#[test]
fn each_kind_of_secret_may_be_another_profiles_token() {
    for (members, expected) in [
        (
            r#", "grant": "urn:example:exchange", "subject_token_profile": "login", "actor_token_profile": "login""#,
            "grant_type=urn%3Aexample%3Aexchange&subject_token=one-1&actor_token=one-1",
        ),
        (EXCHANGE, "grant_type=urn%3Aexample%3Aexchange&subject_token=one-1"),
        (
            r#", "client_id": "c", "auth": "client_secret_post", "client_secret_profile": "login""#,
            "grant_type=client_credentials&client_id=c&client_secret=one-1",
        ),
        (
            r#", "grant": "password", "username": "u", "password_profile": "login""#,
            "grant_type=password&username=u&password=one-1",
        ),
        (r#", "header_profile": {"X-Login": "login"}"#, "grant_type=client_credentials x-login: one-1"),
        (
            r#", "var_profile": {"login": "login"}, "header": {"X-Login": "Token {login}"}"#,
            "grant_type=client_credentials x-login: Token one-1",
        ),
        (r#", "grant": "bearer_session", "session_token_profile": "login""#, " authorization: bearer one-1"),
    ] {
        let place = Place::new();
        let (first, second) = (issuing("one", 3600), issuing("two", 3600));
        profile(&place, "login", &first, r#", "client_id": "l", "client_secret_file": "../../here/secret""#);
        profile(&place, "api", &second, members);
        place.keyfob(["token", "api"]).outcome().prints("two-1");
        let request = second.request();
        let header = ["x-login", "authorization"].iter().find_map(|name| Some((name, request.header(name)?)));
        let header = header.map(|(name, value)| format!(" {name}: {value}")).unwrap_or_default();
        assert_eq!(format!("{}{header}", request.body_text()), expected, "{members}");
        assert_eq!(first.request().header("authorization"), Some("Basic bDpodW50ZXIy"));
        // Both are cached; and the option is the member's.
        place.keyfob(["token", "api"]).outcome().prints("two-1");
        place.keyfob(["token", "login"]).outcome().prints("one-1");
    }
    let place = Place::new();
    let (first, second) = (issuing("one", 3600), issuing("two", 3600));
    place.file("here/l.json", format!(r#"{{"url": "{}"}}"#, first.url("/t")));
    let url = second.url("/t");
    place.keyfob(["token", "--url", &url, "--header-profile", "X-Login: ./l.json"]).outcome().prints("two-1");
    assert_eq!(second.request().header("x-login"), Some("one-1"));
}

/// The first token is asked for again when it has expired, and only if the second is needed.
#[test]
fn each_token_has_its_own_life() {
    let place = Place::new();
    let (first, second) = (issuing("one", 1), issuing("two", 3600));
    profile(&place, "login", &first, "");
    profile(&place, "api", &second, EXCHANGE);
    place.keyfob(["token", "api"]).outcome().prints("two-1");
    std::thread::sleep(Duration::from_millis(1100));
    // The second one is found although the first is another by now.
    place.keyfob(["token", "api"]).outcome().prints("two-1");
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    place.keyfob(["token", "api", "--fresh"]).outcome().prints("two-2");
    assert_eq!((first.requests().len(), second.requests().len()), (2, 2));

    let place = Place::new();
    let (first, second) = (issuing("one", 3600), issuing("two", 1));
    profile(&place, "login", &first, "");
    profile(&place, "api", &second, EXCHANGE);
    for expected in ["two-1", "two-2"] {
        place.keyfob(["token", "api"]).outcome().prints(expected);
        std::thread::sleep(Duration::from_millis(1100));
    }
    assert_eq!((first.requests().len(), second.requests().len()), (1, 2));
    // What the first one asks for is a part of what the second one is.
    profile(&place, "login", &first, r#", "client_id": "another""#);
    place.keyfob(["token", "api"]).outcome().prints("two-3");
    assert!(bodies(&second)[2].ends_with("subject_token=one-2"), "{:?}", bodies(&second));
}

#[test]
fn a_failure_of_the_first_says_whose_it_is() {
    let refused = r#"{"error":"invalid_client"}"#;
    for (answer, code, kind, message, retryable) in [
        (json(401, refused), 3, "refused", "HOST: status 401: invalid_client", false),
        (json(500, "{}"), 5, "unusable", "HOST: status 500", true),
        (json(200, "{}"), 5, "unusable", "no access token", false),
        (answer(429, &["retry-after: 60"], ""), 6, "wait", "HOST: status 429", true),
    ] {
        let place = Place::new();
        let (first, second) = (Server::answering(answer), issuing("two", 3600));
        profile(&place, "login", &first, "");
        profile(&place, "api", &second, EXCHANGE);
        for _ in 0..2 {
            let outcome = place.keyfob(["token", "api", "--format", "json"]).outcome();
            assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(code), ""), "{outcome:?}");
            let start = format!(r#"{{"error":"{kind}","message":"profile \"login\": "#);
            assert!(outcome.stderr.starts_with(&start), "{message}: {}", outcome.stderr);
            assert!(outcome.stderr.contains(&format!(r#""retryable":{retryable}"#)), "{}", outcome.stderr);
        }
        // The failure is remembered where the first one's token would be.
        assert_eq!((first.requests().len(), second.requests().len()), (1, 0), "{message}");
    }
}

#[test]
fn chains_that_have_no_end_or_no_beginning_are_errors_and_nothing_is_sent() {
    let place = Place::new();
    let server = issuing("one", 3600);
    for (name, other) in [("a", "b"), ("b", "c"), ("c", "a"), ("self", "self"), ("d", "missing")] {
        profile(&place, name, &server, &format!(r#", "password_profile": "{other}""#));
    }
    profile(&place, "fine", &server, "");
    profile(&place, "wrong", &server, r#", "timeout": "x""#);
    let config = place.path("config");
    for (words, lines) in [
        (
            vec!["a"],
            r#"profile "b": profile "c": profiles that ask each other for a token: a -> b -> c -> a"#.to_owned(),
        ),
        (vec!["self"], "profiles that ask each other for a token: self -> self".to_owned()),
        (
            vec!["d"],
            format!(
                "profile missing: not found\nhint: looked for {config}/keyfob/missing.json and \
                 /etc/keyfob/missing.json; the path of another file needs a slash"
            ),
        ),
        (
            vec!["--url", "https://as.example", "--client-secret-profile", "wrong"],
            "profile \"wrong\": `timeout`: must be seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)"
                .to_owned(),
        ),
        (
            vec!["--url", "https://as.example", "--client-secret-profile", "fine", "--client-secret-file", "b"],
            "`client_secret_file` and `client_secret_profile` are both given".to_owned(),
        ),
    ] {
        place.keyfob([vec!["token"], words].concat()).outcome().fails(2, &format!("keyfob: {lines}"));
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn members_that_the_first_keeps_are_variables() {
    let place = Place::new();
    let second = issuing("two", 3600);
    let body =
        format!(r#"{{"access_token":"one","expires_in":3600,"instance_url":"{}","id":"x y"}}"#, second.url("/i/"));
    let first = Server::answering(json(200, &body));
    profile(&place, "login", &first, r#", "keep": ["instance_url", "id", "gone"]"#);
    let members = |path: &str, more: &str| {
        format!(
            r#"{{"url": "{{instance_url}}/{path}", "header_profile": {{"X-Login": "login"}}, "header": {{"X-Id": "{{id}}"}}{more}}}"#
        )
    };
    place.file("config/keyfob/api.json", members("t", ""));
    place.keyfob(["token", "api"]).outcome().prints("two-1");
    let request = second.request();
    assert_eq!((request.target.as_str(), request.header("x-id")), ("/i/t", Some("x y")));
    // A variable of its own wins.
    place.file("config/keyfob/api.json", members("{id}", r#", "var": {"id": "own"}"#));
    place.keyfob(["token", "api"]).outcome().prints("two-2");
    assert_eq!(second.requests()[1].target, "/i/own");
    place.file("config/keyfob/api.json", members("{gone}", ""));
    let text = "keyfob: profile \"login\": the answer has no member \"gone\", which it is to keep";
    place.keyfob(["token", "api"]).outcome().fails(5, text);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 2));
}

/// Two processes at once cause one request to each server.
#[test]
fn processes_share_both_tokens() {
    let place = Place::new();
    let slow = |name: &'static str| {
        Server::with(move |_: &Seen, stream: &mut dyn Stream| {
            std::thread::sleep(Duration::from_millis(200));
            let _ = stream.write_all(&json(200, &format!(r#"{{"access_token":"{name}","expires_in":3600}}"#)));
        })
    };
    let (first, second) = (slow("one"), slow("two"));
    profile(&place, "login", &first, "");
    profile(&place, "api", &second, r#", "header_profile": {"X-Login": "login"}"#);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| place.keyfob(["token", "api"]).outcome().prints("two"));
        }
    });
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
}

/// What the first takes is taken off the second's time.
#[test]
fn one_time_limit_holds_for_all() {
    let stalling = |milliseconds| {
        Server::with(move |_: &Seen, stream: &mut dyn Stream| {
            std::thread::sleep(Duration::from_millis(milliseconds));
            let _ = stream.write_all(&json(200, r#"{"access_token":"tok","expires_in":3600}"#));
        })
    };
    for (one, two, message) in
        [(3000, 0, "keyfob: profile \"login\": "), (700, 3000, "keyfob: no complete answer from HOST within 1 s\n")]
    {
        let place = Place::new();
        let (first, second) = (stalling(one), stalling(two));
        profile(&place, "login", &first, r#", "timeout": "20s""#);
        profile(&place, "api", &second, r#", "header_profile": {"X-Login": "login"}"#);
        let start = Instant::now();
        let outcome = place.keyfob(["token", "api", "--timeout", "1s"]).outcome();
        assert!(start.elapsed() < Duration::from_millis(1600), "{:?}", start.elapsed());
        assert_eq!(outcome.code, Some(4), "{outcome:?}");
        let message = message.replace("HOST", &second.address().to_string());
        assert!(outcome.stderr.starts_with(&message), "{message}: {outcome:?}");
    }
}

#[test]
fn other_verbs_follow_the_chain() {
    let place = Place::new();
    let (first, second) = (issuing("one", 3600), issuing("two", 3600));
    profile(&place, "login", &first, "");
    let members = format!(
        r#", "client_id": "c", "client_secret_profile": "login", "auth": "client_secret_post", "revocation_url": "{}""#,
        second.url("/revoke")
    );
    profile(&place, "api", &second, &members);
    place.keyfob(["token", "api", "--format", "curl"]).outcome().prints("header = \"Authorization: Bearer two-1\"");
    place.keyfob(["revoke", "api"]).outcome().prints("revoked");
    let ended = "token=two-1&token_type_hint=access_token&client_id=c&client_secret=one-1";
    assert_eq!(bodies(&second)[1], ended);
    let cache = place.path("cache");
    let outcome = place.keyfob(["bench", "api", "-n", "1", "--cache-dir", &cache]).outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    // One fetch, whose token is ended.
    assert_eq!((first.requests().len(), second.requests().len()), (1, 4));
    profile(&place, "exchange", &second, EXCHANGE);
    assert_eq!(place.keyfob(["bench", "exchange", "-n", "1", "--cache-dir", &cache]).outcome().code, Some(0));
    // With -v both are shown; no secret is.
    let outcome = place.keyfob(["token", "api", "--fresh", "-v"]).outcome_with_secrets();
    for server in [&first, &second] {
        let line = format!("keyfob: asking {} for a token", server.address());
        assert!(outcome.stderr.contains(&line), "{outcome:?}");
    }
    assert!(!outcome.stderr.contains("one-") && !outcome.stderr.contains("two-"), "{outcome:?}");
}

/// The first server has ended its token, and only the second server knows.
#[test]
fn a_first_token_that_is_refused_is_replaced_once() {
    let accepting = |accepted: &'static str| {
        Server::with(move |seen: &Seen, stream: &mut dyn Stream| {
            let _ = stream.write_all(&match seen.body_text().ends_with(accepted) {
                true => json(200, r#"{"access_token":"two","expires_in":3600}"#),
                false => json(401, r#"{"error":"invalid_grant"}"#),
            });
        })
    };
    let place = Place::new();
    let (first, second) = (issuing("one", 3600), accepting("one-2"));
    profile(&place, "login", &first, "");
    profile(&place, "api", &second, EXCHANGE);
    place.keyfob(["token", "login"]).outcome().prints("one-1");
    place.keyfob(["token", "api"]).outcome().prints("two");
    assert_eq!((first.requests().len(), second.requests().len()), (2, 2));
    place.keyfob(["token", "login"]).outcome().prints("one-2");

    // A server that takes none is asked twice, and no more.
    let place = Place::new();
    let (first, second) = (issuing("one", 3600), accepting("none"));
    profile(&place, "login", &first, "");
    profile(&place, "api", &second, EXCHANGE);
    for (options, counts) in [(&[][..], (2, 2)), (&[], (2, 2)), (&["--fresh"], (3, 3))] {
        let outcome = place.keyfob([&["token", "api"], options].concat()).outcome();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(3), ""), "{outcome:?}");
        assert_eq!((first.requests().len(), second.requests().len()), counts, "{options:?} {outcome:?}");
    }
}

/// A program inherits the token, and no secret of any profile on the way to it.
#[test]
fn programs_inherit_no_secret_of_the_first() {
    let place = Place::new();
    let (first, second) = (issuing("one", 3600), issuing("two", 3600));
    profile(&place, "login", &first, r#", "client_id": "l", "client_secret_env": "FIRST""#);
    profile(&place, "api", &second, r#", "header_profile": {"X-Login": "login"}, "var_env": {"key": "SECOND"}"#);
    let cache = place.path("cache");
    let run = place.keyfob(["exec", "api", "--cache-dir", &cache, "--", "/usr/bin/env"]);
    let outcome = run.variable("FIRST", "hunter2").variable("SECOND", "hunter2").variable("THIRD", "third").outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("THIRD=third\n"), "{outcome:?}");
    assert!(!outcome.stdout.contains("FIRST=") && !outcome.stdout.contains("SECOND="), "{outcome:?}");
    assert_eq!(first.request().header("authorization"), Some("Basic bDpodW50ZXIy"));
}

/// What only looks at the cache asks no server, not even for what a remembered refusal is compared with.
#[test]
fn what_asks_nobody_asks_nobody_on_the_way() {
    let place = Place::new();
    let (first, second) = (issuing("one", 1), Server::answering(json(401, r#"{"error":"invalid_client"}"#)));
    profile(&place, "login", &first, "");
    profile(&place, "api", &second, EXCHANGE);
    assert_eq!(place.keyfob(["token", "api"]).outcome().code, Some(3));
    let asked = (first.requests().len(), second.requests().len());
    std::thread::sleep(Duration::from_millis(1100));
    let cache = place.path("cache");
    for words in
        [&["status", "api"][..], &["token", "api", "--offline"], &["forget", "api"], &["token", "api", "--offline"]]
    {
        let outcome = place.keyfob([words, &["--cache-dir", &cache]].concat()).outcome();
        assert_eq!((first.requests().len(), second.requests().len()), asked, "{words:?} {outcome:?}");
    }
}
