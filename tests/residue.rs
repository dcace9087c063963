//! What the command leaves in its memory as it exits: no secret, in no form, whatever it was asked and was answered.
//!
//! All that it could write to is searched, free memory, stacks and buffers included, for eight bytes in a row of any secret.
//! It needs root, Linux and Python; elsewhere it is skipped, and with `CI=true` that is a failure.

#![cfg(all(unix, feature = "cli", feature = "tls"))]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/tls.rs"]
mod https;
#[path = "common/command.rs"]
mod running;
#[path = "common/jwt.rs"]
mod signing;
#[path = "common/tracer.rs"]
mod tracer;

use common::{Seen, Server, Stream, answer, json};
use running::{Place, Run};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracer::{Needles, Tracer};

// Each differs in a form, in a query, in JSON and in Basic from what it is.
const CLIENT_ID: &str = "my client/7";
const CLIENT_SECRET: &str = r#"cS7+kq/Vw"h\ 3&m=Xr%2Ty~vBé-Zu9!Lp"#;
const PASSWORD: &str = r#"pW4 gn+Jd/"t\8&z=Qe%6Ka~yFü-Mx1!Rc"#;
const SESSION_TOKEN: &str = r#"sT5+bv/Ho"u\j2&f=Ni%9Wd~lGe-Ca6!Yk"#;
const REFRESH_TOKEN: &str = r#"rT8+xm/Pz"i\w6&s=Bo%4Uh~tDn-Ev3!Qj"#;
const API_KEY: &str = r#"aK1+fy/Tb"o\c9&r=Gu%7Sl~nHk-Wi5!Zd"#;
const ASSERTION: &str = r#"aS2 qh+Ry/"e\k4&v=Lt%3Pn~mXa-Jo8!Fw"#;
const ACCESS_TOKEN: &str = r#"aT9+dz/Ku"g\p4&b=Tl%5Jr~xVs-Oi2!Hy"#;
const NEW_REFRESH_TOKEN: &str = r#"nR3+wc/Ae"s\v7&k=Yd%8Fo~qIm-Bt6!Ux"#;

fn needles() -> Needles {
    let basic = Needles::default().basic(CLIENT_ID, CLIENT_SECRET).raw_basic(CLIENT_ID, CLIENT_SECRET);
    [
        ("client secret", CLIENT_SECRET),
        ("password", PASSWORD),
        ("session token", SESSION_TOKEN),
        ("refresh token", REFRESH_TOKEN),
        ("API key", API_KEY),
        ("assertion", ASSERTION),
        ("access token", ACCESS_TOKEN),
        ("new refresh token", NEW_REFRESH_TOKEN),
    ]
    .iter()
    .fold(basic, |needles, (name, text)| needles.secret(name, text))
}

/// The secrets' files, and the roots.
fn place() -> Place {
    let place = Place::new();
    for (name, secret) in [
        ("client-secret", CLIENT_SECRET),
        ("password", PASSWORD),
        ("session-token", SESSION_TOKEN),
        ("refresh-token", REFRESH_TOKEN),
        ("api-key", API_KEY),
        ("assertion", ASSERTION),
        ("access-token", ACCESS_TOKEN),
    ] {
        place.file(&format!("here/{name}"), format!("{secret}\n"));
    }
    place.file("here/ca.pem", https::CA);
    place
}

/// What is asked: a name, and the words of the command line after `--url URL`; `revoke` has its own outcomes.
struct Asked {
    name: &'static str,
    verb: &'static str,
    options: &'static [&'static str],
    /// What stands on standard input.
    stdin: Option<&'static str>,
    /// The request holds this, so that the secrets were there to be left behind: in target, Authorization or body.
    sent: &'static str,
}

const CLIENT: [&str; 4] = ["--client-id", CLIENT_ID, "--client-secret-file", "client-secret"];

