//! `keyfob keep`: keeps a fresh token in a file, for programs that can only read a file.

mod hook;
mod watch;

use crate::arguments::Arguments;
use crate::events::{self, Events};
use crate::exec::program::{Change, Program, stop};
use crate::failure::{self, whole_seconds};
use crate::fetch;
use crate::format::{Format, origin};
use crate::notify::Notify;
use crate::output;
use crate::settings::{self, Asked, Settings};
use crate::stderr;
use crate::token_file::TokenFile;
use hook::Hook;
use keyfob::{AccessToken, BootClock, Clock, Error, ErrorKind, Lifetime, TokenCache};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;
pub(crate) use watch::Watch;

/// A token is removed from the file before it expires, a tenth of its life and a second earlier: a reader needs time to
/// use it, this process needs time to remove it, and many servers count in whole seconds.
const CUT_OFF: Duration = Duration::from_secs(1);
const LONGEST_MARGIN: Duration = Duration::from_secs(6);

pub(crate) fn margin(left: Duration) -> Duration {
    (left / 10 + CUT_OFF).min(LONGEST_MARGIN).min(left / 2)
}

/// A token with a shorter life is not put into the file: it would expire in the meantime.
const SHORTEST: Duration = Duration::from_millis(100);

/// The wait before an action that failed for lack of a resource (disk space, a thread) is tried again.
const SOON: Duration = Duration::from_secs(1);

const TOO_SHORT: &str = "the token expires before anyone could read it";
const VALID: &str = "the token is valid";
const EXPIRED: &str = "the token has expired, and there is no new one yet";

pub(crate) fn run(arguments: &Arguments, format: &mut Format) -> Result<(), Error> {
    stderr::never_wait();
    let mut settings = Settings::read(arguments, format)?;
    let (path, mode, on_renew) = settings.kept_file()?;
    let secret_variables = settings.secret_variables();
    // Do this first, before anything can fail: a token that an earlier run left in the file may have expired.
    let file = TokenFile::claim(path, mode)?;
    let asked = settings.asked;
    let is_used_up = settings.may_be_used_up();
    let (grant, store) = (settings.grant()?, settings.store()?);
    let watch = store.as_ref().map(|store| Watch::new(store.path()));
    let mut tokens = settings::tokens(settings.client()?, grant, store);
    let delay = fetch::delay(&mut tokens, asked)?;
    // Only after reading the secrets, which may block for ever: until here a signal ends the process.
    let mut keep = Keep::new(file, *format, watch, (asked, is_used_up), Events::new()?);
    keep.notify = Notify::from_environment();
    keep.hook = Hook::new(on_renew, secret_variables);
    if let Some(until) = delay {
        let seconds = until.as_secs();
        keep.notify.send(&format!("STATUS=the first fetch is delayed until {seconds} s after boot (--splay)"));
    }
    keep.run(tokens, Some(delay.unwrap_or_default())).map(|_| ())
}

pub(crate) struct Keep {
    file: TokenFile,
    format: Format,
    /// None without a store.
    watch: Option<Watch>,
    /// Whether the grant may be good for one use only.
    is_used_up: bool,
    asked: Asked,
    events: Events,
    notify: Notify,
    hook: Hook,
    /// The program, if there is one. `keep` then ends with the program, and the program gets all signals.
    program: Option<Program>,
    /// The minimum life of a token: with it the next token arrives before this one is removed from the file.
    min_life: Duration,
    is_ready: bool,
    /// The last report, to avoid a repetition.
    reported: Option<String>,
    /// The token that was removed because of its age, and the minimum life with which it may return.
    outdated: Option<(AccessToken, Duration)>,
    /// When the removal of a file is tried again.
    remove_again: Option<Duration>,
    /// The end of a wait that the server asked for.
    not_before: Duration,
}

/// A task for a thread that owns the cache in the meantime. Every step that reads secrets or asks the server is such a
/// task, because the file must not wait for it.
#[derive(Clone, Copy)]
enum Task {
    Renew,
    /// Get a token with this minimum life, or else any valid one.
    Token(Duration),
    /// Examine the store.
    Follow,
}

enum Outcome {
    Token(Result<AccessToken, Error>),
    /// The content of the store that replaces the token in the file.
    Followed(Followed),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    Same,
    Replaced,
    Ended,
}

