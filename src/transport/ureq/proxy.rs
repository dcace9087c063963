//! Which proxy a request goes by, if any.

use crate::error::Error;
use alloc::format;
use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

/// The proxy that the environment names for this URL, by curl's conventions.
pub(super) fn from_environment(uri: &Uri, is_loopback: bool) -> Result<Option<Proxy>, Error> {
    // Plain http is allowed to this machine because it does not leave it; by way of a proxy it would.
    if is_loopback {
        return Ok(None);
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // Not HTTP_PROXY: in a CGI program that is the request's `Proxy` header.
    let own: [&str; 2] =
        if uri.scheme_str() == Some("https") { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy"; 2] };
    let found = own.into_iter().chain(["all_proxy", "ALL_PROXY"]).find_map(|name| Some((name, variable(name)?)));
    let Some((name, value)) = found else { return Ok(None) };
    let exceptions = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
    if needs_no_proxy(&exceptions, uri.host().unwrap_or_default()) {
        return Ok(None);
    }
    parse(&value, name).map(Some)
}

/// Whether `no_proxy` names the host: itself, a domain that it is in, or `*`.
fn needs_no_proxy(exceptions: &str, host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    exceptions.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        let domain = entry.trim_start_matches('*').trim_start_matches('.');
        entry == "*"
            || (!domain.is_empty()
                && (host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))))
    })
}

pub(super) fn parse(url: &str, origin: &str) -> Result<Proxy, Error> {
    // The value may hold a password, so it is not shown.
    let proxy = Proxy::new(url).map_err(|_| {
        Error::config(format!("{origin}: this is no proxy's URL")).with_hint("it looks like http://proxy.example:3128")
    })?;
    match proxy.protocol() {
        ProxyProtocol::Http => Ok(proxy),
        ProxyProtocol::Https if cfg!(feature = "tls") => Ok(proxy),
        ProxyProtocol::Https => Err(Error::config(format!("{origin}: an https proxy needs the feature `tls`"))),
        _ => {
            Err(Error::config(format!("{origin}: SOCKS proxies are not supported, and going around it would be wrong"))
                .with_hint("name an http proxy, or list the host in no_proxy"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use alloc::string::ToString;

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for (exceptions, host, expected) in [
            ("", "as.example", false),
            ("*", "as.example", true),
            ("as.example", "as.example", true),
            ("AS.example", "as.EXAMPLE", true),
            ("example", "as.example", true),
            (".example", "as.example", true),
            ("*.example", "as.example", true),
            ("s.example", "as.example", false),
            ("other, 127.0.0.1", "127.0.0.1", true),
            ("::1", "[::1]", true),
            (",,", "as.example", false),
        ] {
            assert_eq!(needs_no_proxy(exceptions, host), expected, "{exceptions} {host}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error() {
        for (url, message) in [
            (
                "socks5://p.example:1080",
                "all_proxy: SOCKS proxies are not supported, and going around it would be wrong",
            ),
            ("ftp://p.example", "all_proxy: this is no proxy's URL"),
            ("http://user:hunter2@", "all_proxy: this is no proxy's URL"),
        ] {
            let error = parse(url, "all_proxy").map(|_| ()).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
        }
        assert!(parse("http://user:hunter2@p.example:3128", "all_proxy").is_ok());
    }
}
