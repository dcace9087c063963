//! Which proxy a request goes through, if any.

use super::Target;
use crate::encode;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::transport::ResponseHeaders;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use zeroize::Zeroizing;

/// A proxy that connects to servers on request (CONNECT, RFC 9110 section 9.3.6).
pub(super) struct Proxy {
    pub(super) is_https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<Secret>,
}

/// Host and port, for messages.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Proxy {
    /// Reads a proxy's URL; `origin` names it in errors. Nothing of the URL is shown: any part of it may be a part of the
    /// password.
    pub(super) fn parse(url: &str, origin: &str) -> Result<Self, Error> {
        let bad = || {
            Error::config(format!("{origin}: this is no proxy's URL")).with_hint(
                "it looks like http://proxy.example:3128; in a password, encode # as %23, / as %2F, ? as %3F, @ as %40",
            )
        };
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let is_https = scheme.eq_ignore_ascii_case("https");
        if ["socks", "socks4", "socks4a", "socks5", "socks5h"].iter().any(|socks| socks.eq_ignore_ascii_case(scheme)) {
            let message = format!("{origin}: SOCKS proxies are not supported, and going around it would be wrong");
            return Err(Error::config(message).with_hint("name an http proxy, or list the host in no_proxy"));
        }
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return Err(bad());
        }
        if is_https && !cfg!(feature = "tls") {
            return Err(Error::config(format!("{origin}: an https proxy needs the feature `tls`")));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if !rest.bytes().all(|byte| matches!(byte, 0x21..=0x7E)) || rest.contains(['/', '?', '#', '\\']) {
            return Err(bad());
        }
        let (user_info, authority) = rest.rsplit_once('@').map_or((None, rest), |(info, rest)| (Some(info), rest));
        let (host, port) = host_and_port(authority).ok_or_else(bad)?;
        let is_address = host.parse::<Ipv6Addr>().is_ok();
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if host.is_empty() || !(is_address || is_name) {
            return Err(bad());
        }
        Ok(Self {
            is_https,
            host: host.into(),
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
            authorization: user_info.filter(|info| !info.is_empty()).map(basic),
        })
    }

    /// The proxy that the environment names for a target: the variables of curl.
    pub(super) fn from_environment(target: &Target<'_>) -> Result<Option<Arc<Self>>, Error> {
        // Not HTTP_PROXY: in a CGI program that is the request's `Proxy` header.
        let own: [&str; 2] = if target.is_https { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy"; 2] };
        let Some((name, value)) = variable(&[own[0], own[1], "all_proxy", "ALL_PROXY"])? else { return Ok(None) };
        if let Some((name, exceptions)) = variable(&["no_proxy", "NO_PROXY"])? {
            if needs_no_proxy(&exceptions, name, target.host, target.port)? {
                return Ok(None);
            }
        }
        Self::parse(&value, name).map(|proxy| Some(Arc::new(proxy)))
    }

    /// The request for a connection to `target`.
    pub(super) fn connect_request(&self, target: &Target<'_>) -> Secret {
        let (host, port) = (target.bracketed_host, target.port);
        encode::exact(|out| {
            // Old proxies close the connection without `Proxy-Connection`.
            write!(out, "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nProxy-Connection: Keep-Alive\r\n")?;
            if let Some(authorization) = &self.authorization {
                write!(out, "Proxy-Authorization: {}\r\n", authorization.expose())?;
            }
            out.write_str("\r\n")
        })
    }

    /// The error for a proxy that wants other credentials (RFC 9110 section 15.5.8).
    pub(super) fn unauthorized(&self, headers: &ResponseHeaders) -> Error {
        const KNOWN: [&str; 5] = ["Basic", "Digest", "Negotiate", "NTLM", "Bearer"];
        let challenges: Vec<&str> = headers.all("proxy-authenticate").flat_map(|value| value.split(',')).collect();
        let is_offered = |scheme: &&str| {
            let mut words = challenges.iter().filter_map(|challenge| challenge.split_whitespace().next());
            words.any(|word| word.eq_ignore_ascii_case(scheme))
        };
        let offered: Vec<&str> = KNOWN.into_iter().filter(is_offered).collect();
        let hint = match offered[..] {
            [] | ["Basic", ..] if self.authorization.is_some() => {
                format!("check the user name and the password in the URL of the proxy {self}")
            }
            [] | ["Basic", ..] => {
                format!("give the proxy {self} a user name and a password in its URL: http://USER:PASSWORD@HOST:PORT")
            }
            _ => format!(
                "the proxy {self} offers {}, and keyfob can log in by Basic alone: ask for that, or put a local proxy that \
                 can do it in between",
                offered.join(", ")
            ),
        };
        Error::new(ErrorKind::Refused, "the proxy wants other credentials").with_status(407).with_hint(hint)
    }
}

