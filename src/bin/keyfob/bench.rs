//! `keyfob bench`: cold-start fetches from the user's own server, timed step by step.

mod plot;
mod report;

use crate::arguments::{Arguments, is_error_to_stdout, usage};
use crate::events::{self, Events};
use crate::failure;
use crate::format::Format;
use crate::members::{config, take_duration};
use crate::output;
use crate::pipe::is_pipe;
use crate::settings::Settings;
use keyfob::{BootClock, Client, Clock, Error, ErrorKind, Grant, Request, Timing, Transport};
use miniserde::json::{Number, Object, Value};
use plot::{Picture, draw};
use report::{
    Headers, IN_ALL, LATE, PREPARING, PROCESS, Sample, in_all, microseconds, milliseconds, most_bytes, or_null, to_csv,
    to_json, to_table,
};
use rustix::process::{Pid, Signal, kill_process};
use std::cell::Cell;
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const DEFAULT_COUNT: usize = 10;
/// A higher count would be a load test.
const MAX_COUNT: usize = 1000;
/// Fetches a second, and fetches at a time.
const MAX_RATE: u64 = 50;
const MAX_CONCURRENCY: u64 = 16;
const DEFAULT_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn run(mut arguments: Arguments, format: &mut Format) -> Result<ExitCode, Error> {
    let mut headers = Headers::default();
    let result = measure(&mut arguments, format, &mut headers);
    match result {
        // Standard output gets one document, whatever happens.
        Err(error) if *format == Format::Json && !headers.is_single => {
            if !headers.is_printed {
                output::line(&to_json(&headers, &[], &failure::to_object(&error)))?;
            }
            match is_error_to_stdout() {
                true => Ok(failure::exit_code(&error)),
                false => Err(error),
            }
        }
        result => result,
    }
}