/// The thread, and whether it has finished.
struct Away {
    thread: JoinHandle<Option<(TokenCache, Outcome)>>,
    is_done: Arc<AtomicBool>,
    is_asking: bool,
}

impl Task {
    fn run(self, tokens: &mut TokenCache) -> Outcome {
        match self {
            Self::Renew => Outcome::Token(tokens.renew()),
            // If no token has a longer life, any valid one will do.
            Self::Token(min_life) => Outcome::Token(tokens.token_valid_for(min_life).or_else(|_| tokens.token())),
            Self::Follow => Outcome::Followed(match tokens.follow_store() {
                false => Followed::Same,
                true if matches!(tokens.at_hand(Duration::ZERO), Ok(Some(_))) => Followed::Replaced,
                true => Followed::Ended,
            }),
        }
    }
}

impl Keep {
    pub(crate) fn new(
        file: TokenFile,
        format: Format,
        watch: Option<Watch>,
        (asked, is_used_up): (Asked, bool),
        events: Events,
    ) -> Self {
        Self {
            file,
            format,
            watch,
            is_used_up,
            asked,
            events,
            notify: Notify::none(),
            hook: Hook::new(Vec::new(), Vec::new()),
            program: None,
            min_life: Duration::ZERO,
            is_ready: false,
            reported: None,
            outdated: None,
            remove_again: None,
            not_before: Duration::ZERO,
        }
    }

    /// Puts the first token of a program into the file. Returns when the next one is due.
    pub(crate) fn begin(&mut self, tokens: &mut TokenCache, token: AccessToken) -> Result<Option<Duration>, Error> {
        let next = self.take(tokens, Ok(token))?;
        match self.file.token() {
            Some(_) => Ok(next),
            None => Err(Error::new(ErrorKind::Unusable, TOO_SHORT)),
        }
    }

    /// Keeps the token until the program has ended. Returns the program.
    pub(crate) fn run_program(
        mut self,
        tokens: TokenCache,
        next: Option<Duration>,
        program: Program,
    ) -> Result<Program, Error> {
        self.program = Some(program);
        self.run(tokens, next)?.ok_or_else(|| Error::new(ErrorKind::Internal, "the program was lost"))
    }

