//! Runs a program and tells on standard error what that took: wall and CPU time in microseconds, its memory at most in
//! KiB, its page faults, and this program's own memory. What a process had in memory at most includes what its parent
//! had when it started it: so the parent is this small one, and its memory is the least that can be told.
//!
//! `launch --no-auxv PROGRAM …` refuses `prctl(PR_GET_AUXV)`, which Linux has since 6.4. valgrind 3.19 lets it through,
//! and rustix then looks for the vDSO where valgrind has unmapped it. Refused, it reads valgrind's `/proc/self/auxv`.

use std::process::{Command, ExitCode};
use std::time::Instant;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    if words.next_if(|word| word == "--no-auxv").is_some() {
        refuse_auxv();
    }
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

fn refuse_auxv() {
    const PR_GET_AUXV: u32 = 0x4155_5856;
    let load = |offset| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0);
    let skip_unless = |value, skipped| filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, skipped);
    let end = |action| filter(libc::BPF_RET | libc::BPF_K, action, 0);
    let mut filters = [
        load(0), // seccomp_data.nr
        skip_unless(libc::SYS_prctl as u32, 3),
        load(if cfg!(target_endian = "little") { 16 } else { 20 }), // the low half of args[0]
        skip_unless(PR_GET_AUXV, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filters.len() as u16, filter: filters.as_mut_ptr() };
    // SAFETY: the kernel copies the filters, which live until then.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    assert_eq!(refused, 0, "no filter for system calls");
}

fn filter(code: u32, k: u32, skipped: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: skipped, k }
}
