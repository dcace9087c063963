//! `keyfob keep`: a fresh token in a file, for programs that can only read one.

use crate::arguments::Arguments;
use crate::events::Events;
use crate::fetch;
use crate::notify::Notify;
use crate::output::{self, Format};
use crate::settings::{self, Asked, Settings};
use crate::token_file::TokenFile;
use keyfob::{AccessToken, BootClock, Clock, Error, ErrorKind, Lifetime, TokenCache};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A token leaves the file before it is over, by a tenth of its life and a second more: whoever has read it must come to
/// use it, this process must come to remove it, and many servers count in whole seconds.
const CUT_OFF: Duration = Duration::from_secs(1);
const LONGEST_MARGIN: Duration = Duration::from_secs(6);

fn margin(left: Duration) -> Duration {
    (left / 10 + CUT_OFF).min(LONGEST_MARGIN).min(left / 2)
}

/// What lives less than this is not put into the file: it would be over by the time it is there.
const SHORTEST: Duration = Duration::from_millis(100);

/// When a token that could not be put into the file is tried again: the disk may have room by then.
const SOON: Duration = Duration::from_secs(1);

const VALID: &str = "the token is valid";

pub(crate) fn run(arguments: &Arguments, format: &mut Format) -> Result<(), Error> {
    let mut settings = Settings::read(arguments, format)?;
    let (path, mode, on_renew) = settings.kept_file()?;
    let events = Events::new()?;
    // Before the rest can fail: what an earlier run left there may be over.
    let file = TokenFile::claim(path, mode)?;
    let asked = settings.asked;
    let is_used_up = !settings.is_repeatable();
    let (grant, store) = (settings.grant()?, settings.store()?);
    let has_store = store.is_some();
    let tokens = settings::tokens(settings.client()?, grant, store);
    let keep = Keep {
        file,
        format: *format,
        has_store,
        is_used_up,
        asked,
        events,
        notify: Notify::from_environment(),
        hook: Hook { words: on_renew, child: None, is_due: false },
        min_life: Duration::ZERO,
        is_ready: false,
        told: None,
    };
    keep.run(tokens)
}

struct Keep {
    file: TokenFile,
    format: Format,
    has_store: bool,
    /// What is sent for a token may be good for one use.
    is_used_up: bool,
    asked: Asked,
    events: Events,
    notify: Notify,
    hook: Hook,
    /// What a token must live at least, for the next one to come before this one leaves the file.
    min_life: Duration,
    is_ready: bool,
    /// What was told last, so that it is told once.
    told: Option<String>,
}

/// What comes back from the thread that asks the server: the file must not wait for it.
type Fetched = (TokenCache, Result<AccessToken, Error>);

/// The thread, and whether it has done its work.
struct Away(JoinHandle<Fetched>, Arc<AtomicBool>);

