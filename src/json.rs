//! JSON (RFC 8259), read in place: one pass over the bytes, no allocation, no recursion.
//!
//! [`scan`] checks the whole document and notes where the wanted members stand; [`unescape`] then turns a string
//! into its text on the spot, for an escape is never shorter than what it stands for. Tolerated beyond the RFC: a
//! byte-order mark, one trailing comma in an object or array, and bytes that are not UTF-8 inside strings (who uses
//! a string checks it). Everything else that the RFC forbids is refused with the offset.

use crate::secret::Secret;
use core::ops::Range;
use zeroize::Zeroizing;

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
    /// A path of the list that is scanned for may have more than one name.
    is_nested: bool,
    pub(crate) span: Option<Span>,
    /// How many bytes of the path have led to a value: more with each level.
    met: usize,
}

impl<'p> Wanted<'p> {
    pub(crate) fn new(path: &'p str) -> Self {
        Self::with(path, true)
    }

    /// One of a list of paths of one name each, or of which some have more.
    #[inline]
    pub(crate) fn with(path: &'p str, is_nested: bool) -> Self {
        Self { path, is_nested, span: None, met: 0 }
    }
}

/// What a pass found beside the wanted members.
pub(crate) struct Found {
    /// The first one.
    pub(crate) trailing_comma: Option<usize>,
    /// A wanted member that stands there a second time with another value, or an object that leads to one a second time;
    /// the first one is noted.
    pub(crate) twice: Option<Fault>,
    /// How many members the object has.
    pub(crate) count: usize,
}

