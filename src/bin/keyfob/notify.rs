//! What systemd is told, where it listens: the protocol of sd_notify(3).

use crate::stderr::shorten;
use std::io::ErrorKind;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

pub(crate) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// The socket was full when it was to hear that the service is ready.
    owes_ready: bool,
    /// When the time to start is to be extended again.
    extend_at: Duration,
}

/// As long as the service is starting, systemd is told this often that it is still at work, and waits this much longer.
const EVERY: Duration = Duration::from_secs(20);
const EXTENSION: &str = "EXTEND_TIMEOUT_USEC=60000000";

/// When a message is sent again that found the socket full.
const AGAIN: Duration = Duration::from_secs(1);

/// A status is one line for a person.
const MAX_STATE: usize = 1024;

impl Notify {
    /// To the socket that `NOTIFY_SOCKET` names, if there is one.
    pub(crate) fn from_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let open = || {
            let socket = UnixDatagram::unbound()?;
            // Whoever listens may have stopped reading.
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>((socket, address(name.as_encoded_bytes())?))
        };
        let socket = if name.is_empty() { None } else { open().ok() };
        Self { socket, owes_ready: false, extend_at: Duration::ZERO }
    }

    /// To nobody.
    pub(crate) fn none() -> Self {
        Self { socket: None, owes_ready: false, extend_at: Duration::ZERO }
    }

    /// Sends lines like `STATUS=…`. Where nobody listens any more there is nobody to tell; a full socket is not waited for.
    pub(crate) fn send(&self, state: &str) {
        let _ = self.try_send(state);
    }

    /// Says that the service is ready, now or as soon as the socket has room.
    pub(crate) fn ready(&mut self) {
        let result = self.try_send("READY=1");
        self.owes_ready = result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    }

    /// Sends what is due besides; returns when the next is. A service that is not ready yet asks for more time.
    pub(crate) fn go_on(&mut self, now: Duration, is_ready: bool) -> Option<Duration> {
        self.socket.as_ref()?;
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

/// A path, or with an `@` in front a name that is in no file system.
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
