//! How many copies of its secrets a program finds in its memory that has asked for a token once, and let go of everything.
//!
//! The test is a program that starts itself under the tracer, once for each cell of its row of the table in src/docs/security.md.

use crate::common::{Seen, Server, Stream, json};
use crate::https;
use crate::tracer::{Needles, Tracer};
use keyfob::{BootClock, Client, Endpoint, Grant, HttpTransport, SecretSource};
use std::path::Path;
use std::process::{Command, ExitCode};

const CLIENT_ID: &str = "my client/7";
const CLIENT_SECRET: &str = r#"cS7+kq/Vw"h\ 3&m=Xr%2Ty~vBe-Zu9!Lp"#;
const ACCESS_TOKEN: &str = "aT9+dz/Kuag.p4ebhTlx5Jr~xVs-Oi2_Hy";

/// A program that is started for a cell is told these.
const URL: &str = "KEYFOB_TEST_URL";
const AUTHENTICATION: &str = "KEYFOB_TEST_AUTHENTICATION";
const SECRET_FILE: &str = "KEYFOB_TEST_SECRET_FILE";

const CELLS: [(&str, &str); 4] = [
    ("http", "client_secret_post"),
    ("http", "client_secret_basic"),
    ("https", "client_secret_post"),
    ("https", "client_secret_basic"),
];

/// `allocator` is the row's name; `is_sound` says whether the row may hold so many copies, two for http and two for https.
pub fn main(allocator: &str, is_sound: fn([usize; 4]) -> bool) -> ExitCode {
    if std::env::var_os(URL).is_some() {
        fetch();
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let Some(tracer) = Tracer::new(allocator) else { return ExitCode::SUCCESS };
    let counts = CELLS.map(|(scheme, authentication)| count(&tracer, scheme, authentication));
    println!("copies left with {allocator}, for http by body and by Basic, and https so: {counts:?}");
    ExitCode::from(u8::from(!is_sound(counts)))
}

/// What a careful program does: a secret from a file, one request, and nothing kept.
fn fetch() {
    let setting = |name| std::env::var(name).unwrap();
    let description = format!(r#"{{"url":"{}","auth":"{}"}}"#, setting(URL), setting(AUTHENTICATION));
    let transport = HttpTransport::new().no_proxy().roots_pem(https::CA).unwrap();
    let client = Client::with_parts(Endpoint::from_json(&description).unwrap(), transport, BootClock)
        .client_id(CLIENT_ID)
        .client_secret(SecretSource::file(setting(SECRET_FILE)));
    let token = client.fetch(&Grant::client_credentials()).unwrap();
    assert_eq!(token.expose().len(), ACCESS_TOKEN.len());
}

fn count(tracer: &Tracer, scheme: &str, authentication: &str) -> usize {
    let bytes = json(200, &format!(r#"{{"access_token":"{ACCESS_TOKEN}","expires_in":3600}}"#));
    let answer = move |_: &Seen, stream: &mut dyn Stream| {
        let _ = stream.write_all(&bytes);
    };
    let server = match scheme {
        "http" => Server::with(answer),
        _ => {
            let config = https::config(https::VALID, rustls::ALL_VERSIONS);
            let accept =
                move |stream| Some(Box::new(https::Polite(https::accept(&config, stream)?)) as Box<dyn Stream>);
            Server::start("https", Box::new(accept), Box::new(answer))
        }
    };
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("residue-{}", std::process::id()));
    std::fs::write(&file, CLIENT_SECRET).unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.env(URL, server.url("/t")).env(AUTHENTICATION, authentication).env(SECRET_FILE, &file);
    // A form for the body, Basic for the header: of the same secret only one is sent.
    let needles = Needles::default().basic(CLIENT_ID, CLIENT_SECRET).add("access token", ACCESS_TOKEN);
    let needles = needles.add("client secret", CLIENT_SECRET).form("client secret", CLIENT_SECRET);
    let scan = tracer.scan(&program, None, &[], &needles);
    std::fs::remove_file(&file).unwrap();
    assert_eq!((scan.code, server.requests().len()), (0, 1), "{scan:#?}");
    for (needle, place) in &scan.copies {
        println!("{scheme}, {authentication}: {needle} in {place}");
    }
    // The program's own words are no copies: its constants stand in memory that it cannot write to.
    scan.copies.len()
}
