//! URLs of endpoints: checked once, when an endpoint is described.

use crate::error::{Error, ErrorKind};
use alloc::format;
use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

/// An absolute http or https URL without user information and without a fragment (RFC 6749 section 3.2).
#[derive(Clone)]
pub(crate) struct Url {
    text: String,
    is_https: bool,
    host: Range<usize>,
    /// Where the authority ends and the path starts.
    path: usize,
    query: Option<usize>,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let fail = |why: &str| Error::new(ErrorKind::Config, format!("url: {why}"));
        if let Some(at) = text.bytes().position(|byte| !matches!(byte, 0x21..=0x7E)) {
            return Err(fail(&format!("only visible ASCII can stand in it, see byte {at}"))
                .with_hint("percent-encode the character (a space is %20), and write a host name in punycode"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail("it must start with https:// or http://"))?;
        let is_https = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => true,
            _ if scheme.eq_ignore_ascii_case("http") => false,
            _ => return Err(fail("only https and http are known")),
        };
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let start = text.len() - rest.len();
        let path = start + authority.len();
        if authority.contains('@') {
            return Err(fail("a user name or password cannot stand in it")
                .with_hint("use a client secret or `Grant::password`"));
        }
        if rest.contains('#') {
            return Err(fail("a token endpoint has no fragment (#…)"));
        }
        // RFC 3986 appendix A has none of these anywhere, and in a host no percent sign.
        if text.contains(['\\', '"', '<', '>', '^', '`', '{', '|', '}']) || authority.contains('%') {
            return Err(fail("it holds a character that is not allowed there"));
        }
        let host_end = match authority.strip_prefix('[') {
            Some(literal) => {
                let length = literal.find(']').ok_or_else(|| fail("the IPv6 address has no closing bracket"))?;
                literal[..length].parse::<Ipv6Addr>().map_err(|_| fail("the IPv6 address is not one"))?;
                length + 2
            }
            None => {
                let host = &authority[..authority.find(':').unwrap_or(authority.len())];
                if ends_in_number(host) && host.parse::<Ipv4Addr>().is_err() {
                    return Err(fail("the host is a number, and no IPv4 address")
                        .with_hint("write an address as four decimal numbers, 10.1.2.3 for example"));
                }
                host.len()
            }
        };
        match authority[host_end..].strip_prefix(':') {
            None if host_end == authority.len() => {}
            Some(port)
                if port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0) => {}
            _ => return Err(fail("the port is not a number from 1 to 65535")),
        }
        if host_end == 0 {
            return Err(fail("the host is missing"));
        }
        Ok(Self { text: text.into(), is_https, host: start..start + host_end, path, query: text.find('?') })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }

    /// The URL without its query, which may hold a secret: for messages.
    pub(crate) fn without_query(&self) -> &str {
        &self.text[..self.query.unwrap_or(self.text.len())]
    }

    /// Where host and port end.
    pub(crate) fn authority_end(&self) -> usize {
        self.path
    }

    /// Host and port, as they stand in the URL.
    pub(crate) fn authority(&self) -> &str {
        &self.text[self.host.start..self.path]
    }

    /// Returns whether the host is this machine itself.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }

    /// Returns whether plain http is safe: the request stays on this machine or its link.
    pub(crate) fn is_near(&self) -> bool {
        is_near(self.host())
    }

    /// Returns the host, without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        self.text[self.host.clone()].trim_matches(['[', ']'])
    }
}

/// Returns whether a host, without brackets, is this machine itself: `localhost` or a loopback address in its usual notation
/// (RFC 6761 section 6.3).
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns whether a host is a cloud's metadata service or another link-local address. Such services speak plain http, and
/// answer with the credentials of the machine that asks: a proxy would get its own, or read them.
pub(crate) fn is_link_local(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        // Amazon's are in fd00:ec2::/32, Google's is fd20:ce::254.
        Ok(IpAddr::V6(address)) => {
            address.is_unicast_link_local()
                || matches!(address.segments(), [0xFD00, 0xEC2, ..] | [0xFD20, 0xCE, 0, 0, 0, 0, 0, 0x254])
        }
        Err(_) => host.eq_ignore_ascii_case("metadata.google.internal"),
    }
}