fn measure(arguments: &mut Arguments, format: &mut Format, headers: &mut Headers) -> Result<ExitCode, Error> {
    let is_csv = match arguments.options.get("format") {
        None => false,
        Some(Value::String(name)) if name == "json" => false,
        Some(Value::String(name)) if name == "csv" => arguments.options.remove("format").is_some(),
        Some(_) => return Err(usage("bench: --format must be json or csv, or left out for a table")),
    };
    let limits = LIMITS.map(|(option, ..)| take_number(&mut arguments.options, &option.replace('-', "_")));
    let picture = match arguments.options.remove("plot") {
        Some(Value::String(file)) => Some(Picture::new(file.into())?),
        _ => None,
    };
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
    headers.is_single = is_single;
    headers.count = count;
    let mut number = |name: &str, default, most| match take_number(&mut arguments.options, name) {
        None => Ok(default),
        Some(number) if (1..=most).contains(&number) => Ok(Some(number)),
        Some(_) => Err(usage(format!("--{name}: must be a number from 1 to {most}"))),
    };
    let rate = number("rate", None, MAX_RATE)?;
    let concurrency = number("concurrency", rate.map(|_| MAX_CONCURRENCY), MAX_CONCURRENCY)?;
    if by_processes && concurrency.is_some() {
        return Err(usage("bench: --processes starts one process after the other, without --rate and --concurrency"));
    }
    if rate.is_some() && arguments.options.contains_key("pause") {
        return Err(usage("bench: --rate sets when the fetches start, so there is no --pause"));
    }
    let concurrency = concurrency.unwrap_or(1);
    let pause = take_duration(&mut arguments.options, "pause")?.unwrap_or(DEFAULT_PAUSE).min(LONGEST_PAUSE);
    headers.options = format!(
        "{{\"count\":{count},\"pause_ms\":{},\"processes\":{by_processes},\"rate\":{},\"concurrency\":{concurrency}{}}}",
        pause.as_millis(),
        or_null(rate),
        LIMITS
            .iter()
            .zip(limits)
            .map(|((_, name, ..), limit)| format!(",\"{name}\":{}", or_null(limit)))
            .collect::<String>()
    );
    let mut settings = Settings::read(arguments, format)?;
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
    let has_secret_url = ["var_file", "var_env", "var_profile"].iter().any(|name| settings.has(name));
    let client = settings.client_with(|connection| {
        // Report a fault of the connection before anything else.
        connection.transport()?;
        Ok(move |request: &Request| {
            let response = connection.transport()?.send(request)?;
            let timing = response.timing().copied().unwrap_or_default();
            // The query may have secrets.
            let url = request.url().split(['?', '#']).next().filter(|_| !has_secret_url).map(str::to_owned);
            ANSWERED.set(Some((timing, BootClock.now(), url)));
            Ok(response)
        })
    })?;
    let ends_sessions = client.endpoint().can_revoke();
    if client.endpoint().grant_type() == Some("bearer_session") && !ends_sessions {
        return Err(config("bench: this endpoint does not say how to end the sessions that bench would start")
            .with_hint("set \"revoke\": \"delete\" in the profile, or use --dialect bearer-session"));
    }
    let source = Arc::new(Source { client, grant, url: Mutex::default(), ends_sessions });
    if is_single {
        return source.single();
    }
    let s = if count == 1 { "" } else { "s" };
    headers.host = source.client.endpoint().authority().to_owned();
    let end = if ends_sessions { ", and ends each" } else { "" };
    output::note(&format!("keyfob: bench fetches {count} token{s} from {}{end}", headers.host));
    let bench = Bench { source: source.clone(), by_processes, count, pause, rate, concurrency, events: Events::new()? };
    bench.events.end_at_hangup();
    // A session that has begun is ended, unless a second signal arrives.
    events::finish_first();
    let mut samples = Vec::with_capacity(count);
    let mut stop = bench.run(&mut samples);
    let exceeded = exceeded(&limits, &samples);
    if let Some(Stop::ProcessFailed(_, told)) = &mut stop {
        *told = told.trim_end().to_owned();
    }
    let error = match (&stop, &exceeded) {
        (Some(Stop::Failed(error)), _) => failure::to_object(error),
        (Some(Stop::ProcessFailed(_, object)), _) => object.clone(),
        (None, Some(message)) => failure::object("threshold", message, None),
        _ => "null".to_owned(),
    };
    headers.url = source.url.lock().ok().and_then(|mut url| url.take());
    if *format == Format::Json {
        output::line(&to_json(headers, &samples, &error))?;
        headers.is_printed = true;
    } else if !samples.is_empty() {
        output::line(&if is_csv { to_csv(&samples) } else { to_table(headers, &samples) })?;
    }
    if let Some(picture) = picture.filter(|_| !samples.is_empty()) {
        picture.write(&draw(headers, &samples))?;
    }
    match stop {
        None => match exceeded {
            None => Ok(ExitCode::SUCCESS),
            Some(message) => {
                match *format {
                    Format::Json if is_error_to_stdout() => {}
                    Format::Json => output::note(&error),
                    _ => output::note(&format!("keyfob: {message}")),
                }
                Ok(ExitCode::from(failure::THRESHOLD))
            }
        },
        Some(Stop::Failed(error)) => Err(error),
        Some(Stop::ProcessFailed(code, told)) => {
            // The process has already formatted its message.
            if *format != Format::Json || !is_error_to_stdout() {
                output::note(&told);
            }
            Ok(ExitCode::from(code))
        }
        Some(Stop::Signal(signal)) => Ok(ExitCode::from(128 + signal)),
    }
}

/// The limits: option, member of the JSON, the figure in a message, its unit, and what is compared.
type Limit = (&'static str, &'static str, &'static str, &'static str, fn(&[Sample]) -> u64);
const LIMITS: [Limit; 3] = [
    ("max-median", "max_median_ms", "the median", "ms", |samples| in_all(samples, 50)),
    ("max-p90", "max_p90_ms", "the 90th percentile", "ms", |samples| in_all(samples, 90)),
    ("max-bytes", "max_bytes", "the largest fetch", "bytes", most_bytes),
];

