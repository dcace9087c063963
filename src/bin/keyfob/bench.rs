//! `keyfob bench`: cold-start fetches from the user's own server, timed step by step.

mod limits;
mod report;

use crate::arguments::{Arguments, usage};
use crate::events::{self, Events};
use crate::failure;
use crate::format::Format;
use crate::members::{config, take_duration};
use crate::output;
use crate::pipe::is_pipe;
use crate::settings::Settings;
use keyfob::{BootClock, Client, Clock, Error, ErrorKind, Grant, Request, Timing, Transport};
use limits::Limits;
use miniserde::json::{Number, Object, Value};
use report::{IN_ALL, PREPARING, PROCESS, Run, Sample, Screen, microseconds};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const DEFAULT_COUNT: usize = 10;
/// A higher count would be a load test.
const MAX_COUNT: usize = 1000;
const DEFAULT_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn run(mut arguments: Arguments, format: &mut Format) -> Result<ExitCode, Error> {
    let shape = match arguments.options.get("format") {
        None => Shape::Table,
        Some(Value::String(name)) if name == "json" => Shape::Json,
        // No format of tokens.
        Some(Value::String(name)) if name == "csv" => {
            arguments.options.remove("format");
            Shape::Csv
        }
        Some(_) => return Err(usage("bench: --format must be json or csv, or left out for a table")),
    };
    let limits = Limits::take(&mut arguments.options);
    let mut flag = |name| arguments.options.remove(name).is_some();
    let (by_processes, is_single) = (flag("processes"), flag("single"));
    let count = match take_number(&mut arguments.options, "count") {
        _ if is_single => 1,
        None => DEFAULT_COUNT,
        Some(count) => match usize::try_from(count) {
            Ok(count @ 1..=MAX_COUNT) => count,
            _ => return Err(usage(format!("-n: must be a number from 1 to {MAX_COUNT}"))),
        },
    };
    let pause = take_duration(&mut arguments.options, "pause")?.unwrap_or(DEFAULT_PAUSE);
    let mut settings = Settings::read(&arguments, format)?;
    // A format in the profile is for tokens.
    if *format != Format::Json {
        *format = Format::Token;
    }
    if !settings.is_repeatable() {
        return Err(config("bench: this grant may be good for one use, and would be used up")
            .with_hint("the grants client_credentials, password and bearer_session can be measured"));
    }
    if settings.has_piped_certificates() {
        return Err(usage("bench: each fetch reads the certificates, so they must be in files, not pipes"));
    }
    let is_profile_pipe = arguments.profile.as_ref().is_some_and(|file| is_pipe(file.as_ref()));
    if by_processes && (is_profile_pipe || settings.reads_once()) {
        return Err(usage(
            "bench: with --processes each fetch reads profile and secrets, so they must be in files, not pipes or standard input",
        ));
    }
    let grant = settings.grant()?;
    let answered = Arc::new(Mutex::new(None));
    let seen = answered.clone();
    let client = settings.client_with(|connection| {
        // Report a fault of the connection before anything else.
        connection.transport()?;
        Ok(move |request: &Request| {
            let response = connection.transport()?.send(request)?;
            let timing = response.timing().copied().unwrap_or_default();
            if let Ok(mut seen) = seen.lock() {
                *seen = Some((timing, BootClock.now()));
            }
            Ok(response)
        })
    })?;
    let ends_sessions = client.endpoint().can_revoke();
    if client.endpoint().grant_type() == Some("bearer_session") && !ends_sessions {
        return Err(config("bench: this endpoint does not say how to end the sessions that bench would start")
            .with_hint("set \"revoke\": \"delete\" in the profile, or use --dialect bearer-session"));
    }
    let source = Arc::new(Source { client, grant, answered, ends_sessions });
    if is_single {
        return source.single();
    }
    let s = if count == 1 { "" } else { "s" };
    let host = source.client.endpoint().authority().to_owned();
    let begun = SystemTime::now();
    let end = if ends_sessions { ", and ends each" } else { "" };
    output::note(&format!("keyfob: bench fetches {count} token{s} from {host}{end}"));
    let bench = Bench { source, by_processes, count, pause: pause.min(LONGEST_PAUSE), events: Events::new()? };
    bench.events.end_at_hangup();
    // A session that has begun is ended, unless a second signal arrives.
    events::finish_first();
    let mut samples = Vec::with_capacity(count);
    let stop = bench.run(&mut samples);
    let run = Run { host: &host, count, pause, by_processes, begun, samples: &samples };
    let error = match &stop {
        Some(Stop::Failed(error)) => Some(failure::error_json(error)),
        // The process was started with the same format.
        Some(Stop::ProcessFailed(_, told)) => {
            told.lines().last().filter(|line| line.starts_with('{')).map(str::to_owned)
        }
        Some(Stop::Signal(_)) | None => None,
    };
    match shape {
        Shape::Json => output::line(&run.to_json(error.as_deref()))?,
        Shape::Csv => output::line(&run.to_csv())?,
        Shape::Table if samples.is_empty() => {}
        Shape::Table => output::line(&run.to_table(&Screen::of_stdout()))?,
    }
    match stop {
        None => Ok(match limits.exceeded(&samples) {
            Some(message) => failure::over_limit(&message, *format),
            None => ExitCode::SUCCESS,
        }),
        Some(Stop::Failed(error)) => Err(error),
        Some(Stop::ProcessFailed(code, told)) => {
            // The process has already formatted its message.
            output::note(told.trim_end());
            Ok(ExitCode::from(code))
        }
        Some(Stop::Signal(signal)) => Ok(ExitCode::from(128 + signal)),
    }
}