    /// Runs until a signal or until the end of the program. `next` is when the next token is due.
    fn run(mut self, tokens: TokenCache, mut next: Option<Duration>) -> Result<Option<Program>, Error> {
        let mut is_to_renew = self.asked.fresh && !self.is_ready;
        let (mut here, mut away) = (Some(tokens), None::<Away>);
        while !self.events.is_end() {
            let now = BootClock.now();
            // Check this before anything else, whatever the event was.
            let is_over = self.file.until().is_some_and(|until| until <= now);
            if is_over || self.remove_again.is_some_and(|again| again <= now) {
                if let Some(token) = self.file.token() {
                    // A token with so little life left is not put back.
                    let left = token.remaining(now).unwrap_or_default();
                    self.outdated = Some((token.clone(), left + left / 2));
                }
                self.take_out(now, EXPIRED);
                if let (true, Some(program)) = (is_over, &mut self.program) {
                    program.token_ended(now);
                }
            }
            match self.program.as_mut().map(|program| program.go_on(now, &mut self.events)) {
                Some(Change::Ended) => break,
                Some(Change::Stopped) => self.stop(),
                Some(Change::None) | None => {}
            }
            if self.events.is_hangup() {
                is_to_renew = true;
                self.notify.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_microseconds()));
            }
            self.hook.go_on(now, &self.events);
            if let Some(away) = away.take_if(|away| away.is_done.load(Ordering::Acquire)) {
                let (mut tokens, outcome) = away
                    .thread
                    .join()
                    .ok()
                    .flatten()
                    .ok_or_else(|| Error::new(ErrorKind::Internal, "the fetch ended without a result"))?;
                match outcome {
                    Outcome::Token(result) => next = self.take(&mut tokens, result)?,
                    Outcome::Followed(Followed::Same) => {}
                    Outcome::Followed(followed) => {
                        if followed == Followed::Ended && self.file.token().is_some() {
                            self.take_out(now, "another process has revoked the token, and there is no new one yet");
                        }
                        next = Some(now);
                    }
                }
                here = Some(tokens);
            }
            if is_to_renew && here.is_some() && now < self.not_before {
                is_to_renew = false;
                self.report("not renewed: the server asked to wait", None, Some(self.not_before));
                self.report_ready();
            }
            let is_due = next.is_some_and(|next| next <= now);
            let task = if here.is_none() {
                None
            } else if is_to_renew {
                Some(Task::Renew)
            } else if is_due {
                Some(Task::Token(self.min_life))
            } else {
                let is_changed = self.watch.as_mut().is_some_and(|watch| watch.has_changed(now));
                is_changed.then_some(Task::Follow)
            };
            match task.map(|task| self.send_away(&mut here, task)) {
                None => {}
                Some(Ok(thread)) => {
                    if thread.is_asking {
                        (next, is_to_renew) = (None, false);
                    }
                    away = Some(thread);
                }
                // The attempt is repeated later; until then the token in the file stays valid.
                Some(Err(error)) => {
                    next = Some(now + SOON);
                    self.report(&error.to_string(), None, next);
                }
            }
            let is_waiting = here.is_some();
            let wakes = [
                self.file.until(),
                self.remove_again,
                next.filter(|_| is_waiting),
                self.hook.again,
                self.notify.go_on(now, self.is_ready),
                self.watch.as_ref().map(|watch| watch.at).filter(|_| is_waiting),
                self.program.as_ref().and_then(|program| program.kill_at),
            ];
            self.events.wait(wakes.into_iter().flatten().min());
        }
        let removed = self.file.remove();
        self.notify.send("STOPPING=1");
        // A fetch in progress ends with the process, unless it may bring a new refresh token, because the old one is
        // then used up. It is bounded by --timeout, and another signal ends it: reading a secret may block for ever.
        if let (Some(Away { thread, is_asking: true, .. }), true) = (away, self.is_used_up) {
            events::end_at_next_signal();
            let _ = thread.join();
        }
        match self.program {
            // The program's own result is more important.
            Some(program) => {
                if let Err(error) = removed {
                    failure::warn(&error);
                }
                Ok(Some(program))
            }
            None => removed.map(|()| None),
        }
    }

    /// Stops this process until it is continued. Removes the token from the file first, because it could expire in the
    /// meantime.
    fn stop(&mut self) {
        let token = self.file.token().cloned();
        let _ = self.file.remove();
        stop();
        let now = BootClock.now();
        if let Some(token) = token.filter(|token| token.remaining(now).is_none_or(|left| left >= SHORTEST)) {
            let _ = self.put(&token, now);
        }
        if let Some(program) = &self.program {
            program.go_on_too();
        }
    }

    /// Removes the token from the file. If that fails, it is tried again later.
    fn take_out(&mut self, now: Duration, why: &str) {
        match self.file.remove() {
            Ok(()) => {
                self.remove_again = None;
                self.report(why, None, None);
            }
            Err(error) => {
                self.remove_again = Some(now + SOON);
                self.report(&error.to_string(), None, None);
            }
        }
    }

    /// Starts a thread for the task. If that fails, the cache is kept.
    fn send_away(&self, here: &mut Option<TokenCache>, task: Task) -> Result<Away, Error> {
        let done = Arc::new(AtomicBool::new(false));
        let (is_done, wake) = (done.clone(), self.events.waker());
        let (give, given) = sync_channel::<TokenCache>(1);
        let work = move || {
            let mut tokens = given.recv().ok()?;
            let outcome = task.run(&mut tokens);
            done.store(true, Ordering::Release);
            wake();
            Some((tokens, outcome))
        };
        match std::thread::Builder::new().name("keyfob-fetch".into()).spawn(work) {
            Ok(thread) => {
                if let Some(tokens) = here.take() {
                    let _ = give.send(tokens);
                }
                Ok(Away { thread, is_done, is_asking: !matches!(task, Task::Follow) })
            }
            Err(error) => {
                let why = format!("cannot start a thread: {}", output::reason(&error));
                Err(Error::new(ErrorKind::Internal, why).with_source(error))
            }
        }
    }

    /// Takes over the result of a fetch; returns when the next one is due.
    fn take(&mut self, tokens: &mut TokenCache, result: Result<AccessToken, Error>) -> Result<Option<Duration>, Error> {
        let now = BootClock.now();
        let mut again = None;
        let failure = match result {
            Ok(token) if token.lifetime() == Lifetime::Once => {
                let error = Error::new(
                    ErrorKind::Unusable,
                    "the server says the token lives 0 s or less, so it cannot be kept",
                )
                .with_hint("if it means something else, set the lifetime (--lifetime)");
                // The previous token is still valid, and the next answer may be better.
                if self.file.until().is_none() {
                    return Err(error);
                }
                Some(error)
            }
            Ok(token) if token.remaining(now).is_some_and(|left| left < SHORTEST) => {
                again = Some(now + SOON);
                Some(Error::new(ErrorKind::Unusable, TOO_SHORT))
            }
            Ok(token) => match self.put(&token, now) {
                Ok(()) => tokens.last_failure(),
                Err(error) if !self.is_ready => return Err(error),
                Err(error) => {
                    again = Some(now + SOON);
                    Some(error)
                }
            },
            // Waiting would not help, and the file has never had a token.
            Err(error) if error.kind() == ErrorKind::Config && !self.is_ready => return Err(error),
            // Prefer the remembered failure, because its text stays the same. There is none if this attempt failed on a
            // secret that could not be read.
            Err(error) if error.retry_after().is_some() => Some(tokens.last_failure().unwrap_or(error)),
            Err(error) => Some(error),
        };
        // The moment when the remaining life falls below the minimum: a third of the minimum before the removal.
        let early = self.file.until().map(|until| until.saturating_sub(self.min_life / 3));
        let next = [tokens.next_attempt(), early.filter(|early| *early > now), again].into_iter().flatten().min();
        match failure {
            None => {
                if let Some(next) = next {
                    self.asked.log(&format!("the next renewal is in {} s", whole_seconds(next.saturating_sub(now))));
                }
                self.report(VALID, None, None);
            }
            Some(error) => {
                if let (ErrorKind::Wait, Some(wait)) = (error.kind(), error.retry_after()) {
                    self.not_before = now.saturating_add(wait);
                }
                let valid = if self.file.token().is_some() && again.is_none() && error.kind() != ErrorKind::Config {
                    "the token is valid, but was not renewed: "
                } else {
                    ""
                };
                self.report(&format!("{valid}{error}"), error.hint(), next);
            }
        }
        self.report_ready();
        Ok(next)
    }

    /// Reports readiness after each renewal, because that also ends a reload.
    fn report_ready(&mut self) {
        if self.is_ready {
            self.notify.ready();
        }
    }

    /// Puts the token into the file, unless it is already there.
    fn put(&mut self, token: &AccessToken, now: Duration) -> Result<(), Error> {
        let left = token.remaining(now);
        let is_outdated = |(old, least): &(AccessToken, Duration)| {
            old.expose() == token.expose() && left.is_some_and(|left| left < *least)
        };
        if self.file.holds(token) || self.outdated.as_ref().is_some_and(is_outdated) {
            return Ok(());
        }
        let margin = left.map_or(Duration::ZERO, margin);
        let until = left.map_or(Duration::MAX, |left| now.saturating_add(left - margin));
        let cache = origin(token, self.watch.is_some());
        let line = self.format.render(token, left, cache)?;
        self.file.write(token, &line, until)?;
        (self.min_life, self.is_ready) = (margin * 3 / 2, true);
        (self.outdated, self.remove_again) = (None, None);
        self.asked.log(&format!("the new token is in the file; cache: {cache}"));
        if let Some(said) = fetch::unbelieved(token) {
            self.asked.log(&said);
        }
        self.hook.is_due = true;
        self.hook.go_on(now, &self.events);
        Ok(())
    }

    /// Reports to systemd and on standard error, with the time of the next attempt. A repeated report is left out.
    fn report(&mut self, text: &str, hint: Option<&str>, next: Option<Duration>) {
        if self.reported.as_deref() == Some(text) && !self.asked.verbose {
            return;
        }
        let left = next.map(|next| failure::whole_seconds(next.saturating_sub(BootClock.now())));
        let next = left.map(|left| format!("next attempt in {left} s"));
        let status = next.as_ref().map_or_else(|| text.to_owned(), |next| format!("{text}; {next}"));
        self.notify.send(&format!("STATUS={status}"));
        if text != VALID {
            output::note(&format!("keyfob: {text}"));
            for hint in hint.into_iter().chain(next.as_deref()) {
                failure::hint(hint);
            }
        }
        self.reported = Some(text.to_owned());
    }
}

/// Returns CLOCK_MONOTONIC in microseconds, which systemd compares with the time of a reload.
fn monotonic_microseconds() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}
