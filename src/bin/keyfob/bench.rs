//! `keyfob bench`: cold-start fetches against the user's own endpoint, timed step by step.

use crate::arguments::{Arguments, usage};
use crate::events::{self, Events};
use crate::output::{self, Format};
use crate::profile::is_pipe;
use crate::settings::{Settings, take_duration};
use keyfob::{BootClock, Client, Clock, Error, ErrorKind, Grant, Request, Timing, Transport};
use miniserde::json::{Number, Object, Value};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is counted of a fetch, as the table and the JSON name it. Up to `in all` these are times in microseconds, and all
/// of them make up the last.
const ROWS: [(&str, &str); 11] = [
    ("process", "process_us"),
    ("preparing", "preparing_us"),
    ("look-up", "look_up_us"),
    ("connect", "connect_us"),
    ("TLS", "tls_us"),
    ("waiting", "waiting_us"),
    ("body", "body_us"),
    ("reading", "reading_us"),
    ("in all", "in_all_us"),
    ("bytes sent", "bytes_sent"),
    ("bytes received", "bytes_received"),
];
const PROCESS: usize = 0;
const PREPARING: usize = 1;
const IN_ALL: usize = 8;
type Sample = [u64; ROWS.len()];

/// The columns: so many of a hundred are no larger, by the nearest rank.
const COLUMNS: [(&str, usize); 5] = [("min", 0), ("median", 50), ("p90", 90), ("p99", 99), ("max", 100)];

