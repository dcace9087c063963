//! JSON (RFC 8259), read in place: one pass over the bytes, no allocation, no recursion.
//!
//! [`scan`] checks the whole document and notes where the wanted members stand; [`unescape`] then turns a string
//! into its text on the spot, for an escape is never shorter than what it stands for. Tolerated beyond the RFC: a
//! byte-order mark, one trailing comma in an object or array, and bytes that are not UTF-8 inside strings (who uses
//! a string checks it). Everything else that the RFC forbids is refused with the offset.

use core::ops::Range;

/// Containers nested deeper than this are refused; real answers have 2 or 3 levels.
pub(crate) const MAX_DEPTH: usize = 128;

/// A wanted member's path has at most this many names.
pub(crate) const MAX_PATH: usize = 8;

/// At most this many members can be asked for in one pass: one bit each in a mask.
pub(crate) const MAX_WANTED: usize = 16;

/// Why a document is refused, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: &'static str,
    /// Bytes from the start of the document.
    pub(crate) offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The span is the text between the quotes, not yet unescaped.
    String,
    Number,
    True,
    False,
    Null,
    Object,
    Array,
}

/// Where a value stands in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// A string with escapes in it.
    pub(crate) is_escaped: bool,
}

impl Span {
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// A member that is looked for, and where its value stands once it is found.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'p> {
    /// Names joined by dots (`data.token`), which lead through objects only. An empty path is never found.
    pub(crate) path: &'p str,
    pub(crate) span: Option<Span>,
}

impl<'p> Wanted<'p> {
    pub(crate) fn new(path: &'p str) -> Self {
        Self { path, span: None }
    }
}

/// What a pass found beside the wanted members.
pub(crate) struct Found {
    /// The first one.
    pub(crate) trailing_comma: Option<usize>,
    /// A wanted member that stands there a second time with another value; the first one is noted.
    pub(crate) twice: Option<Fault>,
    /// How many members the object has.
    pub(crate) count: usize,
}

/// Checks that `bytes` are one JSON object and finds the `wanted` members in it.
pub(crate) fn scan(bytes: &[u8], wanted: &mut [Wanted<'_>]) -> Result<Found, Fault> {
    debug_assert!(wanted.len() <= MAX_WANTED);
    let mut cursor = Cursor { bytes, at: 0 };
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        cursor.at = 3;
    }
    cursor.skip_space();
    if cursor.peek() != Some(b'{') {
        return Err(cursor.fault("not a JSON object"));
    }

    let mut found = Found { trailing_comma: None, twice: None, count: 0 };
    // The open containers as bits, the innermost lowest: 1 is an object, 0 an array.
    let (mut containers, mut depth) = (0u128, 0usize);
    // For each level of objects, the paths that lead through it.
    let mut through = [Match::NONE; MAX_PATH];
    // At first all of them do.
    let mut matched = Match { leads: u16::MAX, ..Match::NONE };
    // Containers that are themselves wanted end only when they are closed.
    let mut open_wanted = [(0u16, 0usize); MAX_PATH];

    loop {
        if depth > 0 {
            found.count += usize::from(depth == 1);
            matched = cursor.member(containers & 1 == 1, depth, &through, wanted)?;
        }
        // A value starts here.
        let start = cursor.at;
        let mut span = match cursor.peek() {
            Some(open @ (b'{' | b'[')) => {
                if depth == MAX_DEPTH {
                    return Err(cursor.fault("nested deeper than 128 levels"));
                }
                cursor.at += 1;
                let is_object = open == b'{';
                containers = containers << 1 | u128::from(is_object);
                if depth < MAX_PATH {
                    through[depth] = if is_object { matched } else { Match::NONE };
                    open_wanted[depth] = (matched.ends, start);
                }
                depth += 1;
                cursor.skip_space();
                if cursor.peek() != Some(if is_object { b'}' } else { b']' }) {
                    continue;
                }
                None
            }
            _ => Some(cursor.scalar()?),
        };

        // A value ends here; so may the containers around it.
        loop {
            if span.is_none() {
                // The cursor is at the closing bracket of the innermost container.
                cursor.at += 1;
                let kind = if containers & 1 == 1 { Kind::Object } else { Kind::Array };
                containers >>= 1;
                depth -= 1;
                if depth < MAX_PATH {
                    let (ends, start) = open_wanted[depth];
                    matched = Match { ends, ..Match::NONE };
                    span = Some(Span { kind, start, end: cursor.at, is_escaped: false });
                } else {
                    matched = Match::NONE;
                }
            }
            if let (Some(span), true) = (span, matched.ends != 0) {
                found.twice = found.twice.or(cursor.note(span, matched.ends, wanted));
            }
            cursor.skip_space();
            if depth == 0 {
                return match cursor.peek() {
                    None => Ok(found),
                    Some(_) => Err(cursor.fault("text after the end of the JSON object")),
                };
            }
            let close = if containers & 1 == 1 { b'}' } else { b']' };
            match cursor.peek() {
                Some(b',') => {
                    let comma = cursor.at;
                    cursor.at += 1;
                    cursor.skip_space();
                    if cursor.peek() == Some(close) {
                        found.trailing_comma = found.trailing_comma.or(Some(comma));
                        span = None;
                        continue;
                    }
                    break;
                }
                Some(c) if c == close => span = None,
                Some(_) => return Err(cursor.fault("a comma or a closing bracket is missing")),
                None => return Err(cursor.fault(CUT)),
            }
        }
    }
}

