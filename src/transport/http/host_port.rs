//! A host and a port: of a URL, of a proxy, or of `connect_to`.

use alloc::string::String;
use core::fmt;
use core::net::Ipv6Addr;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl HostPort {
    /// Reads `host:port` or `host`. Returns None unless the host is a name or an address.
    pub(super) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = split(text)?;
        let is_name =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let is_valid = is_name || text.starts_with('[');
        is_valid.then(|| Self { host: host.into(), port: port.unwrap_or(default_port) })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Splits `host`, `host:port`, `[address]` or `[address]:port`. The host is returned without brackets.
pub(super) fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(literal) => {
            let (host, rest) = literal.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port > 0).map(|port| (host, Some(port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn host_and_port_are_read_and_written() {
        for (text, expected) in [
            ("as.example:8443", Some("as.example:8443")),
            ("as.example", Some("as.example:443")),
            ("10.1.2.3:1", Some("10.1.2.3:1")),
            ("[fd00::1]:8443", Some("[fd00::1]:8443")),
            ("[fd00::1]", Some("[fd00::1]:443")),
            ("a_b", Some("a_b:443")),
            ("", None),
            (":443", None),
            ("[]:443", None),
            ("fd00::1", None),
            ("[as.example]:443", None),
            ("[fe80::1%eth0]:443", None),
            ("as.example:", None),
            ("as.example:0", None),
            ("as.example:65536", None),
            ("as.example:+1", None),
            ("as.example:443/path", None),
            ("http://as.example:443", None),
            ("user@as.example:443", None),
            ("as example:443", None),
            ("äs.example:443", None),
        ] {
            assert_eq!(HostPort::parse(text, 443).map(|place| place.to_string()).as_deref(), expected, "{text}");
        }
    }
}