const DEFAULT_COUNT: usize = 10;
/// Who wants more than this wants a load test.
const MAX_COUNT: usize = 1000;
const DEFAULT_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn run(mut arguments: Arguments, format: &mut Format) -> Result<ExitCode, Error> {
    if arguments.options.get("format").is_some_and(|format| !matches!(format, Value::String(f) if f == "json")) {
        return Err(usage("bench: --format can be json, or is left out for a table"));
    }
    let mut flag = |name| arguments.options.remove(name).is_some();
    let (by_processes, is_single) = (flag("processes"), flag("single"));
    let count = match take_number(&mut arguments.options, "count") {
        _ if is_single => 1,
        None => DEFAULT_COUNT,
        Some(count) => match usize::try_from(count) {
            Ok(count @ 1..=MAX_COUNT) => count,
            _ => return Err(usage(format!("-n: this must be a number from 1 to {MAX_COUNT}"))),
        },
    };
    let pause = take_duration(&mut arguments.options, "pause")?.unwrap_or(DEFAULT_PAUSE);
    let mut settings = Settings::read(&arguments, format)?;
    // A profile's format is that of a token.
    if *format != Format::Json {
        *format = Format::Token;
    }
    if !settings.is_repeatable() {
        return Err(config("bench: what this grant sends may be good for one use, and would be used up")
            .with_hint("the grants client_credentials, password and bearer_session can be measured"));
    }
    if settings.has_certificates_by_pipe() {
        return Err(usage("bench: each fetch reads the certificates anew, from files that stay"));
    }
    let is_profile_pipe = arguments.profile.as_ref().is_some_and(|file| is_pipe(file.as_ref()));
    if by_processes && (is_profile_pipe || settings.reads_once()) {
        return Err(usage("bench: with --processes each fetch reads the secrets anew, from files that stay"));
    }
    let grant = settings.grant()?;
    let answered = Arc::new(Mutex::new(None));
    let seen = answered.clone();
    let client = settings.client_by(|connection| {
        // What is wrong with it is told before anything else.
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
        return Err(config("bench: it is not said how the sessions end that it would begin")
            .with_hint("\"revoke\": \"delete\" in the profile, or --dialect bearer-session"));
    }
    let source = Arc::new(Source { client, grant, answered, ends_sessions });
    if is_single {
        return source.single();
    }
    let s = if count == 1 { "" } else { "s" };
    let host = source.client.endpoint().authority().to_owned();
    let end = if ends_sessions { ", and ends each" } else { "" };
    output::note(&format!("keyfob: bench takes {count} token{s} from {host}{end}"));
    let bench = Bench { source, by_processes, count, pause: pause.min(LONGEST_PAUSE), events: Events::new()? };
    bench.events.end_at_hangup();
    // A session that has begun is to end. Who asks twice does not care.
    events::finish_first();
    let mut samples = Vec::with_capacity(count);
    let stop = bench.run(&mut samples);
    if !samples.is_empty() {
        let text = match *format {
            Format::Json => to_json(&host, count, &samples),
            _ => to_table(&host, count, &samples),
        };
        output::line(&text)?;
    }
    match stop {
        None => Ok(ExitCode::SUCCESS),
        Some(Stop::Failed(error)) => Err(error),
        Some(Stop::ProcessFailed(code, told)) => {
            // It is in the format that is wanted.
            output::note(told.trim_end());
            Ok(ExitCode::from(code))
        }
        Some(Stop::Signal(signal)) => Ok(ExitCode::from(128 + signal)),
    }
}

/// Why there are no more fetches.
enum Stop {
    Failed(Error),
    /// The exit code of the process that failed, and what it said.
    ProcessFailed(u8, String),
    Signal(u8),
}

/// What came of a fetch, and why there is to be no other.
type Fetched = (Option<Sample>, Option<Stop>);

/// Where the tokens are from.
struct Source {
    client: Client,
    grant: Grant,
    /// Where the time of the last request went, and when its answer was there.
    answered: Arc<Mutex<Option<(Timing, Duration)>>>,
    ends_sessions: bool,
}

impl Source {
    /// Fetches a token and ends its session; tells too how long the second took.
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

    /// For the process that started this one: the sample, and how long the end of the session took, on a line.
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
    let told = Error::new(error.kind(), format!("bench: a session was not ended: {error}"));
    match error.hint() {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}

struct Bench {
    source: Arc<Source>,
    by_processes: bool,
    count: usize,
    pause: Duration,
    events: Events,
}

impl Bench {
    /// Fetches until there are enough samples, or something stops it.
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

    /// A fetch on another thread, so that a signal is heard meanwhile.
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
                let error = Error::new(ErrorKind::Internal, "no thread can be started").with_source(error);
                return (None, Some(Stop::Failed(error)));
            }
        };
        loop {
            if let Some(fetched) = result.lock().ok().and_then(|mut result| result.take()) {
                // It lets go of the secrets.
                let _ = thread.join();
                return fetched;
            }
            match self.signal() {
                // What was begun is finished where somebody would else be left with it.
                Some(signal) if !self.source.ends_sessions => return (None, Some(Stop::Signal(signal))),
                _ => self.events.wait(None),
            }
        }
    }

    /// A fetch in a process of its own. Its time outside the fetch is that for exec, linking, settings and exit.
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
        // It has said no more than a pipe has room for, or it would not have ended.
        let sample = read_all(child.stdout.take()).and_then(|numbers| read_sample(&numbers, took));
        let stop = match code {
            Some(0) if sample.is_some() => None,
            Some(code @ 1..) => {
                Some(Stop::ProcessFailed(code as u8, read_all(child.stderr.take()).unwrap_or_default()))
            }
            _ => Some(match self.signal() {
                // It was told so before it had begun.
                Some(signal) => Stop::Signal(signal),
                None => Stop::Failed(Error::new(ErrorKind::Internal, "bench: a fetch ended without a result")),
            }),
        };
        (sample, stop)
    }
}

/// Starts this program once more, with the same words, for one fetch.
fn start() -> Result<Child, Error> {
    // Where this program was replaced meanwhile, or its file cannot be found, that is still this one.
    let program = match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe(),
    };
    let words: Vec<OsString> = std::env::args_os().skip(1).skip_while(|word| word != "bench").skip(1).collect();
    let started = program.and_then(|program| {
        let mut command = Command::new(program);
        command.arg0("keyfob").args(["bench", "--single"]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The terminal's signals reach this process alone, which passes them on once.
        command.process_group(0).spawn()
    });
    started.map_err(|error| {
        let message = format!("bench: no process can be started: {}", output::reason(&error));
        Error::new(ErrorKind::Internal, message).with_source(error)
    })
}

