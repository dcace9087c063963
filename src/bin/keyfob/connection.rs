//! The connection: TLS settings, proxy and time limits.

use crate::members::{config, take_duration, take_flag, take_text};
use keyfob::{Error, HttpTransport};
use miniserde::json::Object;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) struct Connection {
    pub(crate) timeout: Option<Duration>,
    pub(crate) ca_file: Option<PathBuf>,
    system_roots: bool,
    proxy: Option<String>,
    no_proxy: bool,
    connect_to: Option<String>,
}

impl Connection {
    pub(crate) fn take(members: &mut Object) -> Result<Self, Error> {
        Ok(Self {
            timeout: take_duration(members, "timeout")?.map(check_timeout).transpose()?,
            ca_file: take_text(members, "ca_file")?.map(PathBuf::from),
            system_roots: take_flag(members, "system_roots")?,
            proxy: take_text(members, "proxy")?,
            no_proxy: take_flag(members, "no_proxy")?,
            connect_to: take_text(members, "connect_to")?,
        })
    }

    pub(crate) fn transport(&self) -> Result<HttpTransport, Error> {
        let mut transport = HttpTransport::new();
        if let Some(file) = &self.ca_file {
            transport = trust(transport, file)?;
        }
        if self.system_roots {
            transport = trust_as_the_system(transport)?;
        }
        match &self.proxy {
            // The URL is not shown: the part before the `@` may hold a secret.
            Some(url) if url.contains('@') => {
                return Err(config("`proxy`: contains a user name or password, and everyone can read argument lists")
                    .with_hint("set it in the environment: https_proxy, http_proxy or all_proxy"));
            }
            Some(url) => transport = transport.proxy(url)?,
            None if self.no_proxy => transport = transport.no_proxy(),
            None => {}
        }
        match &self.connect_to {
            Some(place) => transport.connect_to(place),
            None => Ok(transport),
        }
    }
}

/// The default time limit of a whole fetch, the same as the library's.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// One day: no longer wait is sensible, and no clock overflows with it.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

fn check_timeout(timeout: Duration) -> Result<Duration, Error> {
    match timeout {
        Duration::ZERO => Err(config("`timeout`: must be longer than 0 s")),
        timeout => Ok(timeout.min(LONGEST_WAIT)),
    }
}

#[cfg(feature = "tls")]
fn trust(transport: HttpTransport, file: &Path) -> Result<HttpTransport, Error> {
    Ok(transport.roots_file(file))
}

#[cfg(feature = "tls")]
fn trust_as_the_system(transport: HttpTransport) -> Result<HttpTransport, Error> {
    Ok(transport.system_roots())
}

#[cfg(not(feature = "tls"))]
fn trust(_: HttpTransport, _: &Path) -> Result<HttpTransport, Error> {
    Err(config("--ca-file: this build has no TLS"))
}

#[cfg(not(feature = "tls"))]
fn trust_as_the_system(_: HttpTransport) -> Result<HttpTransport, Error> {
    Err(config("--system-roots: this build has no TLS"))
}