/// How the report is printed.
#[derive(Clone, Copy)]
enum Shape {
    Table,
    Json,
    Csv,
}

/// The reason why the fetches stopped.
enum Stop {
    Failed(Error),
    /// The exit code and the message of the process that failed.
    ProcessFailed(u8, String),
    Signal(u8),
}

/// The sample of a fetch, and the reason why it is the last one.
type Fetched = (Option<Sample>, Option<Stop>);

/// The source of the tokens.
struct Source {
    client: Client,
    grant: Grant,
    /// The timing of the last request, and the time at which its answer was complete.
    answered: Arc<Mutex<Option<(Timing, Duration)>>>,
    ends_sessions: bool,
}

impl Source {
    /// Fetches a token and ends its session. Also returns the time that ending it took.
    fn fetch(&self) -> (Fetched, Duration) {
        let started = BootClock.now();
        let result = self.client.fetch(&self.grant);
        let ended = BootClock.now();
        let token = match result {
            Ok(token) => token,
            Err(error) => return ((None, Some(Stop::Failed(error))), Duration::ZERO),
        };
        let answered = self.answered.lock().ok().and_then(|mut answered| answered.take());
        let (timing, answered_at) = answered.unwrap_or((Timing::default(), ended));
        let mut sample = [
            0,
            0,
            microseconds(timing.look_up),
            microseconds(timing.connect),
            microseconds(timing.tls),
            microseconds(timing.waiting),
            microseconds(timing.body),
            microseconds(ended.saturating_sub(answered_at)),
            microseconds(ended.saturating_sub(started)),
            timing.bytes_sent as u64,
            timing.bytes_received as u64,
        ];
        sample[PREPARING] = sample[IN_ALL].saturating_sub(sample[PREPARING..IN_ALL].iter().sum());
        let stop = match self.ends_sessions {
            true => self.client.revoke(token).err().map(|error| Stop::Failed(not_ended(&error))),
            false => None,
        };
        ((Some(sample), stop), BootClock.now().saturating_sub(ended))
    }