/// What one of these processes has told: its sample, and how long the end of the session took.
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

fn microseconds(time: Duration) -> u64 {
    time.as_micros() as u64
}

fn take_number(options: &mut Object, name: &str) -> Option<u64> {
    match options.remove(name) {
        Some(Value::Number(Number::U64(number))) => Some(number),
        _ => None,
    }
}

/// A row's values in all samples, in the order they were taken.
fn values(samples: &[Sample], row: usize) -> Vec<u64> {
    samples.iter().map(|sample| sample[row]).collect()
}

/// The columns' values, by the nearest rank: each is one that was measured.
fn spread(values: &[u64]) -> [u64; COLUMNS.len()] {
    let mut sorted: Vec<u64> = Vec::with_capacity(values.len());
    // They are few, and the sort of the standard library has as much code as all of this.
    for value in values {
        sorted.insert(sorted.partition_point(|other| other < value), *value);
    }
    COLUMNS.map(|(_, percent)| sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)])
}

fn to_json(host: &str, count: usize, samples: &[Sample]) -> String {
    let mut text = format!("{{\"host\":{},\"asked_for\":{count},\"fetched\":{}", output::to_json(&host), samples.len());
    for (row, (_, name)) in ROWS.iter().enumerate() {
        let values = values(samples, row);
        put(&mut text, format_args!(",\"{name}\":{{"));
        for ((column, _), value) in COLUMNS.iter().zip(spread(&values)) {
            put(&mut text, format_args!("\"{column}\":{value},"));
        }
        put(&mut text, format_args!("\"samples\":{values:?}}}"));
    }
    text.push('}');
    text
}

fn to_table(host: &str, count: usize, samples: &[Sample]) -> String {
    let mut text = samples.len().to_string();
    if samples.len() < count {
        put(&mut text, format_args!(" of {count}"));
    }
    let fetches = if count == 1 { "fetch" } else { "fetches" };
    put(&mut text, format_args!(" cold-start {fetches} from {host}, in milliseconds\n\n{:15}", ""));
    for (column, _) in COLUMNS {
        put(&mut text, format_args!("{column:>11}"));
    }
    for (row, (name, _)) in ROWS.iter().enumerate() {
        let spread = spread(&values(samples, row));
        // A step that was never needed.
        if spread == [0; COLUMNS.len()] {
            continue;
        }
        put(&mut text, format_args!("\n{name:15}"));
        for value in spread {
            let value = if row > IN_ALL { value.to_string() } else { milliseconds(value) };
            put(&mut text, format_args!("{value:>11}"));
        }
    }
    if samples.len() > 1 {
        draw(&mut text, &values(samples, IN_ALL));
    }
    text
}

const BARS: u64 = 8;
const LONGEST_BAR: usize = 40;

/// Draws how often the whole took how long.
fn draw(text: &mut String, values: &[u64]) {
    let [least, .., most] = spread(values);
    let width = (most - least) / BARS + 1;
    let mut counts = [0; BARS as usize];
    for value in values {
        counts[((value - least) / width) as usize] += 1;
    }
    let largest = counts.iter().fold(LONGEST_BAR, |largest, count| largest.max(*count));
    text.push_str("\n\nin all, from     fetches");
    for (bar, count) in (0..=(most - least) / width).zip(counts) {
        put(text, format_args!("\n{:>12}     ", milliseconds(least + bar * width)));
        // One that is longer than none is seen.
        for _ in 0..(count * LONGEST_BAR).div_ceil(largest) {
            text.push('█');
        }
        put(text, format_args!("{}{count}", if count > 0 { " " } else { "" }));
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = text.write_fmt(what);
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:02}", microseconds / 1000, microseconds % 1000 / 10)
}

fn config(message: &str) -> Error {
    Error::new(ErrorKind::Config, message)
}
