//! Reads certificates and keys in PEM (RFC 7468). The output may be a private key, so it is wiped when dropped; the
//! reader of rustls would leave a copy.

use crate::base64;
use crate::error::Error;
use alloc::format;
use alloc::vec::Vec;
use std::io::BufRead;
use zeroize::Zeroizing;

pub(crate) struct Section<'p> {
    /// The text after BEGIN: `CERTIFICATE`.
    pub(crate) label: &'p str,
    pub(crate) der: Zeroizing<Vec<u8>>,
    /// Whether the section has the header of RFC 1421 for encryption. `der` is then empty.
    pub(crate) is_encrypted: bool,
}

/// A section that is incomplete, or whose content is not Base64.
pub(crate) struct Broken;

/// Iterates over the sections of a text and skips the rest. Continues after a broken section.
pub(crate) struct Sections<'p>(&'p [u8]);

/// Returns the sections of a text. Skips a byte-order mark at its start, which Windows writes.
pub(crate) fn sections(text: &[u8]) -> Sections<'_> {
    Sections(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text))
}

/// Returns the error for an encrypted private key.
pub(crate) fn encrypted(what: &str) -> Error {
    Error::config(format!("{what}: it is encrypted, and keyfob cannot ask for its password")).with_hint(
        "decrypt it into a file that others cannot read: (umask 077; openssl pkey -in encrypted.pem -out key.pem)",
    )
}

/// Returns whether a label is that of a certificate: the one of RFC 7468 section 5.1, or its predecessor.
#[cfg(feature = "tls")]
pub(crate) fn is_certificate(label: &str) -> bool {
    matches!(label, "CERTIFICATE" | "X509 CERTIFICATE")
}

impl<'p> Sections<'p> {
    /// Returns the text before the next line that starts with five dashes, and that line. It searches for single
    /// dashes, because they are rare and a bundle has a quarter of a megabyte.
    fn boundary(&mut self) -> Option<(&'p [u8], &'p [u8])> {
        let (text, mut at) = (core::mem::take(&mut self.0), 0);
        loop {
            at += find(&text[at..], b'-')?;
            let indent = text[..at].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\x0C')).count();
            let is_at_start = matches!(text[..at - indent].last(), None | Some(b'\n' | b'\r'));
            if is_at_start && text[at..].starts_with(DASHES) {
                let rest = &text[at..];
                let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
                self.0 = rest.get(end + 1..).unwrap_or_default();
                return Some((&text[..at - indent], rest[..end].trim_ascii_end()));
            }
            at += 1;
        }
    }
}

impl<'p> Iterator for Sections<'p> {
    type Item = Result<Section<'p>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = loop {
            if let Some(label) = self::label(self.boundary()?.1, "BEGIN ") {
                break label;
            }
        };
        let start = self.0;
        let Some((content, line)) = self.boundary() else { return Some(Err(Broken)) };
        if self::label(line, "END ") == Some(label) {
            return Some(section(label, content).ok_or(Broken));
        }
        if !line.starts_with(b"-----END ") {
            // This line may begin the next section.
            self.0 = &start[content.len()..];
        }
        Some(Err(Broken))
    }
}

const DASHES: &[u8] = b"-----";

fn label<'p>(line: &'p [u8], kind: &str) -> Option<&'p str> {
    let inner = line.strip_prefix(DASHES)?.strip_prefix(kind.as_bytes())?.strip_suffix(DASHES)?;
    core::str::from_utf8(inner).ok()
}

/// Returns the position of a byte. Searches many bytes at a time.
fn find(text: &[u8], byte: u8) -> Option<usize> {
    let mut rest = text;
    let count = rest.skip_until(byte).ok()?;
    text[..count].ends_with(&[byte]).then(|| count - 1)
}

fn section<'p>(label: &'p str, content: &[u8]) -> Option<Section<'p>> {
    // RFC 1421 section 4.6.1.1, used by older keys of OpenSSL.
    let is_encrypted = content.trim_ascii_start().starts_with(b"Proc-Type:");
    let der = match label.ends_with("CERTIFICATE") {
        _ if is_encrypted => Zeroizing::default(),
        true => base64::public(content)?,
        false => base64::secret(content)?,
    };
    Some(Section { label, der, is_encrypted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    #[test]
    fn sections_are_found_between_other_text_and_after_broken_ones() {
        let section = |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        let good = section("A B", "aGVs\nbG8=");
        let legacy = section("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\naGVsbG8=");
        let cut = "-----BEGIN A-----\naGVs\n";
        let wrong_end = "-----BEGIN A-----\naGVs\n-----END B-----\n";
        for (text, expected) in [
            (String::new(), ""),
            ("-----BEGIN A----\n".into(), ""),
            (good.clone(), "A B=hello "),
            (format!("\u{FEFF}{good}"), "A B=hello "),
            (good.trim_end().into(), "A B=hello "),
            (good.replace('\n', "\r\n"), "A B=hello "),
            (good.replace('\n', " \n"), "A B=hello "),
            (good.replace('\n', "\r"), "A B=hello "),
            (good.replace("-----END", " \x0C-----END"), "A B=hello "),
            (good.replace("aGVs", "aGVs-----END A B-----"), "broken "),
            (format!("text\n{good}more\n{good}"), "A B=hello A B=hello "),
            (section("A", "!"), "broken "),
            (cut.into(), "broken "),
            (format!("{cut}{good}"), "broken A B=hello "),
            (format!("{wrong_end}{good}"), "broken A B=hello "),
            (format!("{}{good}", section("A", "!")), "broken A B=hello "),
            (legacy, "RSA PRIVATE KEY encrypted "),
        ] {
            let found: String = sections(text.as_bytes())
                .map(|section| match section {
                    Err(Broken) => "broken ".into(),
                    Ok(section) if section.is_encrypted => format!("{} encrypted ", section.label),
                    Ok(section) => format!("{}={} ", section.label, String::from_utf8_lossy(&section.der)),
                })
                .collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
