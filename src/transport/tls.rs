//! What TLS failures mean for the user.

use crate::error::{Error, ErrorKind};
use alloc::format;
use alloc::string::String;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

/// Names what is wrong, and who can mend it.
pub(super) fn explain(error: &rustls::Error, host: &str) -> Error {
    let untrusted = |why: String, hint: &str| {
        Error::new(ErrorKind::Untrusted, format!("{host}: {why}")).with_hint(hint).with_source(error.clone())
    };
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::NotValidYetContext { time, not_before } => untrusted(
                format!(
                    "its certificate is not yet valid: it starts {}, and this device's clock says {}",
                    date(*not_before),
                    date(*time)
                ),
                "set the device's clock; it is the usual culprit",
            )
            .retryable(true),
            CertificateError::ExpiredContext { time, not_after } => untrusted(
                format!(
                    "its certificate has expired: it ended {}, and this device's clock says {}",
                    date(*not_after),
                    date(*time)
                ),
                "if the device's clock is right, the server needs a new certificate",
            ),
            CertificateError::NotValidYet => {
                untrusted("its certificate is not yet valid".into(), "set the device's clock; it is the usual culprit")
                    .retryable(true)
            }
            CertificateError::Expired => untrusted(
                "its certificate has expired".into(),
                "if the device's clock is right, the server needs a new certificate",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => untrusted(
                "its certificate is for another name".into(),
                "use the name that the certificate has, and check that nobody sits in between",
            ),
            CertificateError::UnknownIssuer => untrusted(
                "its certificate is not from an issuer that is trusted here".into(),
                "if the server has its own authority, name its certificate (--ca-file); else the server may leave out \
                 the intermediate certificates",
            ),
            other => untrusted(format!("its certificate is refused: {other}"), "the server needs another certificate"),
        },
        rustls::Error::InvalidMessage(_) => {
            untrusted("it does not speak TLS there".into(), "check the port, and whether the URL should say http://")
        }
        rustls::Error::AlertReceived(alert) => untrusted(
            format!("it refused the TLS connection: {alert:?}"),
            "it may want a client certificate, or another version or cipher of TLS",
        ),
        rustls::Error::PeerIncompatible(_) => untrusted(
            "it has no version or cipher of TLS in common with this client".into(),
            "the server is too old: this client speaks TLS 1.2 and 1.3",
        ),
        _ => untrusted("TLS failed".into(), "check the port and the server"),
    }
}

/// A moment of wall-clock time, to the minute: `2026-11-22 06:40 UTC`.
fn date(time: UnixTime) -> String {
    let minutes = time.as_secs() / 60;
    let (days, minute, hour) = (minutes / 1440, minutes % 60, minutes / 60 % 24);
    // The year starts in March here, so that the leap day is its last; 146,097 days are 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month < 3);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

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
