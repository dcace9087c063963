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
}

impl Span {
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// What a pass found: the span of each wanted member, and the first trailing comma.
pub(crate) struct Found<const N: usize> {
    pub(crate) members: [Option<Span>; N],
    pub(crate) trailing_comma: Option<usize>,
    /// A wanted member that stands there a second time with another value; the first one is noted.
    pub(crate) twice: Option<Fault>,
    /// How many members the object has.
    pub(crate) count: usize,
}

/// Checks that `bytes` are one JSON object and finds its members at `paths`, names joined by dots (`data.token`).
///
/// A path leads through objects only. An empty path is never found.
pub(crate) fn scan<const N: usize>(bytes: &[u8], paths: &[&str; N]) -> Result<Found<N>, Fault> {
    const { assert!(N <= MAX_WANTED) };
    let mut cursor = Cursor { bytes, at: 0 };
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        cursor.at = 3;
    }
    cursor.skip_space();
    if cursor.peek() != Some(b'{') {
        return Err(cursor.fault("not a JSON object"));
    }

    let mut found = Found { members: [None; N], trailing_comma: None, twice: None, count: 0 };
    // The open containers as bits, the innermost lowest: 1 is an object, 0 an array.
    let (mut containers, mut depth) = (0u128, 0usize);
    // For each level of objects, the paths that lead through it, as a mask; and for the member being read, the
    // paths that end at it and where its value starts.
    let mut through = [0u16; MAX_PATH];
    let mut matched = Match { ends: 0, leads: ((1u32 << N) - 1) as u16 };
    // Containers that are themselves wanted end only when they are closed.
    let mut open_wanted = [(0u16, 0usize); MAX_PATH];

    loop {
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
                    through[depth] = if is_object { matched.leads } else { 0 };
                    open_wanted[depth] = (matched.ends, start);
                }
                depth += 1;
                cursor.skip_space();
                if cursor.peek() != Some(if is_object { b'}' } else { b']' }) {
                    found.count += usize::from(depth == 1);
                    matched = cursor.member(is_object, depth, &through, paths)?;
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
                    matched = Match { ends, leads: 0 };
                    span = Some(Span { kind, start, end: cursor.at });
                } else {
                    matched = Match { ends: 0, leads: 0 };
                }
            }
            if let (Some(span), true) = (span, matched.ends != 0) {
                cursor.note(span, matched.ends, &mut found);
            }
            cursor.skip_space();
            if depth == 0 {
                return match cursor.peek() {
                    None => Ok(found),
                    Some(_) => Err(cursor.fault("text after the end of the JSON object")),
                };
            }
            let is_object = containers & 1 == 1;
            let close = if is_object { b'}' } else { b']' };
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
                    found.count += usize::from(depth == 1);
                    matched = cursor.member(is_object, depth, &through, paths)?;
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

/// Which of the wanted paths end at a member, and which lead on through it.
#[derive(Clone, Copy)]
struct Match {
    ends: u16,
    leads: u16,
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
    fn member<const N: usize>(
        &mut self,
        is_object: bool,
        depth: usize,
        through: &[u16; MAX_PATH],
        paths: &[&str; N],
    ) -> Result<Match, Fault> {
        let mut matched = Match { ends: 0, leads: 0 };
        if is_object {
            if self.peek() != Some(b'"') {
                return Err(self.fault(if self.peek().is_none() { CUT } else { "a member name in quotes is missing" }));
            }
            let name = self.string()?;
            if let Some(&candidates) = through.get(depth - 1) {
                if candidates != 0 {
                    matched = match_name(&self.bytes[name.range()], candidates, depth - 1, paths);
                }
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
        Ok(Span { kind, start, end: self.at })
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
        Ok(Span { kind: Kind::Number, start, end: self.at })
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
        loop {
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Span { kind: Kind::String, start, end });
                }
                Some(b'\\') => {
                    self.at += 1;
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
                }
                Some(0..=0x1F) => return Err(self.fault("a control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.fault(CUT)),
            }
        }
    }

    /// Notes the value of the members in the mask `ends`; a second one must be the same.
    fn note<const N: usize>(&self, span: Span, ends: u16, found: &mut Found<N>) {
        for (index, member) in found.members.iter_mut().enumerate() {
            if ends & (1 << index) == 0 {
                continue;
            }
            match *member {
                Some(first) if first.kind != span.kind || self.bytes[first.range()] != self.bytes[span.range()] => {
                    let fault = Fault { reason: "a member stands there twice, with two values", offset: span.start };
                    found.twice = found.twice.or(Some(fault));
                }
                _ => *member = Some(span),
            }
        }
    }
}

/// Which of the `candidates` have `name` (still escaped) as their segment number `level`.
fn match_name<const N: usize>(name: &[u8], candidates: u16, level: usize, paths: &[&str; N]) -> Match {
    let mut matched = Match { ends: 0, leads: 0 };
    for (index, path) in paths.iter().enumerate() {
        if candidates & (1 << index) == 0 {
            continue;
        }
        let mut rest = *path;
        for _ in 0..level {
            rest = rest.split_once('.').map_or("", |(_, rest)| rest);
        }
        let (segment, leads) = match rest.split_once('.') {
            Some((segment, _)) => (segment, true),
            None => (rest, false),
        };
        if !segment.is_empty() && name_is(name, segment) {
            if leads {
                matched.leads |= 1 << index;
            } else {
                matched.ends |= 1 << index;
            }
        }
    }
    matched
}

/// Compares a member name, which may hold escapes, with plain text.
fn name_is(name: &[u8], text: &str) -> bool {
    if name == text.as_bytes() {
        return true;
    }
    if !name.contains(&b'\\') {
        return false;
    }
    let mut expected = text.chars();
    let mut at = 0;
    while at < name.len() {
        let next = if name[at] == b'\\' {
            match escape(name, at) {
                Some((c, length)) => {
                    at += length;
                    Some(c)
                }
                None => return false,
            }
        } else {
            at += 1;
            // Only ASCII names are ever asked for; any other byte differs from all of them.
            Some(char::from(name[at - 1])).filter(char::is_ascii)
        };
        if next.is_none() || next != expected.next() {
            return false;
        }
    }
    expected.next().is_none()
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
    let (mut read, mut write) = (span.start, span.start);
    while read < span.end {
        if bytes[read] != b'\\' {
            bytes[write] = bytes[read];
            read += 1;
            write += 1;
            continue;
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
