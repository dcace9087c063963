//! Runs a program and tells on standard error what that took: wall and CPU time in microseconds, its memory at most in
//! KiB, its page faults, and this program's own memory. What a process had in memory at most includes what its parent
//! had when it started it: so the parent is this small one, and its memory is the least that can be told.

use std::process::{Command, ExitCode};
use std::time::Instant;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    // Not by getrusage, which would tell what the runner had.
    let own = status.split_once("VmHWM:").and_then(|(_, rest)| rest.split_whitespace().next()).expect("a figure");
    let start = Instant::now();
    #[expect(clippy::zombie_processes, reason = "it is waited for below")]
    let child = command.spawn().expect("the program starts");
    let mut status = 0;
    // SAFETY: plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are there for the kernel to fill in.
    let ended = unsafe { libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage) };
    let wall = start.elapsed().as_micros();
    assert_eq!(ended, child.id() as libc::pid_t);
    let micros = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    let cpu = micros(usage.ru_utime) + micros(usage.ru_stime);
    let faults = usage.ru_minflt + usage.ru_majflt;
    eprintln!("{wall} {cpu} {} {faults} {own}", usage.ru_maxrss);
    if status == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