/// The first of these variables that is set, with its name.
fn variable(names: &[&'static str]) -> Result<Option<(&'static str, Zeroizing<String>)>, Error> {
    for name in names {
        match std::env::var_os(name).filter(|value| !value.is_empty()).map(std::ffi::OsString::into_string) {
            Some(Ok(value)) => return Ok(Some((name, Zeroizing::new(value)))),
            Some(Err(value)) => {
                drop(Zeroizing::new(value.into_encoded_bytes()));
                return Err(Error::config(format!("{name}: it is not UTF-8 text"))
                    .with_hint("in a password, percent-encode what is not ASCII"));
            }
            None => {}
        }
    }
    Ok(None)
}

/// Basic credentials of the user information of a URL. A percent sign without two digits stands for itself.
fn basic(user_info: &str) -> Secret {
    let decode = |text: &str| {
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let digits = after.first_chunk::<2>().and_then(|digits| core::str::from_utf8(digits).ok());
            let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                None => {
                    bytes.push(*first);
                    rest = after;
                }
            }
        }
        bytes
    };
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let (user, password) = (decode(user), decode(password));
    let pair = Zeroizing::new([&user[..], b":", &password].concat());
    encode::exact(|out| {
        out.write_str("Basic ")?;
        encode::base64(out, &pair)
    })
}

/// `host`, `host:port`, `[address]` or `[address]:port`; the host without its brackets.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (host, rest) = literal.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port > 0).map(|port| (host, Some(port)))
        }
        _ => None,
    }
}

/// Returns whether `no_proxy` names the host; an error for an entry that says something else, since the user's exception
/// is what keeps a secret from the proxy.
///
/// Entries are separated by commas, spaces or both: `*`; an address or `[address]`, also with `:port`; a network
/// (`10.0.0.0/8`, `fd00::/8`); a domain and what is in it (`example`, `.example`, `*.example`), also with `:port`.
fn needs_no_proxy(exceptions: &str, variable: &str, host: &str, port: u16) -> Result<bool, Error> {
    let mut is_named = false;
    for entry in exceptions.split([',', ' ', '\t', '\r', '\n']).filter(|entry| !entry.is_empty()) {
        let matches = matches_entry(entry, host, port).ok_or_else(|| {
            Error::config(format!("{variable}: {entry:?} is neither a host, a domain, an address nor a network"))
                .with_hint("write example.com, .example.com, 10.1.2.3, 10.0.0.0/8, [fd00::1]:8080, or * for all")
        })?;
        is_named |= matches;
    }
    Ok(is_named)
}

