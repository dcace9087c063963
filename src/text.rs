//! Texts for messages: one line of bounded length, without characters that deceive a terminal.

use alloc::string::String;

/// Replaces a text that holds a secret.
pub(crate) const REDACTED: &str = "‹redacted›";

/// The number of characters of a server's text that a message shows.
const MAX_SHOWN: usize = 300;

/// Returns the first characters of a server's text, on one line.
pub(crate) fn shorten(text: &str) -> String {
    let nth = |text: &str| text.char_indices().nth(MAX_SHOWN).map(|(end, _)| end);
    // The rest is not even copied. Escapes only make the text longer.
    let rest = nth(text);
    let mut short = one_line(&text[..rest.unwrap_or(text.len())]);
    let end = nth(&short);
    if rest.is_some() || end.is_some() {
        short.truncate(end.unwrap_or(short.len()));
        short.push('…');
    }
    short
}

/// Replaces line ends with one space and escapes characters that could deceive a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\r' | '\n' | '\t' if line.ends_with(' ') => {}
            '\r' | '\n' | '\t' => line.push(' '),
            c if c.is_control() || is_invisible(c) => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}

/// Returns the position of the first byte that is not visible ASCII. A token, a URL and most of HTTP hold no other bytes.
pub(crate) fn first_invisible(text: &str) -> Option<usize> {
    text.bytes().position(|byte| !matches!(byte, 0x21..=0x7E))
}

/// Returns whether a character is an invisible or bidirectional mark.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{AD}'
            | '\u{61C}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}'
    )
}
