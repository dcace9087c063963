//! The proxy that a request goes through, if any.

use super::Target;
use super::host_port::HostPort;
use super::no_proxy::needs_no_proxy;
use crate::encode;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::transport::ResponseHeaders;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use zeroize::Zeroizing;

/// A proxy that connects to servers on request (CONNECT, RFC 9110 section 9.3.6).
pub(super) struct Proxy {
    pub(super) is_https: bool,
    pub(super) place: HostPort,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<Secret>,
}

/// Shows host and port.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl Proxy {
    /// Reads the URL of a proxy. `origin` names it in errors. Nothing of the URL is shown, because any part of it may belong to the
    /// password.
    pub(super) fn parse(url: &str, origin: &str) -> Result<Self, Error> {
        let bad = || {
            Error::config(format!("{origin}: this is not the URL of a proxy")).with_hint(
                "it looks like http://proxy.example:3128; in a password, encode # as %23, / as %2F, ? as %3F, @ as %40",
            )
        };
        let (scheme, rest) = match url.split_once("://") {
            Some(parts) => parts,
            // A scheme without its slashes is no user name: the password would begin one word too early.
            None if url.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && rest.contains('@')) => {
                return Err(bad());
            }
            None => ("http", url),
        };
        let is_https = scheme.eq_ignore_ascii_case("https");
        if ["socks", "socks4", "socks4a", "socks5", "socks5h"].iter().any(|socks| socks.eq_ignore_ascii_case(scheme)) {
            let message = format!("{origin}: SOCKS proxies are not supported, and must not be bypassed");
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
        let place = HostPort::parse(authority, if is_https { 443 } else { 80 }).ok_or_else(bad)?;
        Ok(Self { is_https, place, authorization: user_info.filter(|info| !info.is_empty()).map(basic) })
    }

    /// Returns the proxy that the environment names for a target. The variables are those of curl.
    pub(super) fn from_environment(target: &Target<'_>) -> Result<Option<Arc<Self>>, Error> {
        // HTTP_PROXY is left out: a CGI program has the request's `Proxy` header there.
        let own: [&str; 2] = if target.is_https { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy"; 2] };
        let Some((name, value)) = variable(&[own[0], own[1], "all_proxy", "ALL_PROXY"])? else { return Ok(None) };
        if let Some((name, exceptions)) = variable(&["no_proxy", "NO_PROXY"])? {
            for HostPort { host, port } in [&target.server, &target.place] {
                if needs_no_proxy(&exceptions, name, host, *port)? {
                    return Ok(None);
                }
            }
        }
        Self::parse(&value, name).map(|proxy| Some(Arc::new(proxy)))
    }

    /// Returns the request for a connection to `target`.
    pub(super) fn connect_request(&self, target: &Target<'_>) -> Secret {
        let place = &target.place;
        encode::exact(|out| {
            // Old proxies close the connection if there is no `Proxy-Connection`.
            write!(out, "CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nProxy-Connection: Keep-Alive\r\n")?;
            if let Some(authorization) = &self.authorization {
                write!(out, "Proxy-Authorization: {}\r\n", authorization.expose())?;
            }
            out.write_str("\r\n")
        })
    }

    /// Returns the error for status 407 (RFC 9110 section 15.5.8).
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
                "the proxy {self} offers {}, and keyfob supports Basic only: ask for that, or use a local proxy that can \
                 log in",
                offered.join(", ")
            ),
        };
        Error::new(ErrorKind::Refused, "the proxy wants other credentials").with_status(407).with_hint(hint)
    }
}

fn is_scheme(word: &str) -> bool {
    ["http", "https"].iter().any(|scheme| scheme.eq_ignore_ascii_case(word))
}

/// Returns the first of these variables that is set, with its name.
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

/// Returns the Basic credentials for a URL's user information. A percent sign without two hexadecimal digits is a percent sign.
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

/// Names the proxy with its credentials, to distinguish routes.
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

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_that_shows_nothing_of_it() {
        const SOCKS: &str = "all_proxy: SOCKS proxies are not supported, and must not be bypassed";
        const NONE: &str = "all_proxy: this is not the URL of a proxy";
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
            ("http:svc:geheim@127.0.0.1:9", NONE),
            ("HTTPS:svc:geheim@127.0.0.1", NONE),
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
            ("http:3128", "http:3128", None),
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
                "the proxy p:1 offers Digest, Negotiate, NTLM, and keyfob supports Basic only: ask for that, or use a local \
                 proxy that can log in",
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
