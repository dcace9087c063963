//! JSON (RFC 8259), read in place: one pass over the bytes, no allocation, no recursion.
//!
//! [`scan`] checks the whole document and notes the places of the wanted members; [`unescape`] then turns a string
//! into its text in place, because an escape is never shorter than its character. Tolerated beyond the RFC: a
//! byte-order mark, one trailing comma in an object or array, and bytes that are not UTF-8 inside strings (the user of
//! a string checks it). Everything else that the RFC forbids is refused with the offset.

mod grammar;
mod text;

pub(crate) use self::text::{join, text, unescape};

use self::text::is_same_escaped;
use core::ops::Range;

/// Containers nested deeper than this are refused; real answers have 2 or 3 levels.
pub(crate) const MAX_DEPTH: usize = 128;

/// The most names in the path of a wanted member.
pub(crate) const MAX_PATH: usize = 8;

/// The most members that one pass can look for: each has one bit in a mask.
pub(crate) const MAX_WANTED: usize = 16;

/// The reason why a document is refused, and the position.
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

/// The place of a value in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The value is a string that holds escapes.
    pub(crate) is_escaped: bool,
}

impl Span {
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// A wanted member, and the span of its value once it is found.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'p> {
    /// Names of members and indices of elements, joined by dots: `data.0.token`. An empty path is never found.
    pub(crate) path: &'p str,
    /// Some path of the same list has more than one name.
    is_nested: bool,
    pub(crate) span: Option<Span>,
    /// The number of the path's bytes that have led to a value. It grows with each level.
    met: usize,
}

impl<'p> Wanted<'p> {
    pub(crate) fn new(path: &'p str) -> Self {
        Self::with(path, true)
    }

    /// Creates one of a list of paths. `is_nested` says whether some path of the list has more than one name.
    #[inline]
    pub(crate) fn with(path: &'p str, is_nested: bool) -> Self {
        Self { path, is_nested, span: None, met: 0 }
    }
}

/// The findings of a pass in addition to the wanted members.
pub(crate) struct Found {
    /// The offset of the first trailing comma.
    pub(crate) trailing_comma: Option<usize>,
    /// A second wanted member with another value, or a second object on the way to one; the first such fault.
    pub(crate) twice: Option<Fault>,
}