const CUT: &str = "the JSON text is cut off";

/// Which of the wanted paths end at a member, and which lead on through it, as masks.
#[derive(Clone, Copy)]
struct Match {
    ends: u16,
    leads: u16,
    /// Where the next name stands in those that lead on: they are the same up to there.
    from: usize,
}

impl Match {
    const NONE: Self = Self { ends: 0, leads: 0, from: 0 };
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self, reason: &'static str) -> Fault {
        Fault { reason, offset: self.at }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads up to the value of the next member of an object, or element of an array.
    fn member(
        &mut self,
        is_object: bool,
        depth: usize,
        through: &[Match; MAX_PATH],
        wanted: &[Wanted<'_>],
    ) -> Result<Match, Fault> {
        let mut matched = Match::NONE;
        if is_object {
            if self.peek() != Some(b'"') {
                return Err(self.fault(if self.peek().is_none() { CUT } else { "a member name in quotes is missing" }));
            }
            let name = self.string()?;
            if let Some(object) = through.get(depth - 1).filter(|object| object.leads != 0) {
                let text = &self.bytes[name.range()];
                matched = match_name(text, name.is_escaped, object, wanted);
            }
            self.skip_space();
            match self.peek() {
                Some(b':') => self.at += 1,
                Some(_) => return Err(self.fault("a colon is missing")),
                None => return Err(self.fault(CUT)),
            }
            self.skip_space();
        }
        Ok(matched)
    }

    /// Reads a string, a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<Span, Fault> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Kind::True),
            Some(b'f') => self.literal("false", Kind::False),
            Some(b'n') => self.literal("null", Kind::Null),
            Some(_) => Err(self.fault("not a JSON value")),
            None => Err(self.fault(CUT)),
        }
    }

    fn literal(&mut self, text: &str, kind: Kind) -> Result<Span, Fault> {
        let start = self.at;
        for expected in text.bytes() {
            match self.peek() {
                Some(c) if c == expected => self.at += 1,
                Some(_) => return Err(self.fault("not a JSON value")),
                None => return Err(self.fault(CUT)),
            }
        }
        Ok(Span { kind, start, end: self.at, is_escaped: false })
    }

    /// `number = [ "-" ] int [ frac ] [ exp ]`, RFC 8259 section 6.
    fn number(&mut self) -> Result<Span, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if let Some(b'0'..=b'9') = self.peek() {
                return Err(self.fault("a number with a leading zero"));
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

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        match self.peek() {
            _ if self.at > start => Ok(()),
            Some(_) => Err(self.fault("a digit is missing")),
            None => Err(self.fault(CUT)),
        }
    }

    /// `string = quotation-mark *char quotation-mark`, RFC 8259 section 7. The cursor is at the opening mark.
    fn string(&mut self) -> Result<Span, Fault> {
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

    /// Reads a string on from an escape to the closing mark.
    fn escapes(&mut self) -> Result<(), Fault> {
        loop {
            match self.peek() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.at += 1,
                Some(_) => return Err(self.fault("a control character in a string")),
                None => return Err(self.fault(CUT)),
            }
            match self.peek() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                Some(b'u') => {
                    self.at += 1;
                    for _ in 0..4 {
                        match self.peek() {
                            Some(c) if c.is_ascii_hexdigit() => self.at += 1,
                            Some(_) => return Err(self.fault("a \\u escape without four hex digits")),
                            None => return Err(self.fault(CUT)),
                        }
                    }
                }
                Some(_) => return Err(self.fault("an unknown escape in a string")),
                None => return Err(self.fault(CUT)),
            }
            self.at += plain_length(&self.bytes[self.at..]);
        }
    }

    /// Notes the value of the members in the mask `ends`; a second one must be the same, or there is a fault.
    fn note(&self, span: Span, ends: u16, wanted: &mut [Wanted<'_>]) -> Option<Fault> {
        let (mut ends, mut fault) = (ends, None);
        while ends != 0 {
            let member = &mut wanted[ends.trailing_zeros() as usize].span;
            match *member {
                Some(first) if first.kind != span.kind || self.bytes[first.range()] != self.bytes[span.range()] => {
                    fault = Some(Fault { reason: "a member stands there twice, with two values", offset: span.start });
                }
                _ => *member = Some(span),
            }
            // The lowest bit is done.
            ends &= ends - 1;
        }
        fault
    }
}