    /// Prints one line for the parent process: the sample, and the time that ending the session took.
    fn single(&self) -> Result<ExitCode, Error> {
        if self.ends_sessions {
            events::finish_first();
        }
        let ((sample, stop), ending) = self.fetch();
        if let Some(sample) = sample {
            let numbers: String = sample.iter().map(|number| format!("{number} ")).collect();
            output::line(&format!("{numbers}{}", microseconds(ending)))?;
        }
        match stop {
            Some(Stop::Failed(error)) => Err(error),
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}

fn not_ended(error: &Error) -> Error {
    error.clone().within("bench: a session was not ended")
}

struct Bench {
    source: Arc<Source>,
    by_processes: bool,
    count: usize,
    pause: Duration,
    events: Events,
}

impl Bench {
    /// Fetches until there are enough samples or until a fetch fails or a signal arrives.
    fn run(mut self, samples: &mut Vec<Sample>) -> Option<Stop> {
        let is_watched = std::io::stderr().is_terminal();
        let progress = |text: &str| {
            if is_watched {
                let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
            }
        };
        let stop = loop {
            progress(&format!("fetch {} of {} …", samples.len() + 1, self.count));
            let (sample, stop) = if self.by_processes { self.fetch_by_process() } else { self.fetch() };
            samples.extend(sample);
            if stop.is_some() || samples.len() == self.count {
                break stop;
            }
            let next = BootClock.now().saturating_add(self.pause);
            while self.signal().is_none() && BootClock.now() < next {
                self.events.wait(Some(next));
            }
            if let Some(signal) = self.signal() {
                break Some(Stop::Signal(signal));
            }
        };
        progress("");
        stop
    }

    fn signal(&self) -> Option<u8> {
        self.events.end_signal()
    }

    /// Fetches in another thread, so that a signal is noticed in the meantime.
    fn fetch(&mut self) -> Fetched {
        let result = Arc::new(Mutex::new(None));
        let (wake, source, done) = (self.events.waker(), self.source.clone(), result.clone());
        let work = move || {
            let (fetched, _) = source.fetch();
            if let Ok(mut done) = done.lock() {
                *done = Some(fetched);
            }
            wake();
        };
        let thread = match std::thread::Builder::new().name("keyfob-fetch".into()).spawn(work) {
            Ok(thread) => thread,
            Err(error) => {
                let error = Error::new(ErrorKind::Internal, "cannot start a thread").with_source(error);
                return (None, Some(Stop::Failed(error)));
            }
        };
        loop {
            if let Some(fetched) = result.lock().ok().and_then(|mut result| result.take()) {
                // Joining drops the thread's secrets.
                let _ = thread.join();
                return fetched;
            }
            match self.signal() {
                // Finish a session that has begun: otherwise it would remain on the server.
                Some(signal) if !self.source.ends_sessions => return (None, Some(Stop::Signal(signal))),
                _ => self.events.wait(None),
            }
        }
    }

    /// Fetches in a separate process. Its time outside the fetch is for exec, linking, settings and exit.
    fn fetch_by_process(&mut self) -> Fetched {
        let started = BootClock.now();
        let mut child = match start() {
            Ok(child) => child,
            Err(error) => return (None, Some(Stop::Failed(error))),
        };
        let mut is_told = false;
        let code = loop {
            match child.try_wait() {
                Ok(None) => {}
                status => break status.ok().flatten().and_then(|status| status.code()),
            }
            if let Some(signal) = self.signal() {
                if !std::mem::replace(&mut is_told, true) {
                    let _ = kill_process(Pid::from_child(&child), Signal::INT);
                }
                if !self.source.ends_sessions {
                    return (None, Some(Stop::Signal(signal)));
                }
            }
            self.events.wait(None);
        };
        let took = microseconds(BootClock.now().saturating_sub(started));
        // The output fits into a pipe; otherwise the process would not have ended.
        let sample = read_all(child.stdout.take()).and_then(|numbers| read_sample(&numbers, took));
        let stop = match code {
            Some(0) if sample.is_some() => None,
            Some(code @ 1..) => {
                Some(Stop::ProcessFailed(code as u8, read_all(child.stderr.take()).unwrap_or_default()))
            }
            _ => Some(match self.signal() {
                // The signal arrived before the fetch began.
                Some(signal) => Stop::Signal(signal),
                None => Stop::Failed(Error::new(ErrorKind::Internal, "bench: a fetch ended without a result")),
            }),
        };
        (sample, stop)
    }
}

/// Starts this program again with the same arguments, for a single fetch.
fn start() -> Result<Child, Error> {
    // This path leads to the running program even if its file was replaced or removed.
    let program = match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe(),
    };
    let words: Vec<OsString> = std::env::args_os().skip(1).skip_while(|word| word != "bench").skip(1).collect();
    let started = program.and_then(|program| {
        let mut command = Command::new(program);
        command.arg0("keyfob").args(["bench", "--single"]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A signal of the terminal reaches only this process, which passes it on once.
        command.process_group(0).spawn()
    });
    started.map_err(|error| {
        let message = format!("bench: cannot start a process: {}", output::reason(&error));
        Error::new(ErrorKind::Internal, message).with_source(error)
    })
}

/// Reads the line of such a process: its sample, and the time that ending the session took.
fn read_sample(told: &str, took: u64) -> Option<Sample> {
    let mut numbers = told.split_whitespace().map(|number| number.parse().ok());
    let mut sample = Sample::default();
    for value in &mut sample {
        *value = numbers.next()??;
    }
    let in_all = took.saturating_sub(numbers.next()??).max(sample[IN_ALL]);
    sample[PROCESS] = in_all - sample[IN_ALL];
    sample[IN_ALL] = in_all;
    Some(sample)
}

fn read_all(pipe: Option<impl Read>) -> Option<String> {
    let mut text = String::new();
    pipe?.read_to_string(&mut text).ok()?;
    Some(text)
}

fn take_number(options: &mut Object, name: &str) -> Option<u64> {
    match options.remove(name) {
        Some(Value::Number(Number::U64(number))) => Some(number),
        _ => None,
    }
}
