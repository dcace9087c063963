//! Reports to systemd through the protocol of sd_notify(3).

use crate::stderr::shorten;
use std::io::ErrorKind;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// Whether the message that the service is ready is still to be sent, because the socket was full.
    owes_ready: bool,
    /// When the start-up time is to be extended again.
    extend_at: Duration,
    /// The interval of the watchdog's signs of life, if it is on, and when the next is due.
    watchdog: Option<Duration>,
    ping_at: Duration,
}

/// During start-up systemd is asked at this interval to extend its time limit.
const EVERY: Duration = Duration::from_secs(20);
const EXTENSION: &str = "EXTEND_TIMEOUT_USEC=60000000";

const SHORTEST_PING: Duration = Duration::from_millis(100);

/// The wait before a message is repeated that found the socket full.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest status in bytes: it is one line for a person.
const MAX_STATE: usize = 1024;

impl Notify {
    /// Creates a notifier for the socket in `NOTIFY_SOCKET`, if that is set.
    pub(crate) fn from_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let open = || {
            let socket = UnixDatagram::unbound()?;
            // The receiver may have stopped reading.
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>((socket, address(name.as_encoded_bytes())?))
        };
        let socket = if name.is_empty() { None } else { open().ok() };
        Self { socket, watchdog: watchdog(|name| std::env::var(name).ok()), ..Self::default() }
    }

    /// Creates a notifier that sends nothing.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Sends lines such as `STATUS=…`. Ignores errors, because there is nowhere to report them, and does not wait for a
    /// full socket.
    pub(crate) fn send(&self, state: &str) {
        let _ = self.try_send(state);
    }

    /// Reports that the service is ready, now or as soon as the socket has room.
    pub(crate) fn ready(&mut self) {
        let result = self.try_send("READY=1");
        self.owes_ready = result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    }

    /// Sends all other messages that are due. Returns when the next is due. Asks for more time while the service is not
    /// ready.
    pub(crate) fn go_on(&mut self, now: Duration, is_ready: bool) -> Option<Duration> {
        self.socket.as_ref()?;
        let ping = self.watchdog.map(|every| {
            if self.ping_at <= now {
                self.send("WATCHDOG=1");
                self.ping_at = now + every;
            }
            self.ping_at
        });
        [ping, self.start(now, is_ready)].into_iter().flatten().min()
    }

    fn start(&mut self, now: Duration, is_ready: bool) -> Option<Duration> {
        if self.owes_ready {
            self.ready();
        }
        if self.owes_ready {
            return Some(now + AGAIN);
        }
        if is_ready {
            return None;
        }
        if self.extend_at <= now {
            self.send(EXTENSION);
            self.extend_at = now + EVERY;
        }
        Some(self.extend_at)
    }

    fn try_send(&self, state: &str) -> std::io::Result<()> {
        match &self.socket {
            Some((socket, address)) => socket.send_to_addr(shorten(state, MAX_STATE).as_bytes(), address).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// Returns the interval of the signs of life: half of the time in `WATCHDOG_USEC`, as sd_watchdog_enabled(3)
/// recommends. None if that is for another process.
fn watchdog(variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    if variable("WATCHDOG_PID").is_some_and(|pid| pid.parse() != Ok(std::process::id())) {
        return None;
    }
    let microseconds = variable("WATCHDOG_USEC")?.parse().ok().filter(|microseconds| *microseconds > 0)?;
    // With a lower limit, to bound the cost.
    Some((Duration::from_micros(microseconds) / 2).max(SHORTEST_PING))
}

/// Returns the address of a path, or with a leading `@` that of an abstract socket.
fn address(name: &[u8]) -> std::io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::new(
        std::str::from_utf8(name).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidInput))?,
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Returns the messages that are sent within 90 s, each with its second, by a service that is ready after `ready`
    /// seconds.
    fn sent(ready: u64, watchdog: Option<Duration>) -> Vec<(u64, String)> {
        let name = format!("notify-{}-{ready}-{}", std::process::id(), watchdog.is_some());
        let path = std::env::temp_dir().join(name);
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let socket = Some((UnixDatagram::unbound().unwrap(), SocketAddr::from_pathname(&path).unwrap()));
        let mut notify = Notify { socket, watchdog, ..Notify::default() };
        let (mut now, mut sent) = (Duration::ZERO, Vec::new());
        while now <= Duration::from_secs(90) {
            let next = notify.go_on(now, now >= Duration::from_secs(ready));
            let mut bytes = [0; 100];
            while let Ok(count) = listener.recv(&mut bytes) {
                sent.push((now.as_secs(), String::from_utf8_lossy(&bytes[..count]).into_owned()));
            }
            let Some(next) = next else { break };
            assert!(next > now, "it would not sleep");
            now = next;
        }
        std::fs::remove_file(path).unwrap();
        sent
    }

    #[test]
    fn more_time_is_asked_for_as_long_as_there_is_no_token_and_the_watchdog_is_kept_quiet() {
        let extend = |at| (at, EXTENSION.to_owned());
        let ping = |at| (at, "WATCHDOG=1".to_owned());
        assert_eq!(sent(1000, None), [0, 20, 40, 60, 80].map(extend));
        assert_eq!(sent(30, None), [0, 20].map(extend));
        let watchdog = Some(Duration::from_secs(30));
        assert_eq!(sent(0, watchdog), [0, 30, 60, 90].map(ping));
        assert_eq!(sent(30, watchdog), [ping(0), extend(0), extend(20), ping(30), ping(60), ping(90)]);
    }

    #[test]
    fn the_watchdog_is_this_process_s_or_none() {
        let own = std::process::id().to_string();
        for (time, pid, expected) in [
            (None, None, None),
            (Some("60000000"), None, Some(30_000)),
            (Some("60000000"), Some(own.as_str()), Some(30_000)),
            (Some("60000000"), Some("1"), None),
            (Some("60000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (Some("1"), None, Some(100)),
        ] {
            let variable = |name: &str| if name == "WATCHDOG_USEC" { time } else { pid }.map(str::to_owned);
            assert_eq!(watchdog(variable), expected.map(Duration::from_millis), "{time:?} {pid:?}");
        }
    }
}
