//! The `keyfob` command: arguments, profiles and output. The library does the work.

#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "tools"), allow(dead_code, reason = "the verbs of `tools` use more of it"))]

extern crate alloc;

mod arguments;
#[cfg(feature = "tools")]
mod bench;
#[cfg(feature = "tools")]
#[path = "../../calendar.rs"]
mod calendar;
mod chain;
mod connection;
#[cfg(feature = "tls")]
#[allow(dead_code, reason = "the library uses more of it")]
#[path = "../../der.rs"]
mod der;
#[cfg(feature = "demo")]
mod demo;
mod events;
mod exec;
mod failure;
mod fetch;
mod format;
#[cfg(feature = "tools")]
mod from_curl;
mod hand_over;
mod help;
#[cfg(feature = "tools")]
mod helper;
#[cfg(feature = "tools")]
mod introspect;
mod keep;
mod members;
mod notify;
mod options;
mod output;
mod parse;
mod pipe;
#[cfg(feature = "tools")]
mod probe;
mod process;
mod profile;
mod secrets;
mod settings;
mod sign_command;
mod status;
mod stderr;
mod terminal;
mod token_file;
mod verbose;
#[path = "../../words.rs"]
mod words;

use arguments::{Arguments, Topic, Verb};
use format::Format;
use keyfob::{Error, ErrorKind, Lifetime, TokenCache};
use settings::Settings;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Wipes each block of memory when it is freed: rustls makes copies of tokens that keyfob cannot reach.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// After this time a fetch reports at a terminal what it waits for.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    process::harden();
    if std::env::args_os().len() < 2 {
        output::note(help::text(Topic::All).trim_end());
        return ExitCode::from(2);
    }
    // The format also decides how an error is shown, even that of a wrong option.
    let mut format = arguments::requested_format();
    match run(&mut format) {
        Ok(code) => code,
        Err(error) => failure::report(&error, hand_over::format_of_error(format)),
    }
}

