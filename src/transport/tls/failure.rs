//! Makes errors of TLS failures.

use super::roots::Shown;
use crate::calendar;
use crate::error::{Error, ErrorKind};
use crate::text::shorten;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

const TOO_OLD: &str = "this client speaks TLS 1.2 and 1.3: the server must be updated";
const ANOTHER: &str = "the server needs another certificate";

/// Returns the error for a failure of TLS. `who` names the server or the proxy. `shows_itself` is whether the client has a
/// certificate for it.
pub(in crate::transport) fn explain(
    error: rustls::Error,
    who: &str,
    shown: Option<Shown>,
    shows_itself: bool,
) -> Error {
    let mut is_retryable = false;
    let (why, hint): (String, String) = match &error {
        rustls::Error::InvalidCertificate(certificate) => {
            // The only one that can end without a change: the device's clock may be set later.
            is_retryable =
                matches!(certificate, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. });
            refused_certificate(certificate, shown)
        }
        rustls::Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        ) => (
            "a message of its TLS handshake is larger than 64 KiB".into(),
            "the usual cause is too many certificates: its own and the intermediate ones are enough".into(),
        ),
        rustls::Error::InvalidMessage(_) => (
            "it does not speak TLS on this port".into(),
            "check the port, and whether the URL should say http://".into(),
        ),
        rustls::Error::AlertReceived(alert) => refusal(*alert, shows_itself),
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            ("it speaks no version of TLS that is safe".into(), TOO_OLD.into())
        }
        rustls::Error::PeerIncompatible(_) => {
            ("it has no cipher of TLS in common with this client".into(), TOO_OLD.into())
        }
        rustls::Error::DecryptError | rustls::Error::PeerSentOversizedRecord => (
            "its TLS is broken: a record of it cannot be decrypted".into(),
            "something in between changes the data, or the server is faulty".into(),
        ),
        rustls::Error::PeerMisbehaved(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. } => {
            ("its TLS is broken: it violates the protocol".into(), "check the port and the server".into())
        }
        _ => ("TLS failed".into(), "check the port and the server".into()),
    };
    Error::new(ErrorKind::Untrusted, format!("{who}: {why}")).with_hint(hint).retryable(is_retryable).with_source(error)
}

fn refused_certificate(error: &CertificateError, shown: Option<Shown>) -> (String, String) {
    const CLOCK: &str = "set the device's clock, the usual cause";
    const RENEW: &str = "if the device's clock is right, the server needs a new certificate";
    let (why, hint) = match error {
        CertificateError::NotValidYetContext { time, not_before } => {
            let (start, now) = (date(*not_before), date(*time));
            let why =
                format!("its certificate is not yet valid: it starts {start}, and this device's clock says {now}");
            return (why, CLOCK.into());
        }
        CertificateError::ExpiredContext { time, not_after } => {
            let (end, now) = (date(*not_after), date(*time));
            let why = format!("its certificate has expired: it ended {end}, and this device's clock says {now}");
            return (why, RENEW.into());
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => (
            "its certificate names no host at all",
            "it needs the host as a subject alternative name: a common name is not enough",
        ),
        CertificateError::NotValidForNameContext { presented, .. } => {
            return (
                format!("its certificate is for another name: {}", names(presented)),
                "use a name that the certificate has, and check that nobody intercepts the connection".into(),
            );
        }
        CertificateError::UnknownIssuer => match shown {
            Some(Shown::SelfSigned) => (
                "its certificate is self-signed, and not trusted here",
                "if it is the right one, trust it (`HttpTransport::roots_file`)",
            ),
            Some(Shown::Alone) => (
                "its certificate is not from an issuer that is trusted here",
                "the server sent it alone: it must send the intermediate certificates as well; or if the server has its \
                 own authority, name that one's certificate (`HttpTransport::roots_file`)",
            ),
            _ => (
                "its certificate is not from an issuer that is trusted here",
                "if the server has its own authority, name its certificate (`HttpTransport::roots_file`); or trust what this system does \
                 (`HttpTransport::system_roots`)",
            ),
        },
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            ("its certificate is not for servers", "the server needs one with the extended key usage serverAuth")
        }
        CertificateError::Revoked => ("its certificate was revoked", ANOTHER),
        CertificateError::BadEncoding => ("its certificate cannot be read", ANOTHER),
        CertificateError::BadSignature if shown == Some(Shown::ShortKey) => (
            "its certificate has an RSA key of less than 2048 bits",
            "the server needs a certificate with a longer key",
        ),
        CertificateError::BadSignature => ("its certificate has a wrong signature", ANOTHER),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            ("its certificate is signed in a way that is not supported", ANOTHER)
        }
        // `openssl req -x509` makes such certificates. rustls gives the name of this error as text only.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            if shown == Some(Shown::SelfSigned) {
                "its certificate is self-signed, and marked as an authority's"
            } else {
                "its certificate is an authority's, and not a server's"
            },
            "it needs one that is marked CA:FALSE (openssl req -x509 -addext basicConstraints=CA:FALSE)",
        ),
        CertificateError::Other(other) => {
            return (format!("its certificate is refused: {}", shorten(&other.to_string())), ANOTHER.into());
        }
        other => return (format!("its certificate is refused: {}", shorten(&other.to_string())), ANOTHER.into()),
    };
    (why.into(), hint.into())
}