/// None for what is not understood.
fn matches_entry(entry: &str, host: &str, port: u16) -> Option<bool> {
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    if entry == "*" {
        return Some(true);
    }
    if let Some((network, length)) = entry.split_once('/') {
        let network: IpAddr = network.parse().ok()?;
        let length: u32 =
            Some(length).filter(|length| length.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
        return is_within(address, network, length);
    }
    // An IPv6 address need not have brackets.
    let (name, its_port) = match entry.parse::<Ipv6Addr>() {
        Ok(_) => (entry, None),
        Err(_) => host_and_port(entry)?,
    };
    let is_port = its_port.is_none_or(|its_port| its_port == port);
    if let Ok(named) = name.parse::<IpAddr>() {
        return Some(is_port && address == Some(named.to_canonical()));
    }
    let domain = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    let domain = domain.strip_prefix('.').unwrap_or(domain).trim_end_matches('.').to_ascii_lowercase();
    let is_domain =
        !domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    // `10.9` is no domain, and as an address it is cut off.
    let is_number = domain.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_domain || is_number {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_in = host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    Some(is_port && is_in)
}

/// Whether the first `length` bits of an address are a network's; None for a length that is none.
fn is_within(address: Option<IpAddr>, network: IpAddr, length: u32) -> Option<bool> {
    // Both in the width of IPv6; of another family is none.
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (prefix, width) = bits(network);
    if length > width {
        return None;
    }
    let Some((bits, its_width)) = address.map(bits) else { return Some(false) };
    Some(width == its_width && (bits ^ prefix).checked_shr(128 - length).unwrap_or(0) == 0)
}

/// Whether a host is reached from this machine alone, and its answers are credentials: the metadata services of clouds
/// and whatever else is link-local. A proxy would answer for another machine, or show the credentials.
pub(super) fn is_metadata(host: &str) -> bool {
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

/// Names the proxy with its credentials, for telling ways apart.
pub(super) fn name(proxy: Option<&Proxy>) -> Secret {
    encode::exact(|out| match proxy {
        None => out.write_str("direct"),
        Some(proxy) => {
            let authorization = proxy.authorization.as_ref().map_or("", |authorization| authorization.expose());
            write!(out, "{} {proxy} {authorization}", if proxy.is_https { "https" } else { "http" })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// What an entry says to each of these: the documentation of the transport has the same table, with curl and Go.
    #[test]
    fn no_proxy_names_hosts_domains_addresses_and_networks() {
        for (exceptions, host, port, expected) in [
            ("", "as.example", 443, false),
            (",, ,", "as.example", 443, false),
            ("*", "as.example", 443, true),
            ("as.example", "as.example", 443, true),
            ("AS.example", "as.EXAMPLE", 443, true),
            ("as.example.", "as.example", 443, true),
            ("as.example", "as.example.", 443, true),
            ("example", "as.example", 443, true),
            (".example", "as.example", 443, true),
            (".example", "example", 443, true),
            ("*.example", "as.example", 443, true),
            ("s.example", "as.example", 443, false),
            ("as.example:443", "as.example", 443, true),
            ("as.example:443", "as.example", 8443, false),
            ("10.9.8.7", "10.9.8.7", 80, true),
            ("10.9.8.7", "10.9.8.70", 80, false),
            ("10.9.8.7:80", "10.9.8.7", 80, true),
            ("10.9.8.7:81", "10.9.8.7", 80, false),
            ("10.0.0.0/8", "10.9.8.7", 80, true),
            ("10.9.8.7/8", "10.1.1.1", 80, true),
            ("10.0.0.0/8", "11.9.8.7", 80, false),
            ("10.9.8.7/32", "10.9.8.7", 80, true),
            ("10.9.8.6/32", "10.9.8.7", 80, false),
            ("0.0.0.0/0", "10.9.8.7", 80, true),
            ("0.0.0.0/0", "fd00::1", 80, false),
            ("0.0.0.0/0", "as.example", 80, false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", 80, true),
            ("fd00::/8", "fd00::1", 80, true),
            ("fd00::/8", "fe00::1", 80, false),
            ("::/0", "fd00::1", 80, true),
            ("fd00::1/128", "fd00::1", 80, true),
            ("fd00::1", "fd00::1", 80, true),
            ("FD00:0:0:0:0:0:0:1", "fd00::1", 80, true),
            ("[fd00::1]", "fd00::1", 80, true),
            ("[fd00::1]:80", "fd00::1", 80, true),
            ("[fd00::1]:81", "fd00::1", 80, false),
            ("foo 10.9.8.7", "10.9.8.7", 80, true),
            ("foo, bar,\t10.9.8.7", "10.9.8.7", 80, true),
            ("a_b.example", "a_b.example", 80, true),
        ] {
            let result = needs_no_proxy(exceptions, "no_proxy", host, port);
            assert_eq!(result.ok(), Some(expected), "{exceptions} {host}:{port}");
        }
    }

    #[test]
    fn an_entry_of_no_proxy_that_is_not_understood_is_named() {
        for entry in [
            "10.9.*",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "fd00::/129",
            "[fd00::/8]",
            "10.9",
            "10.9.8.",
            "*example",
            "a*.example",
            "as.example:",
            "as.example:0",
            "as.example:99999",
            "as.example:8x",
            "http://as.example",
            "[fd00::1",
            "fe80::1%eth0",
            ".",
            "*.",
            "a/8",
            "ä.example",
        ] {
            let error = needs_no_proxy(&format!("*,{entry}"), "NO_PROXY", "as.example", 443).unwrap_err();
            let message = format!("NO_PROXY: {entry:?} is neither a host, a domain, an address nor a network");
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, message));
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_that_shows_nothing_of_it() {
        const SOCKS: &str = "all_proxy: SOCKS proxies are not supported, and going around it would be wrong";
        const NONE: &str = "all_proxy: this is no proxy's URL";
        for (url, message) in [
            ("socks5://p.example:1080", SOCKS),
            ("SOCKS5h://me:hunter2@p.example:1080", SOCKS),
            ("ftp://p.example", NONE),
            ("", NONE),
            ("http://", NONE),
            ("http://user:hunter2@", NONE),
            ("http://svc:4711#Rest@127.0.0.1:9", NONE),
            ("http://svc:47/11@127.0.0.1:9", NONE),
            ("http://svc:47?11@127.0.0.1:9", NONE),
            ("http://svc:47\\11@127.0.0.1:9", NONE),
            ("http://127.0.0.1:9/path", NONE),
            ("http://127.0.0.1:9?query", NONE),
            ("http://127.0.0.1:9#", NONE),
            ("http://svc:geheim@127.0.0.1:99999", NONE),
            ("http://svc:geheim@127.0.0.1:31z8", NONE),
            ("http://svc:geheim@127.0.0.1:0", NONE),
            ("http://svc:geheim@127.0.0.1:+80", NONE),
            ("http://svc:geheim@127.0.0.1:", NONE),
            ("http://svc:geheim@[::1", NONE),
            ("http://svc:geheim@[::g]:80", NONE),
            ("http://svc:geheim@::1", NONE),
            ("http://svc:geheim@p example", NONE),
            ("http://svc:geheim@p.exämple", NONE),
            ("http://svc:geheim@p%41", NONE),
        ] {
            let error = Proxy::parse(url, "all_proxy").map(|_| ()).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message), "{url}");
            let hint = error.hint().unwrap();
            assert!(!hint.contains("svc") && !hint.contains("geheim") && !hint.contains("4711"), "{hint}");
        }
    }

    #[test]
    fn a_proxys_url_is_read() {
        for (url, place, credentials) in [
            ("http://p.example:3128", "p.example:3128", None),
            ("http://p.example:3128/", "p.example:3128", None),
            ("p.example:3128", "p.example:3128", None),
            ("HTTP://p.example", "p.example:80", None),
            ("http://@p.example", "p.example:80", None),
            ("http://[fd00::1]:3128", "[fd00::1]:3128", None),
            ("http://me:p%40s%23s@p.example:1", "p.example:1", Some("Basic bWU6cEBzI3M=")),
            ("me:p@ss@p.example:1", "p.example:1", Some("Basic bWU6cEBzcw==")),
            // A percent sign alone.
            ("http://u:pw%@p.example:1", "p.example:1", Some("Basic dTpwdyU=")),
            ("http://u@p.example:1", "p.example:1", Some("Basic dTo=")),
        ] {
            let proxy = Proxy::parse(url, "proxy").unwrap();
            assert_eq!(proxy.to_string(), place, "{url}");
            assert_eq!(proxy.authorization.as_ref().map(Secret::expose), credentials, "{url}");
        }
    }

    #[test]
    fn metadata_services_are_known() {
        for (host, expected) in [
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("::ffff:169.254.169.254", true),
            ("fd00:ec2::254", true),
            ("fd20:ce::254", true),
            ("fe80::1", true),
            ("metadata.google.internal", true),
            ("10.0.0.1", false),
            ("fd00::1", false),
            ("as.example", false),
        ] {
            assert_eq!(is_metadata(host), expected, "{host}");
        }
    }

    #[test]
    fn a_proxy_that_wants_other_credentials_says_which() {
        for (url, challenges, hint) in [
            (
                "http://p:1",
                &[][..],
                "give the proxy p:1 a user name and a password in its URL: http://USER:PASSWORD@HOST:PORT",
            ),
            (
                "http://me:x@p:1",
                &["Basic realm=\"a, b\""],
                "check the user name and the password in the URL of the proxy p:1",
            ),
            (
                "http://me:x@p:1",
                &["NTLM", "basic realm=x"],
                "check the user name and the password in the URL of the proxy p:1",
            ),
            (
                "http://me:x@p:1",
                &["Negotiate, NTLM", "Digest realm=\"me:x\", qop=auth"],
                "the proxy p:1 offers Digest, Negotiate, NTLM, and keyfob can log in by Basic alone: ask for that, or put a \
                 local proxy that can do it in between",
            ),
        ] {
            let mut headers = ResponseHeaders::default();
            for challenge in challenges {
                headers.push("Proxy-Authenticate", Secret::from(*challenge));
            }
            let error = Proxy::parse(url, "proxy").unwrap().unauthorized(&headers);
            assert_eq!((error.kind(), error.status(), error.is_retryable()), (ErrorKind::Refused, Some(407), false));
            assert_eq!((error.to_string().as_str(), error.hint()), ("the proxy wants other credentials", Some(hint)));
        }
    }
}