/// Checks that `bytes` are one JSON object and finds the `wanted` members in it.
pub(crate) fn scan(bytes: &[u8], wanted: &mut [Wanted<'_>]) -> Result<Found, Fault> {
    debug_assert!(wanted.len() <= MAX_WANTED);
    let mut cursor = Cursor { bytes, at: 0 };
    let mut found = Found { trailing_comma: None, twice: None, count: 0 };
    match cursor.document(wanted, &mut found) {
        Ok(()) => Ok(found),
        Err(reason) => Err(Fault { reason, offset: cursor.at }),
    }
}

/// Why the document is refused where the cursor stands.
type Reason = &'static str;

const CUT: Reason = "the JSON text is cut off";

/// Which of the wanted paths end at a member, and which lead on through it, as masks.
#[derive(Clone, Copy)]
struct Match {
    ends: u16,
    leads: u16,
    /// Where the next name stands in those that lead on: they are the same up to there.
    from: u32,
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

    /// Reads the whole document.
    #[inline]
    fn document(&mut self, wanted: &mut [Wanted<'_>], found: &mut Found) -> Result<(), Reason> {
        if self.bytes.starts_with(b"\xEF\xBB\xBF") {
            self.at = 3;
        }
        if self.skip_space() != Some(b'{') {
            return Err("not a JSON object");
        }
        // The open containers as bits, the innermost lowest: 1 is an object, 0 an array.
        let (mut containers, mut depth) = (0u128, 0usize);
        // For each of the outer ones, the paths that end at it or lead through it, and where it starts.
        let mut outer = [(Match::NONE, 0usize); MAX_PATH];
        // At first all of them lead on.
        let mut opened = Some(Match { leads: u16::MAX, ..Match::NONE });
        loop {
            let goes_on = if let Some(matched) = opened {
                if depth == MAX_DEPTH {
                    return Err("nested deeper than 128 levels");
                }
                if let Some(level) = outer.get_mut(depth) {
                    *level = (matched, self.at);
                }
                depth += 1;
                containers = containers << 1 | u128::from(self.peek() == Some(b'{'));
                self.at += 1;
                self.skip_space() != Some(closing(containers))
            } else {
                // The cursor is at the closing bracket of the innermost container.
                let kind = if containers & 1 == 1 { Kind::Object } else { Kind::Array };
                containers >>= 1;
                depth -= 1;
                self.at += 1;
                if let Some((Match { ends, .. }, start)) = outer.get(depth) {
                    self.note(Span { kind, start: *start, end: self.at, is_escaped: false }, *ends, wanted, found);
                }
                if depth == 0 {
                    return if self.skip_space().is_none() {
                        Ok(())
                    } else {
                        Err("text after the end of the JSON object")
                    };
                }
                self.comma(closing(containers), found)?
            };
            opened = if goes_on {
                let (object, _) = outer.get(depth - 1).copied().unwrap_or((Match::NONE, 0));
                self.values(closing(containers), depth, object, wanted, found)?
            } else {
                None
            };
        }
    }

    /// Reads on in a container until another one opens in it, which the paths that are given back end at or lead through,
    /// or until its closing bracket.
    fn values(
        &mut self,
        close: u8,
        depth: usize,
        object: Match,
        wanted: &mut [Wanted<'_>],
        found: &mut Found,
    ) -> Result<Option<Match>, Reason> {
        loop {
            found.count += usize::from(depth == 1);
            let name = if close == b'}' { Some(self.name()?) } else { None };
            let first = self.skip_space();
            let matched = match name {
                // An empty path is the end of no name.
                Some(name) if object.leads != 0 && name.start < name.end => {
                    self.match_name(name, object, wanted, found)
                }
                _ => Match::NONE,
            };
            let span = match first {
                Some(b'"') => self.string()?,
                Some(b'{' | b'[') => return Ok(Some(matched)),
                _ => self.scalar()?,
            };
            self.note(span, matched.ends, wanted, found);
            if !self.comma(close, found)? {
                return Ok(None);
            }
        }
    }

    /// Reads what stands behind a value: a comma and then another value, or the container's closing bracket.
    #[inline]
    fn comma(&mut self, close: u8, found: &mut Found) -> Result<bool, Reason> {
        match self.skip_space() {
            Some(b',') => {
                let comma = self.at;
                self.at += 1;
                if self.skip_space() != Some(close) {
                    return Ok(true);
                }
                found.trailing_comma = found.trailing_comma.or(Some(comma));
                Ok(false)
            }
            Some(c) if c == close => Ok(false),
            Some(_) => Err("a comma or a closing bracket is missing"),
            None => Err(CUT),
        }
    }

    /// Goes to the next byte that is no white space.
    fn skip_space(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    /// Reads the name of the next member of an object, and the colon behind it.
    #[inline]
    fn name(&mut self) -> Result<Span, Reason> {
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
    fn scalar(&mut self) -> Result<Span, Reason> {
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
    fn string(&mut self) -> Result<Span, Reason> {
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

    /// Notes the value of the members in the mask `ends`; a second one must be the same.
    #[inline]
    fn note(&self, span: Span, ends: u16, wanted: &mut [Wanted<'_>], found: &mut Found) {
        let mut ends = ends;
        while ends != 0 {
            let member = &mut wanted[ends.trailing_zeros() as usize].span;
            match *member {
                Some(first) if self.differ(first, span) => {
                    let fault = Fault { reason: "a member stands there twice, with two values", offset: span.start };
                    found.twice = found.twice.or(Some(fault));
                }
                _ => *member = Some(span),
            }
            // The lowest bit is done.
            ends &= ends - 1;
        }
    }

    /// Which of the paths that lead through an object go on with `name`. The cursor is at its value.
    #[inline(always)]
    fn match_name(&self, name: Span, object: Match, wanted: &mut [Wanted<'_>], found: &mut Found) -> Match {
        let mut matched = Match::NONE;
        let text = &self.bytes[name.range()];
        let is_plain = !name.is_escaped && wanted.first().is_some_and(|first| !first.is_nested);
        for (index, member) in wanted.iter_mut().enumerate() {
            let path = member.path.as_bytes();
            if is_plain {
                if path == text {
                    matched.ends |= 1 << index;
                }
                continue;
            }
            let Some(end) = end_of(path, text, name.is_escaped, object.from as usize) else { continue };
            if end == path.len() {
                matched.ends |= 1 << index;
            } else if object.leads & 1 << index != 0 {
                if member.met >= end {
                    let reason = "an object that leads to a member stands there twice";
                    found.twice = found.twice.or(Some(Fault { reason, offset: self.at }));
                }
                member.met = end;
                matched.leads |= 1 << index;
                matched.from = end as u32 + 1;
            }
        }
        matched.ends &= object.leads;
        matched
    }

    #[cold]
    fn differ(&self, first: Span, second: Span) -> bool {
        first.kind != second.kind || self.bytes[first.range()] != self.bytes[second.range()]
    }
}

/// The bracket that closes the innermost container.
fn closing(containers: u128) -> u8 {
    if containers & 1 == 1 { b'}' } else { b']' }
}

/// How many bytes from the first on are plain text of a string: no quotation mark, backslash or control character.
#[inline(never)]
fn plain_length(bytes: &[u8]) -> usize {
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

/// Where the segment of `path` that starts at `from` ends, if it is `name`.
#[cold]
fn end_of(path: &[u8], name: &[u8], is_escaped: bool, from: usize) -> Option<usize> {
    let segment = path.get(from..)?.split(|byte| *byte == b'.').next()?;
    let is_name = if is_escaped { is_same_escaped(segment, name) } else { segment == name };
    is_name.then_some(from + segment.len())
}

/// Whether `name`, which holds escapes, stands for `text`.
fn is_same_escaped(text: &[u8], name: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(text) else { return false };
    let mut expected = text.chars();
    let mut at = 0;
    while at < name.len() {
        let c = if name[at] == b'\\' {
            let Some((c, length)) = escape(name, at) else { return false };
            at += length;
            Some(c)
        } else {
            at += 1;
            // A byte beyond ASCII is a part of a character, and no name that is asked for has one beside an escape.
            char::from(name[at - 1]).is_ascii().then_some(char::from(name[at - 1]))
        };
        if c.is_none() || expected.next() != c {
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
    if span.is_escaped { unescape_escaped(bytes, span, lossy) } else { Ok(span.range()) }
}

#[cold]
fn unescape_escaped(bytes: &mut [u8], span: Span, lossy: bool) -> Result<Range<usize>, Fault> {
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

/// A copy of the value at `span`: a string's text, or anything else as JSON; none if it is not UTF-8, or holds a lone
/// surrogate that is not tolerated.
pub(crate) fn text(bytes: &[u8], span: Span, lossy: bool) -> Option<Secret> {
    let mut text = Zeroizing::new(bytes[span.range()].to_vec());
    if span.kind == Kind::String {
        let whole = Span { start: 0, end: text.len(), ..span };
        let decoded = unescape(&mut text, whole, lossy).ok()?;
        text.truncate(decoded.end);
    }
    core::str::from_utf8(&text).ok().map(Secret::from)
}

/// Joins the strings of the array at `span` with one space each, in place; none if an element is not a string.
pub(crate) fn join(bytes: &mut [u8], span: Span) -> Option<Range<usize>> {
    let (mut read, mut write) = (span.start + 1, span.start);
    loop {
        let mut cursor = Cursor { bytes, at: read };
        match cursor.skip_space()? {
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