/// How many bytes from the first on are plain text of a string: no quotation mark, backslash or control character.
fn plain_length(bytes: &[u8]) -> usize {
    // Eight at a time: a byte's highest bit is set where the subtraction fell below zero, so where the byte was too
    // small. That borrows from the bytes behind it, whose bits then mean nothing; the first one that is set is right.
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (mut rest, mut length) = (bytes, 0);
    while let Some((word, behind)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*word);
        // With the bit of 2 flipped, the quotation mark (0x22) comes next behind the control characters (0..0x20).
        let control_or_quote = (word ^ (ONES * 2)).wrapping_sub(ONES * 0x21);
        let backslash = (word ^ (ONES * 0x5C)).wrapping_sub(ONES);
        // Bytes above ASCII have the bit as they are, and are none of the three.
        let special = (control_or_quote | backslash) & !word & (ONES << 7);
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        rest = behind;
        length += 8;
    }
    length + rest.iter().take_while(|byte| !matches!(byte, 0..=0x1F | b'"' | b'\\')).count()
}

/// Which of the paths that lead through an object go on with `name`.
fn match_name(name: &[u8], is_escaped: bool, object: &Match, wanted: &[Wanted<'_>]) -> Match {
    let mut matched = Match::NONE;
    if name.is_empty() {
        return matched;
    }
    for (index, Wanted { path, .. }) in wanted.iter().enumerate() {
        let Some(path) = path.as_bytes().get(object.from..) else { continue };
        let Some(rest) = (if is_escaped { behind_escaped(path, name) } else { behind(path, name) }) else { continue };
        // Asked last, for nearly all names differ.
        if object.leads & (1 << index) == 0 {
            continue;
        }
        if rest.is_empty() {
            matched.ends |= 1 << index;
        } else {
            matched.leads |= 1 << index;
            matched.from = object.from + path.len() - rest.len() + 1;
        }
    }
    matched
}

/// What is left of `path` behind its first segment, if that is `name`: nothing, or a dot and the next segments.
fn behind<'p>(path: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    // Nearly all names differ in their length.
    let (start, rest) = path.split_at_checked(name.len())?;
    if !matches!(rest, [] | [b'.', ..]) {
        return None;
    }
    let is_name = name.iter().zip(start).all(|(byte, expected)| byte == expected && *expected != b'.');
    is_name.then_some(rest)
}