/// Returns whether a request to a host stays on this machine or its link.
pub(crate) fn is_near(host: &str) -> bool {
    is_loopback(host) || is_link_local(host)
}

/// Whether the last label of a host is a number, decimal or hexadecimal. No name ends in one: it is an IPv4 address, or a
/// spelling of one (`10.1`, `0x0a000001`, `010.0.0.1`) that resolvers read each in its own way.
pub(crate) fn ends_in_number(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    match last.strip_prefix("0x").or(last.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_loopback_hosts_are_loopback() {
        for (url, loopback) in [
            ("http://127.0.0.1:8080/t", true),
            ("http://127.9.9.9/t", true),
            ("http://localhost?x", true),
            ("http://LOCALHOST:1/", true),
            ("http://[::1]:80/t", true),
            ("http://127.0.0.1.example/t", false),
            ("http://localhost.example/t", false),
            ("http://127.0.0.1x/t", false),
            ("http://1.example/t", false),
            ("http://0xg/t", false),
            ("http://[::ffff:127.0.0.1]/t", false),
            ("http://10.0.0.1/t", false),
        ] {
            assert_eq!(Url::parse(url).map(|url| url.is_loopback()).ok(), Some(loopback), "{url}");
        }
    }

    #[test]
    fn metadata_services_are_known() {
        for (host, expected) in [
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("[::ffff:169.254.169.254]", true),
            ("[fd00:ec2::254]", true),
            ("[fd20:ce::254]", true),
            ("[fe80::1]", true),
            ("metadata.google.internal", true),
            ("Metadata.Google.Internal", true),
            ("metadata.google.internal.example", false),
            ("169.254.169.254.example", false),
            ("10.0.0.1", false),
            ("[fd00::1]", false),
            ("as.example", false),
        ] {
            let url = Url::parse(&format!("http://{host}:80/t")).ok().unwrap();
            assert_eq!((url.is_near(), url.is_loopback()), (expected, false), "{host}");
        }
    }

    #[test]
    fn bad_urls_are_named() {
        for (url, message) in [
            ("as.example/token", "url: it must start with https:// or http://"),
            ("ftp://as.example/", "url: only https and http are known"),
            ("https://", "url: the host is missing"),
            ("https://:80/", "url: the host is missing"),
            ("https://u:p@as.example/", "url: a user name or password cannot stand in it"),
            ("https://as.example/#x", "url: a token endpoint has no fragment (#…)"),
            ("https://as.example:0/", "url: the port is not a number from 1 to 65535"),
            ("https://as.example:99999/", "url: the port is not a number from 1 to 65535"),
            ("https://as.example:+1/", "url: the port is not a number from 1 to 65535"),
            ("http://127.1/", "url: the host is a number, and no IPv4 address"),
            ("http://2130706433:80/", "url: the host is a number, and no IPv4 address"),
            ("http://0x7f000001/", "url: the host is a number, and no IPv4 address"),
            ("http://0x7f.0.0.0X1/", "url: the host is a number, and no IPv4 address"),
            ("http://010.0.0.1/", "url: the host is a number, and no IPv4 address"),
            ("http://10.0.0.1./", "url: the host is a number, and no IPv4 address"),
            ("http://10.0.0.256/", "url: the host is a number, and no IPv4 address"),
            ("http://as.1/", "url: the host is a number, and no IPv4 address"),
            ("https://[::1/", "url: the IPv6 address has no closing bracket"),
            ("https://[::g]/", "url: the IPv6 address is not one"),
            ("https://[::1]x/", "url: the port is not a number from 1 to 65535"),
            ("https://as.example/a b", "url: only visible ASCII can stand in it, see byte 20"),
            ("https://as.example\\@evil.example/", "url: a user name or password cannot stand in it"),
            ("https://as.example/\\x", "url: it holds a character that is not allowed there"),
        ] {
            assert_eq!(Url::parse(url).map(|_| ()).map_err(|error| format!("{error}")), Err(message.into()), "{url}");
        }
    }
}
