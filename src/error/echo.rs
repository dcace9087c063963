//! Finds the secrets of a request in the texts of its answer.
//!
//! A server echoes a secret as it got it, or encoded for the page or the log line that it writes: percent-, form-, JSON-
//! or HTML-encoded, each character in its own way if it went through several hands. So both, text and secret, are decoded
//! as far as they can be, and then compared. It takes time in proportion to the text and the secrets.

use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Secrets, in the forms in which texts are searched for them.
pub(crate) struct Echoes<'s>(Vec<Echo<'s>>);

struct Echo<'s> {
    secret: &'s str,
    plain: Zeroizing<String>,
    decoded: Zeroizing<String>,
}

impl<'s> Echoes<'s> {
    /// Takes the secrets that were sent; an empty one is none.
    pub(crate) fn new(secrets: impl IntoIterator<Item = &'s str>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
        let forms = |secret: &'s str| Echo {
            secret,
            plain: fold(secret.as_bytes()),
            decoded: fold(&decode(settled(secret).as_bytes())),
        };
        Self(secrets.map(forms).collect())
    }

    /// Returns whether one of the secrets is in `text`.
    pub(crate) fn are_in(&self, text: &str) -> bool {
        let is_in = |folded: &str, form: &str, secret: &str| match form.trim() {
            // Nothing but what is folded away.
            "" => text.contains(secret),
            _ => folded.contains(form),
        };
        // One after the other: a text may have a megabyte.
        let folded = fold(text.as_bytes());
        if self.0.iter().any(|echo| is_in(&folded, &echo.plain, echo.secret)) {
            return true;
        }
        drop(folded);
        let folded = fold(&decode(text.as_bytes()));
        self.0.iter().any(|echo| is_in(&folded, &echo.decoded, echo.secret))
    }
}

/// Makes a text of which one part can be found in another: a run of white space is one space and so is the `+` of a form,
/// a backslash is nothing, and each byte is a character, for what was decoded may be no UTF-8.
fn fold(bytes: &[u8]) -> Zeroizing<String> {
    let length = bytes.iter().map(|byte| char::from(*byte).len_utf8()).sum();
    let mut text = Zeroizing::new(String::with_capacity(length));
    for byte in bytes {
        match byte {
            b'\\' => {}
            b'+' | b' ' | b'\t'..=b'\r' if text.ends_with(' ') => {}
            b'+' | b' ' | b'\t'..=b'\r' => text.push(' '),
            byte => text.push(char::from(*byte)),
        }
    }
    text
}

/// Returns a secret without an escape that only begins at its end: whatever follows it in a text may complete that.
fn settled(secret: &str) -> &str {
    let is_begun = |tail: &str| {
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match tail.split_at_checked(1) {
            Some(("%", rest)) => rest.len() < 2 && is_hex(rest),
            Some(("\\", rest)) => {
                // The first unit of a UTF-16 pair awaits the second.
                let is_first = |unit: &str| hex(unit.as_bytes()).is_some_and(|unit| (0xD800..0xDC00).contains(&unit));
                let is_begun = |unit: &str| is_hex(unit) && (unit.len() < 4 || unit.len() == 4 && is_first(unit));
                rest.is_empty() || rest.strip_prefix('u').is_some_and(is_begun)
            }
            Some(("&", rest)) => match rest.strip_prefix('#') {
                Some(number) => number.len() < 10 && is_hex(number.strip_prefix(['x', 'X']).unwrap_or(number)),
                None => ["amp", "quot", "apos", "lt", "gt"].iter().any(|name| name.starts_with(rest)),
            },
            _ => false,
        }
    };
    let mut settled = secret;
    // What is left out may itself have ended another.
    while let Some((at, _)) = settled.char_indices().rev().take(12).find(|(at, _)| is_begun(&settled[*at..])) {
        settled = &settled[..at];
    }
    // One character is in nearly every text.
    if settled.len() < 2 { secret } else { settled }
}

