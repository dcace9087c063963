//! `keyfob keep`: a fresh token in a file, for programs that can only read one.

use crate::arguments::Arguments;
use crate::events::{self, Events};
use crate::fetch;
use crate::notify::Notify;
use crate::output::{self, Format};
use crate::settings::{self, Asked, Settings};
use crate::stderr;
use crate::token_file::TokenFile;
use keyfob::{AccessToken, BootClock, Clock, Error, ErrorKind, Lifetime, TokenCache};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// A token leaves the file before it is over, by a tenth of its life and a second more: whoever has read it must come to
/// use it, this process must come to remove it, and many servers count in whole seconds.
const CUT_OFF: Duration = Duration::from_secs(1);
const LONGEST_MARGIN: Duration = Duration::from_secs(6);

fn margin(left: Duration) -> Duration {
    (left / 10 + CUT_OFF).min(LONGEST_MARGIN).min(left / 2)
}

/// What lives less than this is not put into the file: it would be over by the time it is there.
const SHORTEST: Duration = Duration::from_millis(100);

/// When what could not be done for want of something (room on a disk, a thread) is tried again: it may be there by then.
const SOON: Duration = Duration::from_secs(1);

/// How often the store is looked at: what another process has revoked leaves the file within this time.
const LOOK: Duration = Duration::from_secs(2);

const VALID: &str = "the token is valid";
const OVER: &str = "the token is over, and there is no new one yet";

pub(crate) fn run(arguments: &Arguments, format: &mut Format) -> Result<(), Error> {
    stderr::never_wait();
    let mut settings = Settings::read(arguments, format)?;
    let (path, mode, on_renew) = settings.kept_file()?;
    let secret_variables = settings.secret_variables();
    // Before the rest can fail: what an earlier run left there may be over.
    let file = TokenFile::claim(path, mode)?;
    let asked = settings.asked;
    let is_used_up = !settings.is_repeatable();
    let (grant, store) = (settings.grant()?, settings.store()?);
    let watch = store.as_ref().map(|store| Watch::new(store.path()));
    let mut tokens = settings::tokens(settings.client()?, grant, store);
    let put_off = fetch::put_off(&mut tokens, asked)?;
    let keep = Keep {
        file,
        format: *format,
        watch,
        is_used_up,
        asked,
        // Not before the secrets were read: that may take for ever, and until here a signal ends it.
        events: Events::new()?,
        notify: Notify::from_environment(),
        hook: Hook { words: on_renew, secret_variables, running: None, is_due: false, again: None },
        min_life: Duration::ZERO,
        is_ready: false,
        told: None,
        outdated: None,
        remove_again: None,
        not_before: Duration::ZERO,
    };
    keep.run(tokens, put_off)
}

struct Keep {
    file: TokenFile,
    format: Format,
    /// Where there is a store.
    watch: Option<Watch>,
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
    /// The token that was taken out because of its age, and what it must live at least to come back.
    outdated: Option<(AccessToken, Duration)>,
    /// When the file that could not be removed is tried again.
    remove_again: Option<Duration>,
    /// Until then the server asked to be left alone.
    not_before: Duration,
}

/// What a thread does that has the cache meanwhile: all that reads secrets or asks the server, for the file must not wait
/// for it.
#[derive(Clone, Copy)]
enum Task {
    Renew,
    /// A token that lives so long, or any.
    Token(Duration),
    /// Looks at the store.
    Follow,
}

enum Outcome {
    Token(Result<AccessToken, Error>),
    /// What the store said about the token in the file.
    Followed(Followed),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    Same,
    Replaced,
    Ended,
}

/// The thread, and whether it has done its work.
struct Away {
    thread: JoinHandle<Option<(TokenCache, Outcome)>>,
    is_done: Arc<AtomicBool>,
    is_asking: bool,
}

