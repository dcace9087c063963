//! PEM (RFC 7468): the reader for certificates and keys. What it hands out may be a private key, so it is in memory that
//! wipes itself; the reader of rustls leaves a copy.

use alloc::vec::Vec;
use zeroize::Zeroizing;

pub(super) struct Section<'p> {
    /// What stands behind BEGIN: `CERTIFICATE`.
    pub(super) label: &'p str,
    pub(super) der: Zeroizing<Vec<u8>>,
    /// It has the header of RFC 1421 that says so. `der` is empty then.
    pub(super) is_encrypted: bool,
}

/// A section that is cut, or whose content is no Base64.
pub(super) struct Broken;

/// The sections of a text, whatever stands between them. After a broken one it goes on with the next.
pub(super) struct Sections<'p>(&'p [u8]);

pub(super) fn sections(text: &[u8]) -> Sections<'_> {
    Sections(text)
}

impl<'p> Sections<'p> {
    fn line(&mut self) -> Option<&'p [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(self.0.len());
        let line = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(line.trim_ascii())
    }
}

impl<'p> Iterator for Sections<'p> {
    type Item = Result<Section<'p>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = loop {
            if let Some(label) = boundary(self.line()?, "-----BEGIN ") {
                break label;
            }
        };
        let start = self.0;
        loop {
            let rest = self.0;
            match self.line() {
                Some(line) if boundary(line, "-----END ") == Some(label) => {
                    return Some(section(label, &start[..start.len() - rest.len()]).ok_or(Broken));
                }
                Some(line) if line.starts_with(b"-----") => {
                    // It may begin the next one.
                    self.0 = rest;
                    if line.starts_with(b"-----END ") {
                        self.line();
                    }
                    return Some(Err(Broken));
                }
                Some(_) => {}
                None => return Some(Err(Broken)),
            }
        }
    }
}

fn boundary<'p>(line: &'p [u8], start: &str) -> Option<&'p str> {
    core::str::from_utf8(line).ok()?.strip_prefix(start)?.strip_suffix("-----")
}

fn section<'p>(label: &'p str, content: &[u8]) -> Option<Section<'p>> {
    // RFC 1421 section 4.6.1.1, which OpenSSL's older keys have.
    let is_encrypted = content.trim_ascii_start().starts_with(b"Proc-Type:");
    let der = if is_encrypted { Zeroizing::default() } else { base64(content)? };
    Some(Section { label, der, is_encrypted })
}

/// RFC 4648 section 4, with white space anywhere.
fn base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // Never outgrown: that would leave a copy.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    let (mut group, mut digits, mut padding) = (0_u32, 0, 0);
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        group = group << 6 | u32::from(digit);
        digits += 1;
        if digits == 4 {
            bytes.extend_from_slice(&group.to_be_bytes()[1..]);
            (group, digits) = (0, 0);
        }
    }
    match (digits, padding) {
        (0, 0) => {}
        (2, 2) => bytes.push((group >> 4) as u8),
        (3, 1) => bytes.extend_from_slice(&((group >> 2) as u16).to_be_bytes()),
        _ => return None,
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    #[test]
    fn base64_is_read_exactly() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("aGVsbG8=", Some(b"hello")),
            ("aGVs\r\nbG8 =\t", Some(b"hello")),
            ("aGVsbA==", Some(b"hell")),
            ("aGVs", Some(b"hel")),
            ("+/+/", Some(&[0xFB, 0xFF, 0xBF])),
            ("aGVsbG8", None),
            ("aGVsbA=", None),
            ("aGVsb", None),
            ("aGVs=", None),
            ("aGVsbA==aGVs", None),
            ("a-_b", None),
            ("!!!!", None),
        ] {
            assert_eq!(base64(text.as_bytes()).as_deref().map(Vec::as_slice), expected, "{text:?}");
        }
    }

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
            (good.trim_end().into(), "A B=hello "),
            (good.replace('\n', "\r\n"), "A B=hello "),
            (good.replace('\n', " \n"), "A B=hello "),
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
