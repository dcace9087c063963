//! URLs of endpoints: checked when an endpoint is described, and again with the values of their variables.

use crate::encode;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::template::{Piece, Template, Values};
use crate::text;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::fmt;
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
        check_visible(text)?;
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
            return Err(fail("a user name or password cannot be part of it")
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

    /// Host and port, as they are in the URL.
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

/// A URL that names variables.
pub(crate) struct UrlTemplate {
    place: Template,
    query: Option<Template>,
}

impl UrlTemplate {
    /// Reads a URL that names variables; None where it names none. Everything but the values is checked.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, Error> {
        if Template::new(text).is_plain() {
            return Ok(None);
        }
        let (place, query) = text.split_once('?').map_or((text, None), |(place, query)| (place, Some(query)));
        // A message shows the place as it was given, also the text inside a filter, which no URL checks.
        check_visible(place)?;
        let template = Self { place: Template::new(place), query: query.map(Template::new) };
        template.sample()?;
        Ok(Some(template))
    }

    /// Returns a URL like those that the template makes; an error where it can make none.
    pub(crate) fn sample(&self) -> Result<Url, Error> {
        // A port is a number, and no host's name ends in one.
        let mut sample = Values::default();
        if self.place.text().starts_with('{') {
            let mut is_first = true;
            self.place.names(&mut |name| {
                if core::mem::replace(&mut is_first, false) {
                    sample.add_plain(name, "https://a");
                }
            });
        }
        let port = |name: &str| self.place.text().contains(&format!(":{{{name}}}"));
        self.names(&mut |name, _| sample.add_plain(name, if port(name) { "1" } else { "a" }));
        match self.render(&sample)? {
            (url, Some(query)) => Url::parse(&format!("{}?{}", url.as_str(), query.expose())),
            (url, None) => Ok(url),
        }
    }

    /// Calls `each` with every variable that is named, and whether that is in the query.
    pub(crate) fn names<'t>(&'t self, each: &mut dyn FnMut(&'t str, bool)) {
        self.place.names(&mut |name| each(name, false));
        if let Some(query) = &self.query {
            query.names(&mut |name| each(name, true));
        }
    }

    pub(crate) fn query(&self) -> Option<&Template> {
        self.query.as_ref()
    }

    /// Returns the URL up to its query as it was given, for messages.
    pub(crate) fn without_query(&self) -> &str {
        self.place.text()
    }

    /// Returns host and port as they were given, for messages.
    pub(crate) fn authority(&self) -> &str {
        let place = self.place.text();
        let rest = place.split_once("://").map_or(place, |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }

    /// Returns the URL up to its query, and the query, with the variables' values in them.
    ///
    /// No value can change which part of the URL it is in: it is encoded, or refused.
    pub(crate) fn render(&self, values: &Values<'_>) -> Result<(Url, Option<Secret>), Error> {
        let mut place = String::new();
        let mut fault = None;
        // It cannot fail: a string takes everything.
        let _ = self.place.pieces(values, &mut |piece| {
            match piece {
                Piece::Text(text) => place.push_str(text),
                Piece::Value(value) => fault = fault.take().or(add_value(&mut place, value)),
            }
            Ok(())
        });
        if let Some(fault) = fault {
            return Err(Error::new(ErrorKind::Config, format!("url: {fault}")));
        }
        let query = self.query.as_ref().map(|query| {
            encode::exact(|out| {
                query.pieces(values, &mut |piece| match piece {
                    Piece::Text(text) => out.write_str(text),
                    Piece::Value(value) => encode::form(out, value, "%20"),
                })
            })
        });
        Ok((Url::parse(&place)?, query))
    }
}

fn check_visible(text: &str) -> Result<(), Error> {
    match text::first_invisible(text) {
        None => Ok(()),
        Some(at) => Err(Error::new(ErrorKind::Config, format!("url: byte {at} is not visible ASCII"))
            .with_hint("percent-encode the character (a space is %20), and write a host name in punycode")),
    }
}

/// Adds the value of a variable to a URL's beginning. Returns what is wrong with it there.
fn add_value(url: &mut String, value: &str) -> Option<String> {
    match url.split_once("://") {
        None if url.is_empty() => {
            let is_base = ["https://", "http://"].iter().any(|scheme| value.starts_with(scheme));
            let has_dots = value.split('/').any(|part| matches!(part, "." | ".."));
            if !is_base || has_dots || value.contains(['?', '#']) {
                // It may have come with a server's answer, and with a secret in it.
                return Some(
                    "the variable at its beginning must be an http or https URL without query and dots".into(),
                );
            }
            url.push_str(value.trim_end_matches('/'));
        }
        None => return Some("a variable cannot be part of the scheme".into()),
        Some((_, rest)) if !rest.contains('/') => {
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
            if value.is_empty() || !value.bytes().all(is_host) {
                return Some(
                    "the variable in its host must be letters, digits, hyphens and dots, with or without a port".into(),
                );
            }
            url.push_str(value);
        }
        Some(_) => {
            if matches!(value, "" | "." | "..") {
                return Some(format!("the variable in its path is {value:?}, which would name another path"));
            }
            let _ = encode::url(url, value);
        }
    }
    None
}

/// Returns a place that a server redirects to, for messages: without user information and query, which may hold a secret.
/// None where it is no URL or path that can be shown.
pub(crate) fn shown(location: &str) -> Option<Cow<'_, str>> {
    let place = location.split(['?', '#']).next().unwrap_or_default();
    // A URL without a scheme (`//host/path`) has an authority too.
    let place = match place.split_once("//").filter(|(before, _)| before.is_empty() || before.ends_with(':')) {
        // That is no scheme, but may be user information.
        Some((before, _)) if before.contains('@') => return None,
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}//{}{path}", authority.rsplit('@').next().unwrap_or_default()).into()
        }
        // What is neither a URL nor a path may hold user information in any place.
        None if place.contains('@') && !place.starts_with('/') => return None,
        None => Cow::Borrowed(place),
    };
    // What would have to be escaped is no URL, and could be many times as long.
    let is_plain = text::first_invisible(&place).is_none() && !place.contains('\\');
    (is_plain && place.len() <= MAX_SHOWN).then_some(place)
}

/// A place longer than this is no token endpoint's, and no hint.
const MAX_SHOWN: usize = 300;

/// Shows no value of a variable.
impl fmt::Debug for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
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
            ("https://u:p@as.example/", "url: a user name or password cannot be part of it"),
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
            ("https://as.example/a b", "url: byte 20 is not visible ASCII"),
            ("https://as.example\\@evil.example/", "url: a user name or password cannot be part of it"),
            ("https://as.example/\\x", "url: it holds a character that is not allowed there"),
        ] {
            assert_eq!(Url::parse(url).map(|_| ()).map_err(|error| format!("{error}")), Err(message.into()), "{url}");
        }
    }
}