fn run(format: &mut Format) -> Result<ExitCode, Error> {
    let arguments = Arguments::from_command_line()?;
    match arguments.verb {
        Verb::Help => output::line(help::text(arguments.topic).trim_end())?,
        Verb::Version => output::line(concat!("keyfob ", env!("CARGO_PKG_VERSION")))?,
        Verb::Parse => return parse::run(&arguments),
        Verb::Token => token(&arguments, format)?,
        Verb::Revoke => revoke(&arguments, format)?,
        Verb::Keep => keep::run(&arguments, format)?,
        #[cfg(feature = "tools")]
        Verb::Helper => helper::run(arguments, format)?,
        #[cfg(feature = "tools")]
        Verb::Introspect => return introspect::run(&arguments, format),
        Verb::Status => return status::run(arguments, format),
        Verb::Forget => status::forget(arguments, format)?,
        Verb::Exec => return exec::run(arguments, format),
        #[cfg(feature = "tools")]
        Verb::Bench => return bench::run(arguments, format),
        #[cfg(feature = "tools")]
        Verb::Probe => return probe::run(&arguments, format),
        #[cfg(feature = "tools")]
        Verb::FromCurl => from_curl::run(&arguments)?,
        #[cfg(not(feature = "tools"))]
        Verb::Bench | Verb::Probe | Verb::FromCurl | Verb::Helper | Verb::Introspect => {
            return Err(Error::new(
                ErrorKind::Config,
                "bench, probe, from-curl, helper and introspect: not in this build",
            )
            .with_hint("build it with the feature `cli`, not with `command` alone"));
        }
        Verb::Demo => demo()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn token(arguments: &Arguments, format: &mut Format) -> Result<(), Error> {
    // Check this before sending a grant that may be good for one use.
    output::check_stdout()?;
    let mut settings = Settings::read(arguments, format)?;
    let asked = settings.asked;
    if settings.may_be_used_up() {
        // Otherwise a signal in the meantime would use up the grant and lose the answer.
        let _ = events::finish_first();
    }
    let (grant, store) = (settings.grant()?, settings.store()?);
    let has_store = store.is_some();
    let client = settings.client()?;
    let mut tokens = match has_store {
        true => settings::tokens(client, grant, store),
        // This cache is never renewed, so it needs no spread.
        false => TokenCache::new(client, grant),
    };
    let host = tokens.client().endpoint().authority().to_owned();
    let token = while_saying(&host, || fetch::token(&mut tokens, asked))?;
    let cache = format::origin(&token, has_store);
    asked.log(&format!("cache: {cache}"));
    let remaining = token.remaining(tokens.client().now());
    output::line(&format.render(&token, remaining, cache)?)?;
    match (token.lifetime(), fetch::unbelieved(&token)) {
        (Lifetime::Once, _) => failure::hint(
            "the server says the token lives 0 s or less; if it means something else, set the lifetime (--lifetime)",
        ),
        (Lifetime::Unknown, Some(said)) => failure::hint(&said),
        (Lifetime::Until(_), Some(said)) => asked.log(&said),
        (Lifetime::Unknown, None) if has_store => {
            let why = "not stored: the answer does not say how long the token lives (--lifetime)";
            // Not in scripts, where it would repeat with each run.
            if std::io::stderr().is_terminal() && !asked.verbose {
                failure::hint(why);
            }
            asked.log(why);
        }
        _ => {}
    }
    Ok(())
}

fn revoke(arguments: &Arguments, format: &mut Format) -> Result<(), Error> {
    let mut settings = Settings::read(arguments, format)?;
    let (named, asked) = (settings.access_token()?, settings.asked);
    if named.is_none() && asked.no_cache {
        return Err(Error::new(ErrorKind::Config, "revoke: no token to end")
            .with_hint("name the file that contains it (--access-token-file)"));
    }
    let (grant, store) = (settings.grant(), settings.store()?);
    let client = settings.client()?;
    let host = client.endpoint().authority().to_owned();
    let Ok(grant) = grant else {
        // Without the secrets the cached token cannot be found.
        let Some(named) = named else { return output::revoked(false, *format) };
        while_saying(&host, || client.revoke(named))?;
        return output::revoked(true, *format);
    };
    let mut tokens = settings::tokens(client, grant, store);
    let cached = tokens.at_hand(Duration::ZERO);
    match (named, cached) {
        (Some(named), Ok(Some(cached))) if cached.expose() == named.expose() => {
            while_saying(&host, || tokens.revoke())?;
        }
        (Some(named), _) => while_saying(&host, || tokens.client().revoke(named))?,
        (None, cached) => match cached? {
            Some(_) => while_saying(&host, || tokens.revoke())?,
            None => {
                // Fails if the endpoint has no way to end a token.
                tokens.revoke()?;
                return output::revoked(false, *format);
            }
        },
    }
    output::revoked(true, *format)
}

#[cfg(feature = "demo")]
fn demo() -> Result<(), Error> {
    demo::run()
}

#[cfg(not(feature = "demo"))]
fn demo() -> Result<(), Error> {
    Err(Error::new(ErrorKind::Config, "demo: not in this build")
        .with_hint("cargo run --release --features demo -- demo"))
}

/// Runs `work`. If it takes long, reports at a terminal which host it waits for.
fn while_saying<T>(host: &str, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let done = Arc::new(AtomicBool::new(false));
    let is_done = done.clone();
    let message = format!("keyfob: waiting for {host} …");
    // If the thread cannot be started, the report is left out.
    let teller = std::thread::Builder::new().spawn(move || {
        let end = Instant::now() + PATIENCE;
        while !is_done.load(Ordering::Acquire) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return output::note(&message);
            }
            std::thread::park_timeout(left);
        }
    });
    let result = work();
    done.store(true, Ordering::Release);
    if let Ok(teller) = teller {
        teller.thread().unpark();
        let _ = teller.join();
    }
    result
}
