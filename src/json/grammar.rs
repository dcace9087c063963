//! The grammar of RFC 8259: white space, names, strings, numbers and literals. Each method reads one of them and leaves the
//! cursor behind it.

use super::{CUT, Cursor, Kind, Reason, Span};

impl Cursor<'_> {
    /// Skips white space and returns the next byte.
    pub(super) fn skip_space(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    /// Reads the name of the next member of an object, and the colon behind it.
    #[inline]
    pub(super) fn name(&mut self) -> Result<Span, Reason> {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err("a member name in quotes is missing"),
            None => return Err(CUT),
        }
        let name = self.string()?;
        match self.skip_space() {
            Some(b':') => self.at += 1,
            Some(_) => return Err("a colon is missing"),
            None => return Err(CUT),
        }
        Ok(name)
    }

    /// Reads a number, `true`, `false` or `null`.
    pub(super) fn scalar(&mut self) -> Result<Span, Reason> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Kind::True),
            Some(b'f') => self.literal("false", Kind::False),
            Some(b'n') => self.literal("null", Kind::Null),
            Some(_) => Err("not a JSON value"),
            None => Err(CUT),
        }
    }

    fn literal(&mut self, text: &str, kind: Kind) -> Result<Span, Reason> {
        let start = self.at;
        for expected in text.bytes() {
            match self.peek() {
                Some(c) if c == expected => self.at += 1,
                Some(_) => return Err("not a JSON value"),
                None => return Err(CUT),
            }
        }
        Ok(Span { kind, start, end: self.at, is_escaped: false })
    }

    /// `number = [ "-" ] int [ frac ] [ exp ]`, RFC 8259 section 6.
    fn number(&mut self) -> Result<Span, Reason> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if let Some(b'0'..=b'9') = self.peek() {
                return Err("a number with a leading zero");
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Span { kind: Kind::Number, start, end: self.at, is_escaped: false })
    }

    fn digits(&mut self) -> Result<(), Reason> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        match self.peek() {
            _ if self.at > start => Ok(()),
            Some(_) => Err("a digit is missing"),
            None => Err(CUT),
        }
    }

    /// `string = quotation-mark *char quotation-mark`, RFC 8259 section 7. The cursor is at the opening mark.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Span, Reason> {
        self.at += 1;
        let start = self.at;
        self.at += plain_length(&self.bytes[start..]);
        let is_escaped = self.peek() != Some(b'"');
        if is_escaped {
            self.escapes()?;
        }
        self.at += 1;
        Ok(Span { kind: Kind::String, start, end: self.at - 1, is_escaped })
    }

    /// Reads the rest of a string, from its first escape to the closing mark.
    #[cold]
    #[inline(never)]
    fn escapes(&mut self) -> Result<(), Reason> {
        loop {
            match self.peek() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.at += 1,
                Some(_) => return Err("a control character in a string"),
                None => return Err(CUT),
            }
            match self.peek() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                Some(b'u') => {
                    self.at += 1;
                    for _ in 0..4 {
                        match self.peek() {
                            Some(c) if c.is_ascii_hexdigit() => self.at += 1,
                            Some(_) => return Err("a \\u escape without four hex digits"),
                            None => return Err(CUT),
                        }
                    }
                }
                Some(_) => return Err("an unknown escape in a string"),
                None => return Err(CUT),
            }
            self.at += plain_length(&self.bytes[self.at..]);
        }
    }
}

/// Returns the number of leading bytes that are plain text of a string: no quotation mark, backslash or control character.
#[inline(never)]
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    // Eight at a time: a byte's highest bit is set where the subtraction fell below zero, so where the byte was too
    // small. That borrows from the bytes behind it, whose bits then mean nothing; the first one that is set is right.
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*word);
        // With the bit of 2 flipped, the quotation mark (0x22) comes next behind the control characters (0..0x20).
        let control_or_quote = (word ^ (ONES * 2)).wrapping_sub(ONES * 0x21);
        let backslash = (word ^ (ONES * 0x5C)).wrapping_sub(ONES);
        // Bytes above ASCII have the bit as they are, and are none of the three.
        let special = (control_or_quote | backslash) & !word & (ONES << 7);
        if special != 0 {
            return bytes.len() - rest.len() + special.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    bytes.len() - rest.len() + rest.iter().take_while(|byte| !matches!(byte, 0..=0x1F | b'"' | b'\\')).count()
}
