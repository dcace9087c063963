//! Describes a certificate in words: its issuer, its subject and its end.

#[allow(dead_code, reason = "the library uses more of it")]
#[cfg_attr(test, allow(clippy::unwrap_used))]
#[path = "../../../transport/tls/certificate.rs"]
mod x509;

use crate::der::Element;
use x509::Certificate;

pub(super) struct Words {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// `2026-11-22 06:40:00 UTC`.
    pub(super) end: String,
}

impl Words {
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let certificate = Certificate::read(certificate)?;
        let end = Element::read(certificate.validity)?.next()?;
        let digits = std::str::from_utf8(end.content).ok().filter(|text| text.is_ascii())?;
        // A UTCTime has two digits for the year (RFC 5280 section 4.1.2.5.1).
        let (century, digits) = match end.tag {
            0x17 if digits.as_bytes().first()? >= &b'5' => ("19", digits),
            0x17 => ("20", digits),
            _ => digits.split_at_checked(2)?,
        };
        let part = |at: usize| digits.get(at..at + 2);
        let end = format!(
            "{century}{}-{}-{} {}:{}:{} UTC",
            part(0)?,
            part(2)?,
            part(4)?,
            part(6)?,
            part(8)?,
            part(10).unwrap_or("00")
        );
        Some(Self { subject: name(certificate.subject), issuer: name(certificate.issuer), end })
    }
}

/// Returns the common attributes of a name: `CN=example, O=Example Inc.`.
fn name(der: &[u8]) -> String {
    const PARTS: [(&[u8], &str); 4] =
        [(b"\x55\x04\x03", "CN"), (b"\x55\x04\x0A", "O"), (b"\x55\x04\x0B", "OU"), (b"\x55\x04\x06", "C")];
    let mut parts = Vec::new();
    let mut sets = Element::read(der).and_then(|name| Element::read(name.content));
    while let Some(set) = sets {
        let pair = Element::read(set.content).and_then(|pair| Element::read(pair.content));
        if let Some((kind, text)) = pair.and_then(|kind| Some((kind.content, kind.next()?.content))) {
            if let Some((_, label)) = PARTS.iter().find(|(id, _)| *id == kind) {
                let text = String::from_utf8_lossy(text);
                let is_plain = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ';
                let text: String = text.chars().take(64).map(|c| if is_plain(c) { c } else { '?' }).collect();
                parts.push(format!("{label}={text}"));
            }
        }
        sets = set.next();
    }
    match parts.is_empty() {
        true => "no name".to_owned(),
        false => parts.join(", "),
    }
}
