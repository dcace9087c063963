//! `keyfob exec`: runs a program with a token that stays valid and appears in no argument list.
//!
//! If nothing is left to do once the program runs, keyfob becomes the program. Otherwise keyfob waits for it and
//! behaves like the program towards its parent: it passes signals on, stops and continues, and ends in the same way.

mod directory;
pub(crate) mod program;

use crate::arguments::{Arguments, usage};
use crate::events::{self, Events};
use crate::format::{Format, origin};
use crate::keep::{Keep, Watch, margin};
use crate::members::{config, take_flag, take_text};
use crate::settings::{self, Settings};
use crate::token_file::TokenFile;
use crate::{failure, fetch, output, process, stderr};
use directory::Directory;
use keyfob::{AccessToken, BootClock, Clock, Error, ErrorKind};
use miniserde::json::{Number, Object, Value};
use program::{AtEnd, Change, PASSED_ON, Program, stop};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{FdFlags, dup2, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::pipe::pipe;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

const TOKEN_FILE: &str = "KEYFOB_TOKEN_FILE";

/// The time that a program has to stop.
const SOON_KILLED: Duration = Duration::from_secs(10);

/// How the program receives its token.
enum Way {
    File,
    Variable(String),
    /// The descriptor. It is reserved before any other is opened.
    Descriptor(OwnedFd),
    Stdin,
}

pub(crate) fn run(mut arguments: Arguments, format: &mut Format) -> Result<ExitCode, Error> {
    let [name, words @ ..] = &*std::mem::take(&mut arguments.program) else {
        return Err(usage("exec: no program to run; put it after --"));
    };
    let way = Way::take(&mut arguments.options)?;
    let at_end = match take_text(&mut arguments.options, "at_end")? {
        None => AtEnd::Keep,
        Some(text) => AtEnd::from_text(&text)
            .ok_or_else(|| config("--at-end: must be keep, stop or 'signal NAME', as 'signal HUP'"))?,
    };
    let mut its_format = *format;
    let settings = Settings::read(&arguments, &mut its_format);
    // Errors cannot be in curl's format, because no curl reads them.
    *format = if its_format == Format::Json { Format::Json } else { Format::Token };
    let mut settings = settings?;
    let (asked, is_used_up) = (settings.asked, settings.may_be_used_up());
    let mut command = Command::new(name);
    command.args(words);
    for variable in settings.secret_variables() {
        command.env_remove(variable);
    }
    let handlers = if is_used_up { events::finish_first() } else { Vec::new() };
    let (grant, store) = (settings.grant()?, settings.store()?);
    // First find a place for the token, before one is requested.
    let place = match way {
        Way::File => Some(directory::place(store.as_ref())?),
        _ => None,
    };
    let watch = store.as_ref().map(|store| Watch::new(store.path()));
    let mut tokens = settings::tokens(settings.client()?, grant, store);
    let host = tokens.client().endpoint().authority().to_owned();
    let token = crate::while_saying(&host, || fetch::token(&mut tokens, asked))?;
    for handler in handlers {
        signal_hook::low_level::unregister(handler);
    }
    process::restore_core_limit();
    let Some(place) = place else {
        let line = its_format.render(&token, token.remaining(BootClock.now()), origin(&token, watch.is_some()))?;
        let _descriptor = way.give(&line, &mut command)?;
        drop(tokens);
        return match at_end {
            AtEnd::Keep => Ok(cannot_start(name, &command.exec(), *format)),
            _ => watched(command, name, at_end, &token, *format),
        };
    };
    // The program shares its standard error, and a reader of that must not delay the token.
    stderr::never_wait();
    let events = Events::of(PASSED_ON)?;
    let directory = Directory::make(&place)?;
    let file = TokenFile::claim(directory.file(), 0o600)?;
    let mut keep = Keep::new(file, its_format, watch, (asked, is_used_up), events);
    let next = keep.begin(&mut tokens, token)?;
    command.env(TOKEN_FILE, directory.file());
    let program = match Program::start(command, at_end) {
        Ok(program) => keep.run_program(tokens, next, program)?,
        Err(error) => return Ok(cannot_start(name, &error, *format)),
    };
    drop(directory);
    Ok(program.end())
}

/// Runs the program, and takes the action of `--at-end` when its token ends.
fn watched(
    command: Command,
    name: &OsString,
    at_end: AtEnd,
    token: &AccessToken,
    format: Format,
) -> Result<ExitCode, Error> {
    let mut events = Events::of(PASSED_ON)?;
    let now = BootClock.now();
    let mut until = token.remaining(now).map(|left| now.saturating_add(left - margin(left)));
    let mut program = match Program::start(command, at_end) {
        Ok(program) => program,
        Err(error) => return Ok(cannot_start(name, &error, format)),
    };
    loop {
        let now = BootClock.now();
        if until.take_if(|until| *until <= now).is_some() {
            program.token_ended(now);
        }
        match program.go_on(now, &mut events) {
            Change::Ended => return Ok(program.end()),
            Change::Stopped => {
                stop();
                program.go_on_too();
            }
            Change::None => events.wait([until, program.kill_at].into_iter().flatten().min()),
        }
    }
}

/// Reports a program that could not be started. Returns the exit code that a shell uses for it.
fn cannot_start(name: &OsString, error: &io::Error, format: Format) -> ExitCode {
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    let why = if is_missing { "there is no such program".to_owned() } else { output::reason(error) };
    failure::report(&config(format!("exec: {}: {why}", name.to_string_lossy())), format);
    ExitCode::from(if is_missing { 127 } else { 126 })
}

impl Way {
    fn take(options: &mut Object) -> Result<Self, Error> {
        let variable = take_text(options, "env")?;
        let descriptor = options.remove("fd");
        match (variable, descriptor, take_flag(options, "stdin")?) {
            (None, None, false) => Ok(Self::File),
            (Some(name), None, false) if name.is_empty() || name.contains(['=', '\0']) => {
                Err(config("--env: this cannot be the name of a variable"))
            }
            (Some(name), None, false) => Ok(Self::Variable(name)),
            (None, Some(Value::Number(Number::U64(number))), false) => Self::reserve(number),
            (None, None, true) => Ok(Self::Stdin),
            _ => Err(config("exec: --env, --fd and --stdin exclude each other")),
        }
    }

    fn reserve(number: u64) -> Result<Self, Error> {
        let Some(number) = i32::try_from(number).ok().filter(|number| *number > 2) else {
            return Err(config("--fd: must be 3 or more"));
        };
        let reserved = fcntl_dupfd_cloexec(rustix::stdio::stderr(), number)
            .map_err(|error| config(format!("--fd {number}: {}", output::reason(&error.into()))))?;
        match reserved.as_raw_fd() == number {
            true => Ok(Self::Descriptor(reserved)),
            false => Err(config(format!("--fd {number}: the descriptor is in use"))),
        }
    }

    /// Hands the line over. Returns a descriptor that must remain open until the program has started.
    fn give(self, line: &str, command: &mut Command) -> Result<Option<OwnedFd>, Error> {
        match self {
            Self::File => {}
            Self::Variable(name) => drop(command.env(name, line)),
            Self::Stdin => drop(command.stdin(filled(line)?)),
            Self::Descriptor(mut reserved) => {
                // The program inherits the copy.
                dup2(filled(line)?, &mut reserved).map_err(|error| pipe_failed(&error.into()))?;
                return Ok(Some(reserved));
            }
        }
        Ok(None)
    }
}

/// Returns a pipe that contains this line.
fn filled(line: &str) -> Result<OwnedFd, Error> {
    let fill = || {
        let (reader, writer) = pipe()?;
        for end in [&reader, &writer] {
            fcntl_setfd(end, FdFlags::CLOEXEC)?;
        }
        fcntl_setfl(&writer, OFlags::NONBLOCK)?;
        // A larger size may not be allowed.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, line.len() + 1);
        let mut text = String::with_capacity(line.len() + 1);
        text.push_str(line);
        text.push('\n');
        match File::from(writer).write(text.as_bytes())? == text.len() {
            true => Ok(reader),
            false => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
        }
    };
    fill().map_err(|error: io::Error| pipe_failed(&error))
}

fn pipe_failed(error: &io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("exec: the token does not go into a pipe: {}", output::reason(error)))
}