impl Task {
    fn run(self, tokens: &mut TokenCache) -> Outcome {
        match self {
            Self::Renew => Outcome::Token(tokens.renew()),
            // If a longer life is not to be had, any that is left will do.
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
    fn run(mut self, tokens: TokenCache, put_off: Option<Duration>) -> Result<(), Error> {
        if let Some(until) = put_off {
            let seconds = until.as_secs();
            self.notify.send(&format!("STATUS=the first fetch is put off until {seconds} s after the boot (--splay)"));
        }
        let mut next = Some(put_off.unwrap_or_default());
        let mut is_to_renew = self.asked.fresh;
        let (mut here, mut away) = (Some(tokens), None::<Away>);
        while !self.events.is_end() {
            let now = BootClock.now();
            // Before anything else, and whatever else is the matter.
            let is_over = self.file.until().is_some_and(|until| until <= now);
            if is_over || self.remove_again.is_some_and(|again| again <= now) {
                if let Some(token) = self.file.token() {
                    // A life as short as this one is no reason to put it back.
                    let left = token.remaining(now).unwrap_or_default();
                    self.outdated = Some((token.clone(), left + left / 2));
                }
                self.take_out(now, OVER);
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
                        if followed == Followed::Ended {
                            self.take_out(now, "another process has ended the token, and there is no new one yet");
                        }
                        next = Some(now);
                    }
                }
                here = Some(tokens);
            }
            if is_to_renew && here.is_some() && now < self.not_before {
                is_to_renew = false;
                self.tell("not renewed, for the server asked to be left alone", None, Some(self.not_before));
                self.tell_ready();
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
                // It is tried again; meanwhile the token in the file is as good as before.
                Some(Err(error)) => {
                    next = Some(now + SOON);
                    self.tell(&error.to_string(), None, next);
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
            ];
            self.events.wait(wakes.into_iter().flatten().min());
        }
        let removed = self.file.remove();
        self.notify.send("STOPPING=1");
        // A fetch that is under way ends with the process, but not one that may bring a new refresh token: the old one is
        // used up then. It takes as long as --timeout allows, and ends at another signal: a secret may be read for ever.
        if let (Some(Away { thread, is_asking: true, .. }), true) = (away, self.is_used_up) {
            events::end_at_next_signal();
            let _ = thread.join();
        }
        removed
    }

    /// Takes the token out of the file; where that fails it is tried again.
    fn take_out(&mut self, now: Duration, why: &str) {
        match self.file.remove() {
            Ok(()) => {
                self.remove_again = None;
                self.tell(why, None, None);
            }
            Err(error) => {
                self.remove_again = Some(now + SOON);
                self.tell(&error.to_string(), None, None);
            }
        }
    }

    /// Has a thread do it. Where none can be started, nothing is lost.
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
                let why = format!("no thread can be started: {}", output::reason(&error));
                Err(Error::new(ErrorKind::Internal, why).with_source(error))
            }
        }
    }

    /// Takes over what a fetch came to; returns when the next is due.
    fn take(&mut self, tokens: &mut TokenCache, result: Result<AccessToken, Error>) -> Result<Option<Duration>, Error> {
        let now = BootClock.now();
        let mut again = None;
        let failure = match result {
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
                Some(error)
            }
            Ok(token) if token.remaining(now).is_some_and(|left| left < SHORTEST) => {
                again = Some(now + SOON);
                Some(Error::new(ErrorKind::Unusable, "the token is over before anybody could read it"))
            }
            Ok(token) => match self.put(&token, now) {
                Ok(()) => tokens.last_failure(),
                Err(error) if !self.is_ready => return Err(error),
                Err(error) => {
                    again = Some(now + SOON);
                    Some(error)
                }
            },
            // Nothing that waiting would mend, and nobody has been promised a token yet.
            Err(error) if error.kind() == ErrorKind::Config && !self.is_ready => return Err(error),
            // The failure itself, whose words stay the same while it is remembered; but a secret that cannot be read any
            // more has stopped this very attempt.
            Err(error) if error.retry_after().is_some() => Some(tokens.last_failure().unwrap_or(error)),
            Err(error) => Some(error),
        };
        // When what is left is no longer what a token must live: a third of that before it leaves the file.
        let early = self.file.until().map(|until| until.saturating_sub(self.min_life / 3));
        let next = [tokens.next_attempt(), early.filter(|early| *early > now), again].into_iter().flatten().min();
        match failure {
            None => self.tell(VALID, None, None),
            Some(error) => {
                if let (ErrorKind::Wait, Some(wait)) = (error.kind(), error.retry_after()) {
                    self.not_before = now.saturating_add(wait);
                }
                let valid = if self.file.token().is_some() && again.is_none() && error.kind() != ErrorKind::Config {
                    "the token is valid, but was not renewed: "
                } else {
                    ""
                };
                self.tell(&format!("{valid}{error}"), error.hint(), next);
            }
        }
        self.tell_ready();
        Ok(next)
    }

    /// Again after each renewal, for a reload ends with it.
    fn tell_ready(&mut self) {
        if self.is_ready {
            self.notify.ready();
        }
    }

    /// Puts the token into the file, if it is another one.
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
        let line = output::render(token, left, self.format, output::origin(token, self.watch.is_some()))?;
        self.file.write(token, &line, until)?;
        (self.min_life, self.is_ready) = (margin * 3 / 2, true);
        (self.outdated, self.remove_again) = (None, None);
        match left {
            Some(left) => self.asked.tell(&format!("a new token is in the file, and lives {} s", left.as_secs())),
            None => self.asked.tell("a new token is in the file; the server does not say how long it lives"),
        }
        self.hook.is_due = true;
        self.hook.go_on(now, &self.events);
        Ok(())
    }

    /// Tells systemd, and who reads standard error, unless it is what was told before; with when the server is asked next.
    fn tell(&mut self, text: &str, hint: Option<&str>, next: Option<Duration>) {
        if self.told.as_deref() == Some(text) && !self.asked.verbose {
            return;
        }
        let left = next.map(|next| next.saturating_sub(BootClock.now()).as_secs_f32().ceil());
        let next = left.map(|left| format!("next attempt in {left} s"));
        let status = next.as_ref().map_or_else(|| text.to_owned(), |next| format!("{text}; {next}"));
        self.notify.send(&format!("STATUS={status}"));
        if text != VALID {
            output::note(&format!("keyfob: {text}"));
            for hint in hint.into_iter().chain(next.as_deref()) {
                output::hint(hint);
            }
        }
        self.told = Some(text.to_owned());
    }
}