const ASKED: &[Asked] = &[
    Asked {
        name: "JSON credentials",
        verb: "token",
        options: &["--dialect", "json-credentials", CLIENT[0], CLIENT[1], CLIENT[2], CLIENT[3]],
        stdin: None,
        sent: r#""client_secret":"cS7+kq/Vw\"h\\ 3&m"#,
    },
    Asked {
        name: "JSON credentials by GET",
        verb: "token",
        options: &["--dialect", "json-credentials", "--method", "GET", CLIENT[0], CLIENT[1], CLIENT[2], CLIENT[3]],
        stdin: None,
        sent: "client_secret=cS7%2Bkq%2FVw%22h%5C%203%26m",
    },
    Asked {
        name: "bearer session",
        verb: "token",
        options: &["--dialect", "bearer-session", "--session-token-file", "session-token"],
        stdin: None,
        sent: SESSION_TOKEN,
    },
    Asked {
        name: "form credentials",
        verb: "token",
        options: &["--dialect", "form-credentials", "--scope", "s", CLIENT[0], CLIENT[1], CLIENT[2], CLIENT[3]],
        stdin: None,
        sent: "client_secret=cS7%2Bkq%2FVw%22h%5C+3%26m",
    },
    Asked {
        name: "user credentials",
        verb: "token",
        options: &["--dialect", "user-credentials", "--username", "me", "--password-file", "password"],
        stdin: None,
        sent: "password=pW4%20gn%2BJd",
    },
    Asked {
        name: "client_secret_basic",
        verb: "token",
        options: &CLIENT,
        stdin: None,
        // my+client%2F7:cS7%2Bkq
        sent: "Basic bXkrY2xpZW50JTJGNzpjUzclMkJrc",
    },
    Asked {
        name: "raw Basic, secret from standard input",
        verb: "token",
        options: &["--basic-raw", "--client-id", CLIENT_ID, "--client-secret-file", "-"],
        stdin: Some("client-secret"),
        // my client/7:cS7+kq/Vw
        sent: "Basic bXkgY2xpZW50Lzc6Y1M3K2txL1Z3",
    },
    Asked {
        name: "refresh token, with secret parameter and header",
        verb: "token",
        options: &[
            "--grant",
            "refresh_token",
            "--refresh-token-file",
            "refresh-token",
            "--param-file",
            "assertion=assertion",
            "--header-file",
            "X-Api-Key: api-key",
        ],
        stdin: None,
        sent: "assertion=aS2+qh%2BRy",
    },
    Asked {
        name: "revoke",
        verb: "revoke",
        options: &["--dialect", "bearer-session", "--access-token-file", "access-token"],
        stdin: None,
        sent: ACCESS_TOKEN,
    },
];

/// What the server does, and what that comes to.
struct Answered {
    name: &'static str,
    options: &'static [&'static str],
    answer: fn(&Seen, &mut dyn Stream),
    code: i32,
}

const ANSWERED: &[Answered] = &[
    Answered { name: "a token", options: &[], answer: token, code: 0 },
    Answered { name: "a token as header", options: &["--format", "header"], answer: token, code: 0 },
    Answered { name: "a token for curl", options: &["--format", "curl"], answer: token, code: 0 },
    Answered { name: "a token as JSON", options: &["--format", "json"], answer: token, code: 0 },
    Answered { name: "a token at the end of much, in chunks", options: &[], answer: long, code: 0 },
    Answered { name: "a refusal", options: &[], answer: refusal, code: 3 },
    Answered { name: "a refusal that echoes the request", options: &["--format", "json"], answer: echo, code: 3 },
    Answered { name: "a malformed answer", options: &[], answer: malformed, code: 5 },
    Answered { name: "no end", options: &["--timeout", "1"], answer: stalled, code: 4 },
];