impl Keep {
    fn run(mut self, mut tokens: TokenCache) -> Result<(), Error> {
        let mut next = Some(fetch::put_off(&mut tokens, self.asked)?.unwrap_or_default());
        let mut is_to_renew = self.asked.fresh;
        let (mut here, mut away) = (Some(tokens), None::<Away>);
        while !self.events.is_end() {
            let now = BootClock.now();
            if self.file.until().is_some_and(|until| until <= now) {
                self.file.remove();
                self.tell("the token is over, and there is no new one yet");
            }
            if self.events.is_hangup() {
                is_to_renew = true;
                self.notify.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_microseconds()));
            }
            self.hook.go_on();
            if let Some(Away(thread, _)) = away.take_if(|Away(_, is_done)| is_done.load(Ordering::Acquire)) {
                let (mut tokens, result) =
                    thread.join().map_err(|_| Error::new(ErrorKind::Internal, "the fetch ended without a result"))?;
                next = self.take(&mut tokens, result)?;
                here = Some(tokens);
            }
            if is_to_renew || next.is_some_and(|next| next <= now) {
                if let Some(tokens) = here.take() {
                    away = Some(self.send_away(tokens, std::mem::take(&mut is_to_renew))?);
                    next = None;
                }
            }
            self.events.wait([self.file.until(), next].into_iter().flatten().min());
        }
        self.notify.send("STOPPING=1");
        self.file.remove();
        // A fetch that is under way ends with the process, but not one that may bring a new refresh token: the old one is
        // used up then. It takes as long as --timeout allows.
        if let (Some(away), true) = (away, self.is_used_up) {
            let _ = away.0.join();
        }
        Ok(())
    }

    /// Has a thread ask the server.
    fn send_away(&self, mut tokens: TokenCache, renew: bool) -> Result<Away, Error> {
        let done = Arc::new(AtomicBool::new(false));
        let is_done = done.clone();
        let (wake, min_life) = (self.events.waker(), self.min_life);
        let work = move || {
            let result = match renew {
                true => tokens.renew(),
                // If a longer life is not to be had, any that is left will do.
                false => tokens.token_valid_for(min_life).or_else(|_| tokens.token()),
            };
            done.store(true, Ordering::Release);
            wake();
            (tokens, result)
        };
        match std::thread::Builder::new().name("keyfob-fetch".into()).spawn(work) {
            Ok(thread) => Ok(Away(thread, is_done)),
            Err(error) => Err(Error::new(ErrorKind::Internal, "no thread can be started").with_source(error)),
        }
    }

    /// Takes over what a fetch came to; returns when the next is due.
    fn take(&mut self, tokens: &mut TokenCache, result: Result<AccessToken, Error>) -> Result<Option<Duration>, Error> {
        let now = BootClock.now();
        let mut again = None;
        match result {
            Ok(token) if token.lifetime() == Lifetime::Once => {
                let error = Error::new(
                    ErrorKind::Unusable,
                    "the server says the token lives 0 s or less, so it cannot be kept",
                )
                .with_hint("if it means something else, say so (--lifetime)");
                // The one before is good for a while, and the server may think better of it.
                if self.file.until().is_none() {
                    return Err(error);
                }
                self.tell(&error.to_string());
            }
            Ok(token) if token.remaining(now).is_some_and(|left| left < SHORTEST) => {
                self.tell("the token is over before anybody could read it");
                again = Some(now + SOON);
            }
            Ok(token) => match (self.put(&token, now), tokens.last_failure()) {
                (Ok(()), Some(error)) => self.tell(&format!("the token is valid, but was not renewed: {error}")),
                (Ok(()), None) => self.tell(VALID),
                (Err(error), _) if !self.is_ready => return Err(error),
                (Err(error), _) => {
                    self.tell(&error.to_string());
                    again = Some(now + SOON);
                }
            },
            // Nothing that waiting would mend, and nobody has been promised a token yet.
            Err(error) if error.kind() == ErrorKind::Config && !self.is_ready => return Err(error),
            // The failure itself, whose words stay the same while it is remembered; but a secret that cannot be read any
            // more has stopped this very attempt.
            Err(error) if error.retry_after().is_some() => {
                self.tell(&tokens.last_failure().unwrap_or(error).to_string());
            }
            Err(error) => self.tell(&error.to_string()),
        }
        if self.is_ready {
            // Again after each renewal, for a reload ends with it.
            self.notify.send("READY=1");
        }
        // When what is left is no longer what a token must live: a third of that before it leaves the file.
        let early = self.file.until().map(|until| until.saturating_sub(self.min_life / 3));
        let next = tokens.next_attempt();
        Ok([next, early.filter(|early| *early > now), again].into_iter().flatten().min())
    }

    /// Puts the token into the file, if it is another one.
    fn put(&mut self, token: &AccessToken, now: Duration) -> Result<(), Error> {
        if self.file.holds(token) {
            return Ok(());
        }
        let left = token.remaining(now);
        let margin = left.map_or(Duration::ZERO, margin);
        let until = left.map_or(Duration::MAX, |left| now.saturating_add(left - margin));
        let line = output::render(token, left, self.format, output::origin(token, self.has_store))?;
        self.file.write(token, &line, until)?;
        (self.min_life, self.is_ready) = (margin * 3 / 2, true);
        self.hook.is_due = true;
        self.hook.go_on();
        Ok(())
    }

    /// Tells systemd, and who reads standard error, unless it is what was told before.
    fn tell(&mut self, text: &str) {
        if self.told.as_deref() != Some(text) {
            self.notify.send(&format!("STATUS={text}"));
            if self.asked.verbose || text != VALID {
                output::note(&format!("keyfob: {text}"));
            }
            self.told = Some(text.to_owned());
        }
    }
}

/// What is started after each renewal, one at a time and never with the token.
struct Hook {
    words: Vec<String>,
    child: Option<Child>,
    is_due: bool,
}

impl Hook {
    /// Starts it if it is due and the one before has ended.
    fn go_on(&mut self) {
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) if !status.success() => output::note(&format!("keyfob: --on-renew: {status}")),
                _ => {}
            }
            self.child = None;
        }
        let [program, arguments @ ..] = &self.words[..] else { return };
        if std::mem::take(&mut self.is_due) {
            // What it prints is for the same reader as what keep says.
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).stdout(std::io::stderr()).env_remove("NOTIFY_SOCKET");
            match command.spawn() {
                Ok(child) => self.child = Some(child),
                Err(error) => output::note(&format!("keyfob: --on-renew: {program}: {}", output::reason(&error))),
            }
        }
    }
}

/// What systemd compares a reload with: CLOCK_MONOTONIC, in microseconds.
fn monotonic_microseconds() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}
