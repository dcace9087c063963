//! Decides by `no_proxy` which hosts are asked without a proxy.

use super::host_port;
use crate::error::Error;
use crate::url::ends_in_number;
use alloc::format;
use core::net::{IpAddr, Ipv6Addr};

/// Returns whether `no_proxy` names the host. An entry that cannot be understood is an error, because the exception is there to
/// keep a secret from the proxy.
///
/// Entries are separated by commas, spaces or both: `*`; an address or `[address]`, also with `:port`; a network
/// (`10.0.0.0/8`, `fd00::/8`); a domain and its subdomains (`example`, `.example`, `*.example`), also with `:port`.
pub(super) fn needs_no_proxy(exceptions: &str, variable: &str, host: &str, port: u16) -> Result<bool, Error> {
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

/// Returns None for an entry that cannot be understood.
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
    // An IPv6 address may be without brackets.
    let (name, its_port) = match entry.parse::<Ipv6Addr>() {
        Ok(_) => (entry, None),
        Err(_) => host_port::split(entry)?,
    };
    let is_port = its_port.is_none_or(|its_port| its_port == port);
    if let Ok(named) = name.parse::<IpAddr>() {
        return Some(is_port && address == Some(named.to_canonical()));
    }
    let domain = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    let domain = domain.strip_prefix('.').unwrap_or(domain).trim_end_matches('.').to_ascii_lowercase();
    let is_domain =
        !domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    // `10.9` and `0x0a090807` are neither domains nor complete addresses.
    if !is_domain || ends_in_number(&domain) {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_in = host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    Some(is_port && is_in)
}

/// Returns whether the first `length` bits of an address are those of a network. Returns None if `length` is out of range.
fn is_within(address: Option<IpAddr>, network: IpAddr, length: u32) -> Option<bool> {
    // In the width of IPv6, with the width of the family.
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (prefix, width) = bits(network);
    if length > width {
        return None;
    }
    // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
    if let (canonical @ IpAddr::V4(_), IpAddr::V6(_), 96..) = (network.to_canonical(), network, length) {
        return is_within(address, canonical, length - 96);
    }
    let Some((bits, its_width)) = address.map(bits) else { return Some(false) };
    Some(width == its_width && (bits ^ prefix).checked_shr(128 - length).unwrap_or(0) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use alloc::string::ToString;

    /// The documentation of `HttpTransport` has the same table, with curl and Go.
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
            ("::ffff:10.0.0.0/104", "10.1.2.3", 80, true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", 80, true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", 80, false),
            ("::ffff:10.0.0.0/96", "11.1.2.3", 80, true),
            ("::ffff:10.1.2.3/128", "10.1.2.3", 80, true),
            ("::ffff:10.1.2.3/95", "10.1.2.3", 80, false),
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
            "0x0a090807",
            "168364039",
            "010.9.8.7",
            "10.0x9",
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
}