/// As [`behind`], of a name that holds escapes.
fn behind_escaped<'p>(path: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let mut expected = core::str::from_utf8(path).ok()?.chars();
    let mut at = 0;
    while at < name.len() {
        let c = if name[at] == b'\\' {
            let (c, length) = escape(name, at)?;
            at += length;
            c
        } else {
            at += 1;
            // Any byte beyond ASCII differs from all names that are asked for.
            Some(char::from(name[at - 1])).filter(char::is_ascii)?
        };
        if c == '.' || expected.next() != Some(c) {
            return None;
        }
    }
    Some(expected.as_str().as_bytes()).filter(|rest| matches!(rest, [] | [b'.', ..]))
}

/// The character that the escape at `at` stands for, and how many bytes it takes; none for a lone surrogate.
fn escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let simple = match *bytes.get(at + 1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let high = hex4(bytes, at + 2)?;
            if !(0xD800..0xDC00).contains(&high) {
                return char::from_u32(high).map(|c| (c, 6));
            }
            let low = hex4(bytes, at + 8).filter(|_| bytes[at + 6..].starts_with(b"\\u"))?;
            let low = low.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
            return char::from_u32(0x10000 + ((high - 0xD800) << 10) + low).map(|c| (c, 12));
        }
        other => char::from(other),
    };
    Some((simple, 2))
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let mut value = 0;
    for byte in bytes.get(at..at + 4)? {
        value = value << 4 | char::from(*byte).to_digit(16)?;
    }
    Some(value)
}

/// Turns the string at `span`, which [`scan`] has checked, into its text, in place. What it no longer needs is
/// filled with spaces, so that no half of a secret stays behind the text.
///
/// A lone surrogate stands for no character: it is a [`Fault`], or U+FFFD where `lossy` is set.
pub(crate) fn unescape(bytes: &mut [u8], span: Span, lossy: bool) -> Result<Range<usize>, Fault> {
    if !span.is_escaped {
        return Ok(span.range());
    }
    let (mut read, mut write) = (span.start, span.start);
    loop {
        let plain = plain_length(&bytes[read..span.end]);
        bytes.copy_within(read..read + plain, write);
        read += plain;
        write += plain;
        if read == span.end {
            break;
        }
        let (c, length) = match escape(&bytes[..span.end], read) {
            Some(found) => found,
            None if lossy => (char::REPLACEMENT_CHARACTER, 6),
            None => return Err(Fault { reason: "half of a surrogate pair in a string", offset: read }),
        };
        read += length;
        write += c.encode_utf8(&mut bytes[write..]).len();
    }
    bytes[write..span.end].fill(b' ');
    Ok(span.start..write)
}

/// Joins the strings of the array at `span` with one space each, in place; none if an element is not a string.
pub(crate) fn join(bytes: &mut [u8], span: Span) -> Option<Range<usize>> {
    let (mut read, mut write) = (span.start + 1, span.start);
    loop {
        let mut cursor = Cursor { bytes, at: read };
        cursor.skip_space();
        match cursor.peek()? {
            b']' => break,
            b',' => cursor.at += 1,
            b'"' => {
                let string = cursor.string().ok()?;
                read = cursor.at;
                let text = unescape(bytes, string, false).ok()?;
                if write > span.start {
                    bytes[write] = b' ';
                    write += 1;
                }
                let length = text.len();
                bytes.copy_within(text, write);
                write += length;
                continue;
            }
            _ => return None,
        }
        read = cursor.at;
    }
    bytes[write..span.end].fill(b' ');
    Some(span.start..write)
}