/// Explains the alert of a server that refuses (RFC 8446 section 6.2).
fn refusal(alert: AlertDescription, shows_itself: bool) -> (String, String) {
    use AlertDescription as Alert;
    const NO_CERTIFICATE: &str = "name one, and its key (`Client::client_certificate`)";
    let refuses_certificate = |hint: &str| (format!("it refuses the client certificate: {alert:?}"), hint.into());
    let refuses = |hint: &str| (format!("it refused the TLS connection: {alert:?}"), hint.into());
    match alert {
        Alert::CertificateRequired if shows_itself => {
            refuses_certificate("the server does not accept certificates of this kind")
        }
        Alert::CertificateRequired => ("it wants a client certificate".into(), NO_CERTIFICATE.into()),
        Alert::CertificateExpired if shows_itself => {
            refuses_certificate("get a new one; or the server's clock, or that of its issuer, is wrong")
        }
        Alert::CertificateRevoked if shows_itself => refuses_certificate("get a new one from its issuer"),
        Alert::UnknownCA if shows_itself => refuses_certificate(
            "its issuer is not known there: the file must have the intermediate certificates as well, behind its own",
        ),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::AccessDenied
        | Alert::DecryptError
            if shows_itself =>
        {
            refuses_certificate("ask the operator of the server which certificates it accepts")
        }
        Alert::ProtocolVersion => refuses(TOO_OLD),
        Alert::UnrecognisedName => refuses("it knows no such host: check the name in the URL"),
        Alert::InternalError => refuses("the server has failed: its log may say why"),
        _ if shows_itself => refuses("it may want another client certificate, or another version or cipher of TLS"),
        _ => refuses("it may want a client certificate, or another version or cipher of TLS"),
    }
}

/// Lists the first names of a certificate, each cut to 64 characters.
fn names(presented: &[String]) -> String {
    const MOST: usize = 3;
    const LONGEST: usize = 64;
    // As rustls has them: `DnsName("as.example")`, `IpAddress(192.0.2.7)`.
    let plain = |name: &String| {
        let name = name.split_once('(').map_or(name.as_str(), |(_, name)| name.trim_end_matches(')'));
        let name = name.trim_matches('"');
        match name.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}\u{2026}", &name[..end]),
            None => name.to_string(),
        }
    };
    let first: Vec<String> = presented.iter().take(MOST).map(plain).collect();
    match presented.len() - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Formats a time to the minute: `2026-11-22 06:40 UTC`.
fn date(time: UnixTime) -> String {
    let minutes = time.as_secs() / 60;
    let (days, minute, hour) = (minutes / 1440, minutes % 60, minutes / 60 % 24);
    let (year, month, day) = calendar::date(days);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_and_a_large_chain_are_named() {
        let wrong_signature = || rustls::Error::InvalidCertificate(CertificateError::BadSignature);
        for (error, shown, message) in [
            (wrong_signature(), None, "h: its certificate has a wrong signature"),
            (wrong_signature(), Some(Shown::ShortKey), "h: its certificate has an RSA key of less than 2048 bits"),
            (
                InvalidMessage::HandshakePayloadTooLarge.into(),
                None,
                "h: a message of its TLS handshake is larger than 64 KiB",
            ),
            (InvalidMessage::MessageTooShort.into(), None, "h: it does not speak TLS on this port"),
        ] {
            assert_eq!(explain(error, "h", shown, false).to_string(), message);
        }
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_868_799, "2000-02-29 23:59 UTC"),
            (1_795_329_600, "2026-11-22 06:40 UTC"),
            (253_402_300_799, "9999-12-31 23:59 UTC"),
        ] {
            assert_eq!(date(UnixTime::since_unix_epoch(core::time::Duration::from_secs(seconds))), text);
        }
    }
}
