//! What systemd is told, where it listens: the protocol of sd_notify(3).

use std::os::unix::net::{SocketAddr, UnixDatagram};

pub(crate) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// To the socket that `NOTIFY_SOCKET` names, if there is one.
    pub(crate) fn from_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let socket = UnixDatagram::unbound().and_then(|socket| Ok((socket, address(name.as_encoded_bytes())?)));
        Self(socket.ok().filter(|_| !name.is_empty()))
    }

    /// Sends lines like `READY=1`. Where nobody listens any more there is nobody to tell.
    pub(crate) fn send(&self, state: &str) {
        if let Some((socket, address)) = &self.0 {
            let _ = socket.send_to_addr(state.as_bytes(), address);
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
