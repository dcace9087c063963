//! A token's deadline holds while the device sleeps. A program that holds a token is moved into a time namespace whose
//! boot clock is two hours ahead, just as it would find it after a suspend, and must ask for a new token; with a clock
//! made of `Instant`, which stops in suspend, it must be seen to hand out the old one.
//!
//! It needs root and a Linux that has time namespaces. Elsewhere it is skipped; with `CI=true` that is a failure. A
//! process with threads cannot be moved, so this test is a program without a harness, and starts itself for each case.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]
#[path = "common/time.rs"]
mod time;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("suspend: skipped, because only Linux has time namespaces");
    ExitCode::SUCCESS
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::time::Holder;
    use keyfob::{BootClock, Client, Clock, Endpoint, Grant, Request, Response, SharedTokenCache, TokenCache};
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::cell::Cell;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::process::{Command, ExitCode};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    const ASLEEP: Duration = Duration::from_secs(7200);

    /// A name, what it does, and the tokens that it must be given before and after the suspend.
    type Case = (&'static str, fn(suspend: &dyn Fn()) -> [String; 2], [&'static str; 2]);

    const CASES: [Case; 4] = [
        ("the_cache_for_threads_asks_for_a_new_token_after_a_suspend", shared_with_boot_clock, ["t1", "t2"]),
        ("the_cache_for_one_owner_asks_for_a_new_token_after_a_suspend", owned_with_boot_clock, ["t1", "t2"]),
        ("with_an_instant_for_a_clock_the_old_token_is_handed_out", shared_with_instant, ["t1", "t1"]),
        ("only_the_boot_clock_goes_on", clocks, ["boot clock: went on", "instant: stopped"]),
    ];

    /// Tells a process that is started for a case the path of the namespace.
    const NAMESPACE: &str = "KEYFOB_TEST_TIME_NAMESPACE";

    /// A client whose server issues `t1`, `t2` and so on, each for an hour.
    fn client(clock: impl Clock + 'static) -> Client {
        let requests = Arc::new(AtomicUsize::new(0));
        let send = move |_: &Request| {
            let number = requests.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(Response::new(200, format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#)))
        };
        Client::with_parts(Endpoint::new("https://as.example/token").unwrap(), send, clock)
    }

    fn shared(clock: impl Clock + 'static, suspend: &dyn Fn()) -> [String; 2] {
        let tokens = SharedTokenCache::new(client(clock), Grant::client_credentials());
        let token = || tokens.token().unwrap().expose().to_owned();
        let before = token();
        assert_eq!(token(), before, "it is at hand");
        suspend();
        [before, token()]
    }

    fn shared_with_boot_clock(suspend: &dyn Fn()) -> [String; 2] {
        shared(BootClock, suspend)
    }

    fn shared_with_instant(suspend: &dyn Fn()) -> [String; 2] {
        let start = Instant::now();
        shared(move || start.elapsed(), suspend)
    }

    fn owned_with_boot_clock(suspend: &dyn Fn()) -> [String; 2] {
        let mut tokens = TokenCache::new(client(BootClock), Grant::client_credentials());
        let mut token = || tokens.token().unwrap().expose().to_owned();
        let before = token();
        assert_eq!(token(), before, "it is at hand");
        suspend();
        [before, token()]
    }

    /// The control: the suspend is what it should be.
    fn clocks(suspend: &dyn Fn()) -> [String; 2] {
        let (boot, instant) = (BootClock.now(), Instant::now());
        suspend();
        let passed = |time: Duration| if time >= ASLEEP { "went on" } else { "stopped" };
        let boot = BootClock.now().saturating_sub(boot);
        [format!("boot clock: {}", passed(boot)), format!("instant: {}", passed(instant.elapsed()))]
    }

    pub(crate) fn main() -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if let Ok(namespace) = std::env::var(NAMESPACE) {
            return run(&arguments[0], &namespace);
        }
        // What follows one of these is no name.
        let with_value = ["--test-threads", "--skip", "--color", "--format", "--logfile"];
        let names: Vec<&String> = (0..arguments.len())
            .filter(|&at| at == 0 || !with_value.contains(&&*arguments[at - 1]))
            .map(|at| &arguments[at])
            .filter(|argument| !argument.starts_with('-'))
            .collect();
        let is_asked_for = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
        let cases = CASES.iter().filter(|(name, ..)| is_asked_for(name));
        if arguments.iter().any(|argument| argument == "--list") {
            cases.for_each(|(name, ..)| println!("{name}: test"));
            return ExitCode::SUCCESS;
        }
        let cases: Vec<&Case> = cases.collect();
        println!("\nrunning {} tests", cases.len());
        let holder = match Holder::start(ASLEEP) {
            Ok(holder) => holder,
            Err(_) if cases.is_empty() => return ExitCode::SUCCESS,
            Err(reason) => {
                println!("suspend: skipped, because there is no time namespace: {reason}");
                let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
                return ExitCode::from(u8::from(is_ci));
            }
        };
        let mut failed = 0;
        for (name, ..) in &cases {
            let is_passed = Command::new(std::env::current_exe().unwrap())
                .arg(name)
                .env(NAMESPACE, &holder.namespace)
                .status()
                .is_ok_and(|status| status.success());
            println!("test {name} ... {}", if is_passed { "ok" } else { "FAILED" });
            failed += usize::from(!is_passed);
        }
        let result = if failed == 0 { "ok" } else { "FAILED" };
        println!("\ntest result: {result}. {} passed; {failed} failed\n", cases.len() - failed);
        ExitCode::from(u8::from(failed > 0))
    }

    /// One case, in a process of its own.
    fn run(name: &str, namespace: &str) -> ExitCode {
        let (_, case, expected) = CASES.iter().find(|(known, ..)| *known == name).expect("a case");
        let namespace = File::open(namespace).expect("the namespace's file");
        let is_moved = Cell::new(false);
        let suspend = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Time)).expect("the move");
            is_moved.set(true);
        };
        let tokens = case(&suspend);
        if is_moved.get() && tokens == *expected {
            return ExitCode::SUCCESS;
        }
        eprintln!("{name}: {tokens:?} instead of {expected:?}");
        ExitCode::FAILURE
    }
}