/// Tells when the store may hold something else: when its directory changes, which one call shows.
struct Watch {
    directory: PathBuf,
    seen: Option<SystemTime>,
    /// When it is looked at next.
    at: Duration,
}

impl Watch {
    fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), seen: None, at: Duration::ZERO }
    }

    /// Whether something has changed since this was asked last; never sooner than [`LOOK`] after that.
    fn has_changed(&mut self, now: Duration) -> bool {
        if now < self.at {
            return false;
        }
        self.at = now + LOOK;
        let changed_at = std::fs::metadata(&self.directory).and_then(|directory| directory.modified()).ok();
        // Two changes within one tick of the system's clock have one time.
        let is_recent = changed_at.is_some_and(|at| at.elapsed().is_ok_and(|age| age < 2 * LOOK));
        std::mem::replace(&mut self.seen, changed_at) != changed_at || is_recent
    }
}

/// What is started after each renewal, one at a time and never with the token.
struct Hook {
    words: Vec<String>,
    /// What it does not inherit.
    secret_variables: Vec<String>,
    /// The thread that starts it and waits for its end: a program can be where reading it takes for ever.
    running: Option<Receiver<io::Result<ExitStatus>>>,
    is_due: bool,
    /// When it is tried again, where there was no process or thread to be had for it.
    again: Option<Duration>,
}

impl Hook {
    /// Starts it if it is due and the one before has ended.
    fn go_on(&mut self, now: Duration, events: &Events) {
        match self.running.as_ref().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(Ok(status))) if !status.success() => output::note(&format!("keyfob: --on-renew: {status}")),
            Some(Ok(Err(error))) => self.failed(now, &error),
            _ => {}
        }
        self.running = None;
        let [program, arguments @ ..] = &self.words[..] else { return };
        if !self.is_due || self.again.is_some_and(|again| now < again) {
            return;
        }
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(stderr::for_child()).stderr(stderr::for_child());
        for variable in self.secret_variables.iter().map(String::as_str).chain(["NOTIFY_SOCKET"]) {
            command.env_remove(variable);
        }
        (self.is_due, self.again) = (false, None);
        let (tell, ended) = sync_channel(1);
        let wake = events.waker();
        let work = move || {
            let _ = tell.send(command.status());
            wake();
        };
        match std::thread::Builder::new().name("keyfob-hook".into()).spawn(work) {
            Ok(_) => self.running = Some(ended),
            Err(error) => self.failed(now, &error),
        }
    }

    /// It could not be started. Where the system had no room for it, it is tried again.
    fn failed(&mut self, now: Duration, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            (self.is_due, self.again) = (true, Some(now + SOON));
        }
        let program = self.words.first().map_or("", String::as_str);
        output::note(&format!("keyfob: --on-renew: {program}: {}", output::reason(error)));
    }
}

/// What systemd compares a reload with: CLOCK_MONOTONIC, in microseconds.
fn monotonic_microseconds() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}