/// For `revoke`: any body of a success is good.
const REVOKED: &[Answered] = &[
    Answered { name: "nothing", options: &[], answer: nothing, code: 0 },
    Answered { name: "a token as JSON", options: &["--format", "json"], answer: token, code: 0 },
    Answered { name: "a refusal", options: &[], answer: refusal, code: 3 },
    Answered { name: "a refusal that echoes the request", options: &["--format", "json"], answer: echo, code: 3 },
    Answered { name: "a malformed answer", options: &[], answer: malformed, code: 0 },
    Answered { name: "no end", options: &["--timeout", "1"], answer: stalled, code: 4 },
];

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// With escapes, as PHP writes it.
fn body() -> String {
    let access_token = quoted(ACCESS_TOKEN).replace('/', "\\/");
    format!(r#"{{"access_token":{access_token},"expires_in":3600,"refresh_token":{}}}"#, quoted(NEW_REFRESH_TOKEN))
}

fn write(stream: &mut dyn Stream, bytes: &[u8]) {
    // The client may have gone.
    let _ = stream.write_all(bytes);
}

fn token(_: &Seen, stream: &mut dyn Stream) {
    write(stream, &json(200, &body()));
}

/// Larger than the first buffer, in chunks that cut the tokens.
fn long(_: &Seen, stream: &mut dyn Stream) {
    let body = body().replacen('{', &format!(r#"{{"x":"{}","#, "x".repeat(40_000)), 1);
    write(stream, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
    let (most, rest) = body.as_bytes().split_at(40_000);
    for chunk in [most].into_iter().chain(rest.chunks(20)) {
        write(stream, format!("{:x}\r\n", chunk.len()).as_bytes());
        write(stream, chunk);
        write(stream, b"\r\n");
    }
    write(stream, b"0\r\n\r\n");
}

fn refusal(_: &Seen, stream: &mut dyn Stream) {
    write(stream, &json(401, r#"{"error":"invalid_client","error_description":"who are you"}"#));
}

/// A careless server: all that it was sent stands in its description.
fn echo(seen: &Seen, stream: &mut dyn Stream) {
    let sent = quoted(&sent(seen));
    write(stream, &json(400, &format!(r#"{{"error":"invalid_grant","error_description":{sent}}}"#)));
}

fn malformed(_: &Seen, stream: &mut dyn Stream) {
    write(stream, &json(200, &body().replace("}", "]")));
}

fn nothing(_: &Seen, stream: &mut dyn Stream) {
    write(stream, b"HTTP/1.1 204 No Content\r\n\r\n");
}

/// All but the last byte.
fn stalled(_: &Seen, stream: &mut dyn Stream) {
    let mut bytes = answer(200, &["content-type: application/json"], &body());
    bytes.pop();
    write(stream, &bytes);
    std::thread::sleep(Duration::from_secs(2));
}

/// Where secrets are sent.
fn sent(seen: &Seen) -> String {
    format!("{} {} {}", seen.target, seen.header("authorization").unwrap_or_default(), seen.body_text())
}

fn serve(scheme: &str, answer: impl Fn(&Seen, &mut dyn Stream) + Send + Sync + 'static) -> Server {
    match scheme {
        "http" => Server::with(answer),
        _ => https::server(https::config(https::VALID, rustls::ALL_VERSIONS), answer),
    }
}

/// `asked` in `place`, of a server at `url`.
fn command(place: &Place, asked: &Asked, url: &str, options: &[&str]) -> Run {
    place.keyfob([&[asked.verb, "--url", url, "--ca-file", "ca.pem", "--no-cache"], asked.options, options].concat())
}

struct Cell {
    scheme: &'static str,
    asked: &'static Asked,
    answered: &'static Answered,
}

impl Cell {
    /// What is wrong with it, if anything.
    fn check(&self, tracer: &Tracer, place: &Place, needles: &Needles) -> Result<(), String> {
        let Self { scheme, asked, answered } = self;
        let server = serve(scheme, answered.answer);
        // By name in half of the cells: that takes a thread for the look-up.
        let url = server.url("/t").replace("https://127.0.0.1", "https://localhost");
        let run = command(place, asked, &url, answered.options);
        let stdin = asked.stdin.map(|file| place.path(&format!("here/{file}")));
        let scan = tracer.scan(&run.command(), stdin.as_deref(), &[], needles);
        let is_sent = server.requests().first().is_some_and(|seen| sent(seen).contains(asked.sent));
        let is_told = answered.code != 0 || asked.verb == "revoke" || scan.stdout.contains("aT9+dz/Ku");
        if scan.copies.is_empty() && scan.searched > 100_000 && scan.code == answered.code && is_sent && is_told {
            return Ok(());
        }
        Err(format!("{scheme}, {}, {}: sent {is_sent}, told {is_told}, {scan:#?}", asked.name, answered.name))
    }
}

/// Does the work for each of them on every core, and returns what is wrong.
fn check_all<T: Sync>(items: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).min(8) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = check(item) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

#[test]
fn the_command_leaves_no_secret_in_its_memory() {
    let Some(tracer) = Tracer::new("residue") else { return };
    let mut cells = Vec::new();
    for scheme in ["http", "https"] {
        for asked in ASKED {
            let answers = if asked.verb == "revoke" { REVOKED } else { ANSWERED };
            cells.extend(answers.iter().map(|answered| Cell { scheme, asked, answered }));
        }
    }
    let (place, needles) = (place(), needles());
    let failures = check_all(&cells, |cell| cell.check(&tracer, &place, &needles));
    assert!(failures.is_empty(), "{} of {} cells:\n{}", failures.len(), cells.len(), failures.join("\n"));
    println!("{} cells, no secret in any", cells.len());
}

/// What signs, in each of the ways.
const SIGNED: &[Asked] = &[
    Asked {
        name: "EC, PEM",
        verb: "token",
        options: &["--client-id", CLIENT_ID, "--signing-key-file", "p256.sec1.pem"],
        stdin: None,
        sent: "client_assertion=eyJhbGciOiJFUzI1NiIs",
    },
    Asked {
        name: "EC, DER",
        verb: "token",
        options: &["--client-id", CLIENT_ID, "--signing-key-file", "p256.der"],
        stdin: None,
        sent: "client_assertion=eyJhbGciOiJFUzI1NiIs",
    },
    Asked {
        name: "EC, JWK on standard input",
        verb: "token",
        options: &["--client-id", CLIENT_ID, "--signing-key-file", "-"],
        stdin: Some("p256.jwk"),
        sent: "client_assertion=eyJhbGciOiJFUzI1NiIs",
    },
    Asked {
        name: "Ed25519, PEM",
        verb: "token",
        options: &["--client-id", CLIENT_ID, "--signing-key-file", "ed25519.pem"],
        stdin: None,
        sent: "client_assertion=eyJhbGciOiJFZERTQSIs",
    },
    Asked {
        name: "Ed25519, JWK",
        verb: "token",
        options: &["--client-id", CLIENT_ID, "--signing-key-file", "ed25519.jwk"],
        stdin: None,
        sent: "client_assertion=eyJhbGciOiJFZERTQSIs",
    },
    Asked {
        name: "RSA, service account",
        verb: "token",
        options: &["--grant", "jwt_bearer", "--signing-key-file", "service-account.json", "--claim", "iss=my client/7"],
        stdin: None,
        sent: "assertion=eyJhbGciOiJSUzI1NiIs",
    },
    Asked {
        name: "RSA, JWK",
        verb: "token",
        options: &["--client-id", CLIENT_ID, "--signing-key-file", "rsa.jwk"],
        stdin: None,
        sent: "client_assertion=eyJhbGciOiJQUzI1NiIs",
    },
    Asked {
        name: "RSA with 4096 bits, JWK",
        verb: "token",
        options: &["--client-id", CLIENT_ID, "--signing-key-file", "rsa.4096.jwk"],
        stdin: None,
        sent: "client_assertion=eyJhbGciOiJSUzI1NiIs",
    },
    Asked {
        name: "the client secret",
        verb: "token",
        options: &["--auth", "client_secret_jwt", CLIENT[0], CLIENT[1], CLIENT[2], CLIENT[3]],
        stdin: None,
        sent: "client_assertion=eyJhbGciOiJIUzI1NiIs",
    },
];

/// The private numbers of the keys in every form that they are computed with, and the text of their files.
fn keys(mut needles: Needles) -> Needles {
    const RSA: &[&str] = &["d", "p", "q", "dp", "dq", "qi"];
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<_>>();
    let member = |file: &str, name: &str| {
        let text = std::fs::read_to_string(signing::path(file)).unwrap();
        text.split(&format!("\"{name}\": \"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    for (file, names) in [("p256.jwk", &["d"][..]), ("ed25519.jwk", &["d"]), ("rsa.jwk", RSA), ("rsa.4096.jwk", RSA)] {
        for name in names {
            let (text, what) = (member(file, name), format!("{file} {name}"));
            let number = signing::decoded(&text);
            needles = needles.add(&format!("{what} text"), &text).bytes(&what, &number);
            needles = needles.bytes(&format!("{what} reversed"), &reversed(&number));
        }
    }
    let seed = ring::digest::digest(&ring::digest::SHA512, &signing::decoded(&member("ed25519.jwk", "d")));
    let (scalar, prefix) = seed.as_ref().split_at(32);
    // Without the bits that are set and cleared.
    needles = needles.bytes("Ed25519 scalar", &scalar[1..31]).bytes("Ed25519 prefix", prefix);
    let montgomery = montgomery(&signing::decoded(&member("p256.jwk", "d")));
    needles = needles.bytes("P-256 Montgomery", &reversed(&montgomery));
    for file in ["p256.sec1.pem", "ed25519.pem", "rsa.pem"] {
        let text = std::fs::read_to_string(signing::path(file)).unwrap();
        // Not the first line, which has the names of the algorithms.
        for (index, line) in text.lines().filter(|line| !line.starts_with('-')).enumerate() {
            let line = if index == 0 { &line[line.len().min(40)..] } else { line };
            needles = if line.len() < 8 { needles } else { needles.add(&format!("{file} line {index}"), line) };
        }
    }
    // What is signed begins with this: `{"iss":"my client/7"`.
    needles.add("assertion", "eyJpc3MiOiJteSBjbGllbnQvNyIs")
}

/// A number of P-256 times 2^256, modulo the order.
fn montgomery(number: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = *b"\xFF\xFF\xFF\xFF\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\
                               \xBC\xE6\xFA\xAD\xA7\x17\x9E\x84\xF3\xB9\xCA\xC2\xFC\x63\x25\x51";
    let mut number = number.to_vec();
    for _ in 0..256 {
        let is_over = number[0] >= 0x80;
        let mut carry = 0;
        for byte in number.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if is_over || number[..] >= ORDER[..] {
            let mut borrow = 0;
            for (byte, order) in number.iter_mut().zip(ORDER).rev() {
                let difference = i16::from(*byte) - i16::from(order) - borrow;
                (*byte, borrow) = (difference as u8, i16::from(difference < 0));
            }
        }
    }
    number
}

#[test]
fn the_command_leaves_no_key_in_its_memory() {
    let Some(tracer) = Tracer::new("residue") else { return };
    let place = place();
    for file in [
        "p256.sec1.pem",
        "p256.der",
        "p256.jwk",
        "ed25519.pem",
        "ed25519.jwk",
        "rsa.4096.jwk",
        "rsa.jwk",
        "service-account.json",
    ] {
        place.file(&format!("here/{file}"), std::fs::read(signing::path(file)).unwrap());
    }
    let answers: Vec<_> =
        ANSWERED.iter().filter(|answered| ["a token", "a refusal"].contains(&answered.name)).collect();
    let mut cells = Vec::new();
    for scheme in ["http", "https"] {
        for asked in SIGNED {
            cells.extend(answers.iter().map(|answered| Cell { scheme, asked, answered }));
        }
    }
    let needles = keys(needles());
    let failures = check_all(&cells, |cell| cell.check(&tracer, &place, &needles));
    assert!(failures.is_empty(), "{} of {} cells:\n{}", failures.len(), cells.len(), failures.join("\n"));
}

/// One run of several with the same cache.
struct Step {
    name: &'static str,
    /// The verb and more options.
    words: &'static [&'static str],
    answer: fn(&Seen, &mut dyn Stream),
    code: i32,
    /// How often the server was asked by then.
    requests: usize,
    /// This stands in the last request.
    sent: &'static str,
}

/// What all runs ask, and the runs.
const STORIES: &[(&[&str], &[Step])] = &[
    (
        &["--dialect", "user-credentials", "--username", "me", "--password-file", "password"],
        &[
            Step {
                name: "nothing is cached",
                words: &["token", "--format", "json"],
                answer: token,
                code: 0,
                requests: 1,
                sent: "password=pW4%20gn%2BJd",
            },
            Step {
                name: "a hit",
                words: &["token", "--format", "json"],
                answer: token,
                code: 0,
                requests: 1,
                sent: "",
            },
            Step {
                name: "a renewal by the refresh token",
                words: &["token", "--fresh"],
                answer: token,
                code: 0,
                requests: 2,
                sent: "refresh_token=nR3%2Bwc",
            },
            Step {
                name: "too short a life",
                words: &["token", "--min-valid", "4000"],
                answer: token,
                code: 5,
                requests: 2,
                sent: "",
            },
            Step {
                name: "a renewal without an end",
                words: &["token", "--fresh", "--timeout", "1"],
                answer: stalled,
                code: 4,
                requests: 3,
                sent: "refresh_token=nR3%2Bwc",
            },
        ],
    ),
    (
        &CLIENT,
        &[
            Step { name: "a refusal", words: &["token"], answer: refusal, code: 3, requests: 1, sent: "Basic " },
            Step { name: "a remembered one", words: &["token"], answer: token, code: 3, requests: 1, sent: "" },
            Step { name: "a token", words: &["token", "--fresh"], answer: token, code: 0, requests: 2, sent: "Basic " },
            Step {
                name: "a hit",
                words: &["token", "--format", "header"],
                answer: token,
                code: 0,
                requests: 2,
                sent: "",
            },
        ],
    ),
    (
        &["--dialect", "bearer-session", "--session-token-file", "session-token"],
        &[
            Step { name: "a token", words: &["token"], answer: token, code: 0, requests: 1, sent: SESSION_TOKEN },
            Step {
                name: "a hit",
                words: &["token", "--format", "curl"],
                answer: token,
                code: 0,
                requests: 1,
                sent: "",
            },
            Step { name: "its end", words: &["revoke"], answer: nothing, code: 0, requests: 2, sent: ACCESS_TOKEN },
            Step { name: "once more", words: &["revoke"], answer: nothing, code: 0, requests: 2, sent: "" },
        ],
    ),
];

#[test]
fn the_cache_leaves_no_secret_in_memory_either() {
    let Some(tracer) = Tracer::new("residue") else { return };
    let needles = needles();
    for scheme in ["http", "https"] {
        for (asked, steps) in STORIES {
            let place = place();
            let next = Arc::new(Mutex::new(nothing as fn(&Seen, &mut dyn Stream)));
            let answer = next.clone();
            let server = serve(scheme, move |seen, stream| {
                let answer = *answer.lock().unwrap();
                answer(seen, stream);
            });
            let url = server.url("/t");
            for step in *steps {
                *next.lock().unwrap() = step.answer;
                let run = place.keyfob([step.words, &["--url", &url, "--ca-file", "ca.pem"], asked].concat());
                let scan = tracer.scan(&run.command(), None, &[], &needles);
                let requests = server.requests();
                assert_eq!(
                    (scan.code, requests.len(), &scan.copies[..]),
                    (step.code, step.requests, &[][..]),
                    "{scheme}, {}: {scan:#?}",
                    step.name
                );
                assert!(sent(&requests[requests.len() - 1]).contains(step.sent), "{scheme}, {}", step.name);
            }
        }
    }
}

/// `keep` ends by a signal, and takes its file away.
#[test]
fn keeping_a_token_leaves_no_secret_in_memory() {
    let Some(tracer) = Tracer::new("residue") else { return };
    let needles = needles();
    for scheme in ["http", "https"] {
        let (place, server) = (place(), serve(scheme, token));
        let url = server.url("/t");
        let words = ["keep", "--file", "kept", "--url", &url, "--ca-file", "ca.pem"];
        let run = place.keyfob([&words[..], &CLIENT].concat());
        let scan = tracer.scan(&run.command(), None, &["--end", "1.5"], &needles);
        assert_eq!((scan.code, server.requests().len(), &scan.copies[..]), (0, 1, &[][..]), "{scheme}: {scan:#?}");
    }
}

/// `bench` fetches on a thread of its own, again and again, with one secret from standard input.
#[test]
fn measuring_leaves_no_secret_in_memory() {
    let Some(tracer) = Tracer::new("residue") else { return };
    let (place, needles) = (place(), needles());
    for scheme in ["http", "https"] {
        for (asked, answered, requests) in
            [(&ASKED[6], &ANSWERED[0], 2), (&ASKED[6], &ANSWERED[5], 1), (&ASKED[2], &ANSWERED[0], 4)]
        {
            let server = serve(scheme, answered.answer);
            let url = server.url("/t");
            let words = ["bench", "-n2", "--pause", "0", "--url", &url, "--ca-file", "ca.pem"];
            let run = place.keyfob([&words[..], asked.options].concat());
            let stdin = asked.stdin.map(|file| place.path(&format!("here/{file}")));
            let scan = tracer.scan(&run.command(), stdin.as_deref(), &[], &needles);
            let seen = server.requests();
            assert!(seen.len() == requests && sent(&seen[0]).contains(asked.sent), "{}: {scan:#?}", asked.name);
            assert_eq!((scan.code, &scan.copies[..]), (answered.code, &[][..]), "{scheme}, {}: {scan:#?}", asked.name);
        }
    }
}

/// The HTTP parser takes the headers in vectors, the last of which has the beginning of the body in it.
#[test]
fn no_length_of_the_headers_leaves_a_part_of_the_token() {
    let Some(tracer) = Tracer::new("residue") else { return };
    let (place, needles) = (place(), needles());
    let lengths: Vec<usize> = (0..32).collect();
    let failures = check_all(&lengths, |length| {
        let header = format!("x: {}", "x".repeat(*length));
        let server =
            Server::answering(answer(200, &[&header], &format!(r#"{{"access_token":{}}}"#, quoted(ACCESS_TOKEN))));
        let scan = tracer.scan(&command(&place, &ASKED[0], &server.url("/t"), &[]).command(), None, &[], &needles);
        if scan.code == 0 && scan.copies.is_empty() { Ok(()) } else { Err(format!("{length}: {scan:#?}")) }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn reading_an_answer_from_standard_input_leaves_nothing() {
    let Some(tracer) = Tracer::new("residue") else { return };
    let (place, needles) = (place(), needles());
    place.file("here/whole", body());
    place.file("here/malformed", body().replace('}', "]"));
    for (file, options, code) in [
        ("whole", &["parse"][..], 0),
        ("whole", &["parse", "--show-secrets"], 0),
        ("whole", &["parse", "--status", "500"], 5),
        ("malformed", &["parse"], 5),
    ] {
        let stdin = place.path(&format!("here/{file}"));
        let scan = tracer.scan(&place.keyfob(options).command(), Some(&stdin), &[], &needles);
        assert_eq!((scan.code, &scan.copies[..]), (code, &[][..]), "{options:?} {scan:#?}");
    }
}

/// The control: what is there is found. The environment stands at the top of the stack, which nobody wipes; below it the
/// command has left nothing of that secret either.
#[test]
fn a_secret_in_the_environment_is_found_there_and_nowhere_else() {
    let Some(tracer) = Tracer::new("residue") else { return };
    let (place, needles) = (place(), needles());
    for answered in [&ANSWERED[0], &ANSWERED[5]] {
        let server = serve("http", answered.answer);
        let url = server.url("/t");
        let run = || {
            let words = ["token", "--url", &url, "--dialect", "json-credentials", "--no-cache", CLIENT[0], CLIENT[1]];
            place.keyfob([&words[..], &["--client-secret-env", "SECRET"]].concat()).variable("SECRET", CLIENT_SECRET)
        };
        let scan = tracer.scan(&run().command(), None, &[], &needles);
        assert_eq!(scan.code, answered.code, "{scan:#?}");
        let whole = format!(": {} bytes, from byte 0", CLIENT_SECRET.len());
        let copies = scan.copies.iter().filter(|(needle, _)| needle == "client-secret");
        let copies: Vec<&String> = copies.map(|(_, place)| place).collect();
        assert!(copies.len() == 1 && copies[0].starts_with("[stack]") && copies[0].ends_with(&whole), "{scan:#?}");
        let scan = tracer.scan(&run().command(), None, &["--without-environment"], &needles);
        assert_eq!((scan.code, &scan.copies[..]), (answered.code, &[][..]), "{scan:#?}");
        assert!(server.requests().iter().all(|seen| sent(seen).contains(ASKED[0].sent)));
    }
}

/// The control for the heap: a program that keeps what it reads. Fewer than eight bytes are no secret.
#[test]
fn a_copy_on_the_heap_is_found() {
    let Some(tracer) = Tracer::new("residue") else { return };
    let (place, needles) = (place(), Needles::default().add("client secret", CLIENT_SECRET));
    for (length, found) in [(CLIENT_SECRET.len(), true), (8, true), (7, false)] {
        place.file("here/part", &CLIENT_SECRET.as_bytes()[..length]);
        let mut python = tracer.python();
        python.args(["-I", "-c", "import os; kept = os.read(0, 100); os._exit(3)"]);
        let scan = tracer.scan(&python, Some(&place.path("here/part")), &[], &needles);
        assert_eq!((scan.code, !scan.copies.is_empty()), (3, found), "{length} bytes: {scan:#?}");
    }
}