/// Decodes a text until there is nothing left to decode, and returns its bytes from the last to the first.
///
/// It goes from the end to the start, so that the text behind an escape is decoded when its turn comes: a backslash and
/// an encoded `n` are the same as both of them encoded, or none.
fn decode(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut behind = Zeroizing::new(Vec::with_capacity(text.len()));
    for byte in text.iter().rev() {
        let mut next = *byte;
        // A decoded escape may begin another one.
        while let Some((decoded, length)) = escape(next, &behind) {
            let rest = behind.len() - length;
            behind.truncate(rest);
            match decoded {
                Decoded::Byte(byte) => next = byte,
                Decoded::Char(c) => {
                    // No escape is shorter than its character.
                    let mut buffer = [0; 4];
                    let [first, others @ ..] = c.encode_utf8(&mut buffer).as_bytes() else { break };
                    behind.extend(others.iter().rev());
                    next = *first;
                }
            }
        }
        // Two in a row are one: what doubles them would otherwise part the two units of a UTF-16 pair.
        if next != b'\\' || behind.last() != Some(&next) {
            behind.push(next);
        }
    }
    behind
}

enum Decoded {
    Byte(u8),
    Char(char),
}

/// Returns what `first` and some of the bytes `behind` it (the nearest is the last) decode to, and how many these are.
fn escape(first: u8, behind: &[u8]) -> Option<(Decoded, usize)> {
    // `&#x10FFFF;` is the longest with its ampersand, and some write zeros in front; two units of UTF-16 are as long.
    let mut near = [0; 12];
    near.iter_mut().zip(behind.iter().rev()).for_each(|(near, byte)| *near = *byte);
    match (first, &near) {
        (b'%', [high, low, ..]) => Some((Decoded::Byte((hex(&[*high, *low])?) as u8), 2)),
        (b'\\', [b'u', rest @ ..]) => {
            let unit = hex(&rest[..4])?;
            match (char::from_u32(unit), &rest[4..]) {
                (Some(c), _) => Some((Decoded::Char(c), 5)),
                (None, [b'\\', b'u', low @ ..]) => {
                    let low = hex(&low[..4])?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
                    let c =
                        char::from_u32(0x10000 + (unit.checked_sub(0xD800).filter(|high| *high < 0x400)? << 10) + low)?;
                    Some((Decoded::Char(c), 11))
                }
                _ => None,
            }
        }
        (b'\\', [letter, ..]) => {
            let meant = match letter {
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'f' => 12,
                b'r' => b'\r',
                _ => return None,
            };
            Some((Decoded::Byte(meant), 1))
        }
        (b'&', near) => {
            let length = near.iter().position(|byte| *byte == b';')?;
            let name = core::str::from_utf8(&near[..length]).ok()?;
            let number = |digits: &str, radix: u32| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
            let c = match name {
                "amp" => '&',
                "quot" => '"',
                "apos" => '\'',
                "lt" => '<',
                "gt" => '>',
                name => match name.strip_prefix("#x").or(name.strip_prefix("#X")) {
                    Some(digits) => number(digits, 16)?,
                    None => number(name.strip_prefix('#')?, 10)?,
                },
            };
            Some((Decoded::Char(c), length + 1))
        }
        _ => None,
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[track_caller]
    fn is_in(secret: &str, text: &str) -> bool {
        Echoes::new([secret]).are_in(text)
    }

    #[test]
    fn an_echo_is_found_in_each_encoding_and_in_mixes_of_them() {
        let odd = "p@ss+w%rd &<\"x";
        for (secret, text) in [
            ("hunter2", "wrong: hunter2!"),
            (odd, "got p%40ss%2bw%25rd%20%26%3c%22x"),
            (odd, "got p%40ss%2Bw%25rd+%26%3C%22x"),
            (odd, "p@ss+w%rd &amp;&lt;&quot;x"),
            (odd, "p@ss\\u002bw%rd \\u0026\\u003c\\\"x"),
            (odd, "p%40ss&#43;w%25rd\\u0020&#x26;%3C\\\"x"),
            ("päss'/&", "p&#228;ss&#039;&#x2f;&#38;"),
            ("päss'/&", "p&#xE4;ss&apos;/&#x26;"),
            ("päss'/&", "p\\u00e4ss\\u0027\\/\\u0026"),
            ("päss'/&", "p%C3%A4ss%27%2f%26"),
            ("😢pass", "\\ud83d\\ude22pass"),
            (":\\ud83d\\ude22pass", "%3A\\ud83d\\\\ude2%32pass"),
            // A secret that looks encoded, as it is, encoded, and in part.
            ("100%25 off now", "100%25 off now"),
            ("100%25 off now", "100%25%20off+now"),
            ("100%25 off now", "100%2525%20off%20now"),
            ("a&amp;b", "a&amp;amp;b"),
            ("a\\u0041b", "a\\\\u0041b"),
            ("a\\u0041b", "%61%5C%75%30%30%34%31b"),
            ("a\\<b", "a\\\\u003cb"),
            ("%41%42", "%%34%31%42"),
            ("deadbeef", "100%deadbeef"),
            ("geheim\\u0041\\n", "geheim\\\\u00750041&#92;n"),
            // What follows the secret would complete an escape that begins at its end.
            ("t/&+ <%", "t/&#38;+ &#60;%earer"),
            ("t/&+ <%4", "t/&#38;+ &#60;%41"),
            ("t/&+ <%%", "t/&#38;+ &#60;%%41B"),
            ("Zv%+%%%%%%%%", "Zv%25%2B%25%25%25%25%25%25%25%25CCC"),
            ("Zv%%%%%%%%", "Zv%25%25%25%25%25%25%25%25CCC"),
            ("t/&+ <&#3", "t/&#38;+ &#60;&#38;"),
            ("t/&+ <\\u00", "t/&#38;+ &#60;\\u0041"),
            ("t/&+ <\\ud83d", "t/&#38;+ &#60;\\ud83d\\ude00"),
            ("t/&+ <\\ud83d\\ude0", "t/&#38;+ &#60;%5cud83d%5cude0ent"),
            // Wrapped, or white space written in another way.
            ("correct horse battery staple", "correct horse\r\n  battery\nstaple"),
            ("correct horse battery staple", "correct+horse%0Abattery\\nstaple"),
            ("two  spaces", "two spaces"),
            // What is folded away is searched for as it is.
            ("+", "a + b"),
            ("\\", "a \\ b"),
            ("\\\\\\", "\\\\\\"),
        ] {
            assert!(is_in(secret, text), "{secret} in {text}");
        }
        for (secret, text) in [
            ("", "anything"),
            ("hunter2", ""),
            ("hunter2", "hunter 2 hunter"),
            ("+", "a b"),
            ("\\", "a b"),
            ("secret", "invalid_client"),
            ("hunter2", "100% %zz \\u12 &#; &amp &unknown;"),
        ] {
            assert!(!is_in(secret, text), "{secret} in {text}");
        }
    }

    /// Each character in its own way, at random: what went through several hands.
    #[test]
    fn no_mix_of_encodings_hides_a_secret() {
        let alphabet: alloc::vec::Vec<char> = "aA4u0n %+&;#\\\"'/<>é€😢lt\n".chars().collect();
        let mut seed = 7u32;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % below
        };
        for _ in 0..20_000 {
            let secret: String =
                (0..6 + random(8)).map(|_| alphabet[random(alphabet.len())]).collect::<String>() + "Zq";
            let mut text = String::from("wrong: ");
            for c in secret.chars() {
                let number = u32::from(c);
                match random(9) {
                    0 | 1 => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text += &format!("%{byte:02X}")),
                    2 if c == ' ' => text.push('+'),
                    3 => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text += &format!("\\u{unit:04x}")),
                    4 if matches!(c, '"' | '\\' | '/') => text.extend(['\\', c]),
                    4 if c == '\n' => text += "\\n",
                    5 => text += &format!("&#{number};"),
                    6 => text += &format!("&#x{number:X};"),
                    7 if c == '&' => text += "&amp;",
                    7 if c == '<' => text += "&lt;",
                    _ => text.push(c),
                }
            }
            assert!(is_in(&secret, &(text.clone() + " is no password")), "{secret:?} in {text:?}");
        }
    }

    /// 43 s it took for one such pair when each place of the text was compared with the whole secret.
    #[test]
    fn the_search_takes_time_in_proportion_to_the_text() {
        let as_many = |count: usize| format!("{}b", "a".repeat(count));
        let secrets: Vec<String> = (0..8).map(|index| as_many(60_000 - index)).collect();
        let echoes = Echoes::new(secrets.iter().map(String::as_str));
        for text in ["a", "%61", "%", "%25", "\\", "\\u0061", "&#97;", "&", "&amp;", "&#00000000", "+", " a"] {
            let text: String = text.chars().cycle().take(64 * 1024).collect();
            assert!(!echoes.are_in(&text));
        }
    }
}
