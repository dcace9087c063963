//! The `keyfob` command: arguments, profiles, output. The work is the library's.

#![forbid(unsafe_code)]

extern crate alloc;

mod arguments;
mod bench;
#[cfg(feature = "demo")]
mod demo;
mod events;
mod fetch;
mod hand_over;
mod keep;
mod notify;
mod output;
mod parse;
mod process;
mod profile;
mod settings;
mod stderr;
mod terminal;
mod token_file;
#[path = "../../words.rs"]
mod words;

use arguments::{Arguments, Verb};
use keyfob::{Error, ErrorKind, Lifetime, TokenCache};
use output::Format;
use settings::Settings;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Every block of memory is wiped as it is freed: rustls keeps copies of tokens that keyfob cannot reach.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// A fetch that takes longer tells a person at a terminal what it waits for.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    process::harden();
    if std::env::args_os().len() < 2 {
        output::note(arguments::HELP.trim_end());
        return ExitCode::from(2);
    }
    // The format decides how an error is shown, that of a wrong option too.
    let mut format = arguments::requested_format();
    match run(&mut format) {
        Ok(code) => code,
        Err(error) => output::failure(&error, hand_over::format_of_error(format)),
    }
}

fn run(format: &mut Format) -> Result<ExitCode, Error> {
    let arguments = Arguments::from_command_line()?;
    match arguments.verb {
        Verb::Help => output::line(arguments::HELP.trim_end())?,
        Verb::Version => output::line(concat!("keyfob ", env!("CARGO_PKG_VERSION")))?,
        Verb::Parse => return parse::run(&arguments),
        Verb::Token => token(&arguments, format)?,
        Verb::Revoke => revoke(&arguments, format)?,
        Verb::Keep => keep::run(&arguments, format)?,
        Verb::Bench => return bench::run(arguments, format),
        Verb::Demo => demo()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn token(arguments: &Arguments, format: &mut Format) -> Result<(), Error> {
    // What is sent for it may be used up, so not for nothing.
    output::check_stdout()?;
    let mut settings = Settings::read(arguments, format)?;
    let asked = settings.asked;
    if !settings.is_repeatable() {
        // Ended in between, what was sent would be used up, and what came for it lost.
        events::finish_first();
    }
    let (grant, store) = (settings.grant()?, settings.store()?);
    let has_store = store.is_some();
    let client = settings.client()?;
    let mut tokens = match has_store {
        true => settings::tokens(client, grant, store),
        // Nobody renews it, so it is not asked when this device would.
        false => TokenCache::new(client, grant),
    };
    let host = tokens.client().endpoint().authority().to_owned();
    let token = while_telling(&host, || fetch::token(&mut tokens, asked))?;
    let cache = output::origin(&token, has_store);
    asked.tell(&format!("cache: {cache}"));
    let remaining = token.remaining(tokens.client().now());
    output::line(&output::render(&token, remaining, *format, cache)?)?;
    match (token.lifetime(), fetch::unbelieved(&token)) {
        (Lifetime::Once, _) => {
            output::hint("the server says the token lives 0 s or less; if it means something else, say so (--lifetime)")
        }
        (Lifetime::Unknown, Some(said)) => output::hint(&said),
        (Lifetime::Unknown, None) if has_store => {
            let why = "not stored: the answer does not say how long the token lives (--lifetime)";
            // Each run of a script would say it again.
            if std::io::stderr().is_terminal() && !asked.verbose {
                output::hint(why);
            }
            asked.tell(why);
        }
        _ => {}
    }
    Ok(())
}

fn revoke(arguments: &Arguments, format: &mut Format) -> Result<(), Error> {
    let mut settings = Settings::read(arguments, format)?;
    let (named, asked) = (settings.access_token()?, settings.asked);
    if named.is_none() && asked.no_cache {
        return Err(Error::new(ErrorKind::Config, "revoke: there is no token to end")
            .with_hint("name the file that holds it (--access-token-file)"));
    }
    let (grant, store) = (settings.grant(), settings.store()?);
    let client = settings.client()?;
    let host = client.endpoint().authority().to_owned();
    let Ok(grant) = grant else {
        // Without the secrets nobody can say which of the cached tokens it is.
        let Some(named) = named else { return output::revoked(false, *format) };
        while_telling(&host, || client.revoke(named))?;
        return output::revoked(true, *format);
    };
    let mut tokens = settings::tokens(client, grant, store);
    let cached = tokens.at_hand(Duration::ZERO);
    match (named, cached) {
        (Some(named), Ok(Some(cached))) if cached.expose() == named.expose() => {
            while_telling(&host, || tokens.revoke())?;
        }
        (Some(named), _) => while_telling(&host, || tokens.client().revoke(named))?,
        (None, cached) => match cached? {
            Some(_) => while_telling(&host, || tokens.revoke())?,
            None => return output::revoked(false, *format),
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
    Err(Error::new(ErrorKind::Config, "demo: this build does not have it")
        .with_hint("cargo run --release --features demo -- demo"))
}

/// Does the work; on a terminal it says what it waits for, if that takes long.
fn while_telling<T>(host: &str, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let done = Arc::new(AtomicBool::new(false));
    let is_done = done.clone();
    let message = format!("keyfob: waiting for {host} …");
    // Without the thread the person waits in silence, and that is all.
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