/// Checks that `bytes` are one JSON object and finds the `wanted` members in it. An array is read only if a wanted path
/// starts with an index.
pub(crate) fn scan(bytes: &[u8], wanted: &mut [Wanted<'_>]) -> Result<Found, Fault> {
    debug_assert!(wanted.len() <= MAX_WANTED);
    let mut cursor = Cursor { bytes, at: 0 };
    let mut found = Found { trailing_comma: None, twice: None };
    match cursor.document(wanted, &mut found) {
        Ok(()) => Ok(found),
        Err(reason) => Err(Fault { reason, offset: cursor.at }),
    }
}

/// The reason why the document is refused at the cursor.
type Reason = &'static str;

const CUT: Reason = "the JSON text is cut off";

/// The wanted paths that end at a member, and those that lead through it, as masks.
#[derive(Clone, Copy)]
struct Match {
    ends: u16,
    leads: u16,
    /// The start of the next name in the paths that lead on: they are the same up to there.
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
        match self.skip_space() {
            Some(b'{') => {}
            Some(b'[') if wanted.iter().any(|wanted| is_index(first_name(wanted.path))) => {}
            _ => return Err("not a JSON object"),
        }
        // The open containers as bits, the innermost lowest: 1 is an object, 0 an array.
        let (mut containers, mut depth) = (0u128, 0usize);
        // For each of the outer containers: the paths that end at it or lead through it, and its start.
        let mut outer = [(Match::NONE, 0usize); MAX_PATH];
        // For each array among them, the number of elements that were read.
        let mut indices = [0u32; MAX_PATH];
        // At first all of them lead on.
        let mut opened = Some(Match { leads: u16::MAX, ..Match::NONE });
        loop {
            let goes_on = if let Some(matched) = opened {
                if depth == MAX_DEPTH {
                    return Err("nested deeper than 128 levels");
                }
                if let Some(level) = outer.get_mut(depth) {
                    *level = (matched, self.at);
                    indices[depth] = 0;
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
                let (matched, _) = outer.get(depth - 1).copied().unwrap_or((Match::NONE, 0));
                let index = &mut indices[(depth - 1).min(MAX_PATH - 1)];
                self.values(closing(containers), matched, index, wanted, found)?
            } else {
                None
            };
        }
    }

    /// Reads values of a container until another container opens in it, or until its closing bracket. Returns the paths that
    /// end at the inner container or lead through it.
    fn values(
        &mut self,
        close: u8,
        outer: Match,
        index: &mut u32,
        wanted: &mut [Wanted<'_>],
        found: &mut Found,
    ) -> Result<Option<Match>, Reason> {
        loop {
            let name = if close == b'}' { Some(self.name()?) } else { None };
            let first = self.skip_space();
            let matched = match name {
                // An empty path is the end of no name.
                Some(name) if outer.leads != 0 && name.start < name.end => {
                    self.match_name(&self.bytes[name.range()], name.is_escaped, outer, wanted, found)
                }
                None if outer.leads != 0 => self.match_element(index, outer, wanted, found),
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

    /// Reads what follows a value: a comma and then another value, or the container's closing bracket.
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

    /// Notes the value of the members in the mask `ends`; a second one must be the same.
    #[inline]
    fn note(&self, span: Span, ends: u16, wanted: &mut [Wanted<'_>], found: &mut Found) {
        let mut ends = ends;
        while ends != 0 {
            let member = &mut wanted[ends.trailing_zeros() as usize].span;
            match *member {
                Some(first) if self.differ(first, span) => {
                    let fault = Fault { reason: "duplicate member with two values", offset: span.start };
                    found.twice = found.twice.or(Some(fault));
                }
                _ => *member = Some(span),
            }
            // The lowest bit is done.
            ends &= ends - 1;
        }
    }

    /// Returns the paths through an object that continue with the name `text`. The cursor is at its value.
    #[inline(always)]
    fn match_name(
        &self,
        text: &[u8],
        is_escaped: bool,
        outer: Match,
        wanted: &mut [Wanted<'_>],
        found: &mut Found,
    ) -> Match {
        let mut matched = Match::NONE;
        let is_plain = !is_escaped && wanted.first().is_some_and(|first| !first.is_nested);
        for (index, member) in wanted.iter_mut().enumerate() {
            let path = member.path.as_bytes();
            if is_plain {
                if path == text {
                    matched.ends |= 1 << index;
                }
                continue;
            }
            let Some(end) = end_of(path, text, is_escaped, outer.from as usize) else { continue };
            if end == path.len() {
                matched.ends |= 1 << index;
            } else if outer.leads & 1 << index != 0 {
                if member.met >= end {
                    let reason = "duplicate object on the way to a member";
                    found.twice = found.twice.or(Some(Fault { reason, offset: self.at }));
                }
                member.met = end;
                matched.leads |= 1 << index;
                matched.from = end as u32 + 1;
            }
        }
        matched.ends &= outer.leads;
        matched
    }

    /// Returns the paths through an array that continue with its next element. The cursor is at that element.
    #[cold]
    fn match_element(&self, index: &mut u32, outer: Match, wanted: &mut [Wanted<'_>], found: &mut Found) -> Match {
        let mut digits = [0u8; 10];
        let (mut rest, mut start) = (*index, digits.len());
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        // A body of a mebibyte has far fewer elements.
        *index = index.saturating_add(1);
        self.match_name(&digits[start..], false, outer, wanted, found)
    }

    #[cold]
    fn differ(&self, first: Span, second: Span) -> bool {
        first.kind != second.kind || self.bytes[first.range()] != self.bytes[second.range()]
    }
}

/// Returns the part of a path in front of its first dot.
pub(crate) fn first_name(path: &str) -> &str {
    path.split('.').next().unwrap_or_default()
}

/// Returns whether a name in a path can be the index of an array's element.
pub(crate) fn is_index(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the bracket that closes the innermost container.
fn closing(containers: u128) -> u8 {
    if containers & 1 == 1 { b'}' } else { b']' }
}

/// Returns the end of the segment of `path` that starts at `from`, if that segment is `name`.
#[cold]
fn end_of(path: &[u8], name: &[u8], is_escaped: bool, from: usize) -> Option<usize> {
    let segment = path.get(from..)?.split(|byte| *byte == b'.').next()?;
    let is_name = if is_escaped { is_same_escaped(segment, name) } else { segment == name };
    is_name.then_some(from + segment.len())
}