/// Returns what is above its limit.
fn exceeded(limits: &[Option<u64>; LIMITS.len()], samples: &[Sample]) -> Option<String> {
    let mut all = Vec::new();
    for ((option, _, what, unit, figure), limit) in LIMITS.iter().zip(limits) {
        let (Some(limit), false) = (limit, samples.is_empty()) else { continue };
        let figure = figure(samples);
        let (is_above, shown) = match *unit {
            "ms" => (figure > limit.saturating_mul(1000), milliseconds(figure)),
            _ => (figure > *limit, figure.to_string()),
        };
        if is_above {
            all.push(format!("{what} is {shown} {unit}, above {limit} (--{option})"));
        }
    }
    (!all.is_empty()).then(|| format!("bench: {}", all.join("; ")))
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

/// The timing of a request, the time at which its answer was complete, and its URL.
type Answered = (Timing, Duration, Option<String>);

thread_local! {
    /// The last request of this thread.
    static ANSWERED: Cell<Option<Answered>> = const { Cell::new(None) };
}

/// The source of the tokens.
struct Source {
    client: Client,
    grant: Grant,
    /// The URL that was asked. None if it may have a secret.
    url: Mutex<Option<String>>,
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
        let (timing, answered_at, url) = ANSWERED.take().unwrap_or((Timing::default(), ended, None));
        self.set_url(url);
        let life = token.remaining(answered_at).unwrap_or_default();
        let mut sample = [
            0,
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
            (life.as_millis() as u64 + 500) / 1000,
        ];
        sample[PREPARING] = sample[IN_ALL].saturating_sub(sample[PREPARING..IN_ALL].iter().sum());
        let stop = match self.ends_sessions {
            true => self.client.revoke(token).err().map(|error| Stop::Failed(not_ended(&error))),
            false => None,
        };
        ((Some(sample), stop), BootClock.now().saturating_sub(ended))
    }

    fn set_url(&self, of_request: Option<String>) {
        if let Ok(mut url) = self.url.lock() {
            *url = of_request;
        }
    }

    /// Prints one line for the parent process: the sample, the time that ending the session took, and the URL.
    fn single(&self) -> Result<ExitCode, Error> {
        if self.ends_sessions {
            events::finish_first();
        }
        let ((sample, stop), ending) = self.fetch();
        if let Some(sample) = sample {
            let numbers: String = sample.iter().map(|number| format!("{number} ")).collect();
            let url = self.url.lock().ok().and_then(|mut url| url.take()).unwrap_or_default();
            output::line(&format!("{numbers}{} {url}", microseconds(ending)))?;
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

/// Shows the progress at a terminal.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
    }
}

/// The threads that fetch.
struct Pool {
    work: Mutex<Work>,
    ended: Condvar,
    count: usize,
    pause: Duration,
    /// The time from the start of a fetch to that of the next.
    interval: Option<Duration>,
    started: Duration,
}

#[derive(Default)]
struct Work {
    begun: usize,
    samples: Vec<Sample>,
    stop: Option<Stop>,
}

impl Pool {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins no further fetch. The first reason counts.
    fn end(&self, stop: Stop) {
        self.work().stop.get_or_insert(stop);
        self.ended.notify_all();
    }

    fn fetch_all(&self, source: &Source) {
        loop {
            let number = {
                let mut work = self.work();
                if work.begun == self.count {
                    return;
                }
                work.begun += 1;
                work.begun - 1
            };
            // Time counts from here, so that a slow answer cannot hide how long the next fetch had to wait.
            let intended = self.interval.map(|interval| self.started.saturating_add(interval * number as u32));
            if !self.wait_until(intended.unwrap_or_default()) {
                return;
            }
            let late = intended.map_or(0, |intended| microseconds(BootClock.now().saturating_sub(intended)));
            let ((sample, stop), _) = source.fetch();
            let is_last = {
                let mut work = self.work();
                work.samples.extend(sample.map(|mut sample| {
                    sample[LATE] = late;
                    sample[IN_ALL] += late;
                    sample
                }));
                work.begun == self.count
            };
            if let Some(stop) = stop {
                return self.end(stop);
            }
            if !is_last && self.interval.is_none() && !self.wait_until(BootClock.now().saturating_add(self.pause)) {
                return;
            }
        }
    }

    /// Waits until this moment of the boot clock. Returns whether a fetch may begin.
    fn wait_until(&self, at: Duration) -> bool {
        let mut work = self.work();
        while work.stop.is_none() {
            let left = at.saturating_sub(BootClock.now());
            if left.is_zero() {
                return true;
            }
            work = self.ended.wait_timeout(work, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

struct Bench {
    source: Arc<Source>,
    by_processes: bool,
    count: usize,
    pause: Duration,
    /// How many fetches start in a second, whether or not those before them have ended.
    rate: Option<u64>,
    concurrency: u64,
    events: Events,
}

impl Bench {
    /// Fetches until there are enough samples or until a fetch fails or a signal arrives.
    fn run(mut self, samples: &mut Vec<Sample>) -> Option<Stop> {
        let stop = if self.by_processes { self.run_processes(samples) } else { self.run_threads(samples) };
        progress("");
        stop
    }

    fn run_processes(&mut self, samples: &mut Vec<Sample>) -> Option<Stop> {
        loop {
            progress(&format!("fetch {} of {}", samples.len() + 1, self.count));
            let (sample, stop) = self.fetch_by_process();
            samples.extend(sample);
            if stop.is_some() || samples.len() == self.count {
                return stop;
            }
            let next = BootClock.now().saturating_add(self.pause);
            while self.signal().is_none() && BootClock.now() < next {
                self.events.wait(Some(next));
            }
            if let Some(signal) = self.signal() {
                return Some(Stop::Signal(signal));
            }
        }
    }

    /// Fetches in other threads, so that a signal is noticed in the meantime.
    fn run_threads(&mut self, samples: &mut Vec<Sample>) -> Option<Stop> {
        let pool = Arc::new(Pool {
            work: Mutex::default(),
            ended: Condvar::new(),
            count: self.count,
            pause: self.pause,
            interval: self.rate.map(|rate| Duration::from_secs(1) / rate as u32),
            started: BootClock.now(),
        });
        let mut threads = Vec::new();
        for _ in 0..self.concurrency.min(self.count as u64) {
            let (wake, source, of_thread) = (self.events.waker(), self.source.clone(), pool.clone());
            let work = move || {
                of_thread.fetch_all(&source);
                wake();
            };
            match std::thread::Builder::new().name("keyfob-fetch".into()).spawn(work) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    let error = Error::new(ErrorKind::Internal, "cannot start a thread").with_source(error);
                    pool.end(Stop::Failed(error));
                    break;
                }
            }
        }
        while threads.iter().any(|thread| !thread.is_finished()) {
            if let Some(signal) = self.signal() {
                pool.end(Stop::Signal(signal));
                // Finish the sessions that have begun: otherwise they would remain on the server.
                if !self.source.ends_sessions {
                    break;
                }
            }
            let fetched = pool.work().samples.len();
            progress(&format!("{fetched} of {}", self.count));
            // A thread wakes this one shortly before it is finished.
            self.events.wait(Some(BootClock.now().saturating_add(Duration::from_millis(20))));
        }
        // Joining drops the threads' secrets.
        for thread in threads.into_iter().filter(|thread| thread.is_finished()) {
            let _ = thread.join();
        }
        let mut work = pool.work();
        samples.append(&mut work.samples);
        work.stop.take()
    }

    fn signal(&self) -> Option<u8> {
        self.events.end_signal()
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
        let line = read_all(child.stdout.take()).unwrap_or_default();
        self.source.set_url(line.split_whitespace().nth(Sample::default().len() + 1).map(str::to_owned));
        let sample = read_sample(&line, took);
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

/// Reads the sample in the line of such a process, and the time that ending the session took.
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
