//! A second reading of an answer's body, for the names and types of its members and for its oddities. No value leaves
//! this file.

use super::answer::Oddities;

/// The largest number of listed members, and the depth below which values are not entered.
const MOST: usize = 64;
const DEEPEST: usize = 16;

/// A member, or an element of an array.
pub(super) struct Member<'b> {
    pub(super) path: String,
    name: &'b [u8],
    pub(super) kind: Kind,
    /// The text between the quotes, or the number or word.
    pub(super) value: &'b [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Number,
    /// `true`, `false` or `null`.
    Word,
    Object,
    Array,
}

impl Member<'_> {
    /// Describes the member without its value: a string has its length.
    pub(super) fn describe(&self) -> String {
        let word = match self.kind {
            Kind::String => return format!("{}: string of {}", self.path, self.value.len()),
            Kind::Number => "number",
            Kind::Word if self.value == b"null" => "null",
            Kind::Word => "boolean",
            Kind::Object => "object",
            Kind::Array => "array",
        };
        format!("{}: {word}", self.path)
    }

    /// Returns the name in lower case, without the characters that join its words.
    pub(super) fn plain_name(&self) -> String {
        let letters = self.name.iter().filter(|byte| byte.is_ascii_alphanumeric());
        letters.map(|byte| char::from(byte.to_ascii_lowercase())).collect()
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name == name.as_bytes()
    }

    /// Returns whether a text contains the value.
    pub(super) fn is_in(&self, text: &str) -> bool {
        std::str::from_utf8(self.value).is_ok_and(|value| text.contains(value))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.value.is_empty() || self.value == b"null"
    }

    /// Returns whether the value is a decimal number, written as a number or as a string.
    pub(super) fn is_number(&self) -> bool {
        let text = self.value.trim_ascii();
        matches!(self.kind, Kind::Number | Kind::String)
            && text.iter().any(u8::is_ascii_digit)
            && text.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
    }

    /// Returns the value if it is a whole number.
    pub(super) fn whole(&self) -> Option<u64> {
        std::str::from_utf8(self.value.trim_ascii()).ok()?.parse().ok().filter(|_| self.is_number())
    }

    /// Returns whether the value can be a token: one word of visible ASCII.
    pub(super) fn is_word(&self) -> bool {
        self.kind == Kind::String && self.value.len() >= 8 && self.value.iter().all(u8::is_ascii_graphic)
    }
}

/// Lists the members of a form.
pub(super) fn form(body: &[u8]) -> Vec<Member<'_>> {
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).take(MOST);
    pairs
        .map(|pair| {
            let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..end], pair.get(end + 1..).unwrap_or_default());
            Member { path: shown(name), name, kind: Kind::String, value }
        })
        .collect()
}

/// Lists the members of a JSON text as far as it can be read, and notes how it is written.
pub(super) fn json<'b>(body: &'b [u8], oddities: &mut Oddities) -> Vec<Member<'b>> {
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    oddities.note("bom", text.len() < body.len());
    oddities.note("crlf-whitespace", text.trim_ascii().len() < text.len());
    oddities.note("invalid-utf8", std::str::from_utf8(text).is_err());
    let mut scan = Scan { rest: text, members: Vec::new(), oddities };
    scan.value("", b"", 0);
    scan.members
}

/// Returns the name if it looks like one: even a name may hold a secret.
fn shown(name: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.$@:/".contains(byte);
    let digits = name.iter().filter(|byte| byte.is_ascii_digit()).count();
    match std::str::from_utf8(name) {
        Ok(name) if name.len() <= 32 && digits <= 4 && name.bytes().all(|byte| is_plain(&byte)) => name.to_owned(),
        _ => format!("‹{} bytes›", name.len()),
    }
}

struct Scan<'b, 'o> {
    rest: &'b [u8],
    members: Vec<Member<'b>>,
    oddities: &'o mut Oddities,
}

impl<'b> Scan<'b, '_> {
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    /// Consumes this byte if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.rest = &self.rest[usize::from(is_next)..];
        is_next
    }

    /// Consumes a value and lists it. None ends the scan.
    fn value(&mut self, path: &str, name: &'b [u8], depth: usize) -> Option<()> {
        let first = self.peek()?;
        let (kind, value) = match first {
            b'{' => (Kind::Object, &b"{"[..]),
            b'[' => (Kind::Array, &b"["[..]),
            b'"' => (Kind::String, self.string()?),
            _ => {
                let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
                let end = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
                let (value, rest) = self.rest.split_at(end);
                self.rest = rest;
                let kind = if matches!(value, b"true" | b"false" | b"null") { Kind::Word } else { Kind::Number };
                (kind, value)
            }
        };
        if depth > 0 && self.members.len() < MOST {
            self.members.push(Member { path: path.to_owned(), name, kind, value });
        }
        match kind {
            Kind::Object | Kind::Array if depth < DEEPEST => self.content(path, kind == Kind::Object, depth + 1),
            Kind::Object | Kind::Array => None,
            _ => Some(()),
        }
    }

    /// Consumes the members of an object, or the elements of an array.
    fn content(&mut self, path: &str, is_object: bool, depth: usize) -> Option<()> {
        let close = if is_object { b'}' } else { b']' };
        self.rest = &self.rest[1..];
        for index in 0_usize.. {
            if self.take(close) {
                self.oddities.note("trailing-comma", index > 0);
                return Some(());
            }
            let (name, own) = match is_object {
                true => {
                    let name = self.string()?;
                    self.oddities.note("escaped-key", name.contains(&b'\\'));
                    self.take(b':').then_some(())?;
                    (name, shown(name))
                }
                false => (&b""[..], index.to_string()),
            };
            let path = if path.is_empty() { own } else { format!("{path}.{own}") };
            self.value(&path, name, depth)?;
            if !self.take(b',') {
                return self.take(close).then_some(());
            }
        }
        None
    }

    /// Consumes a string and returns the text between the quotes.
    fn string(&mut self) -> Option<&'b [u8]> {
        self.take(b'"').then_some(())?;
        let mut is_escaped = false;
        let end = self.rest.iter().position(|byte| {
            let is_end = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            is_end
        })?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(body: &[u8]) -> Vec<String> {
        json(body, &mut Oddities::default()).iter().map(Member::describe).collect()
    }

    #[test]
    fn a_body_is_listed_as_far_as_it_can_be_read() {
        const BODY: &[u8] = br#"{"a":"x\"y","b":[1,{"c":null},],"d":{"e":true},}"#;
        let all =
            ["a: string of 4", "b: array", "b.0: number", "b.1: object", "b.1.c: null", "d: object", "d.e: boolean"];
        assert_eq!(described(BODY), all);
        for at in 0..BODY.len() {
            let cut = described(&BODY[..at]);
            assert!(
                cut.len() <= all.len() && at < 11 || cut.first().is_some_and(|first| first == all[0]),
                "{at}: {cut:?}"
            );
            for byte in *b"\"\\{}[],: \xFF0" {
                let mut broken = BODY.to_vec();
                broken[at] = byte;
                let _ = described(&broken);
            }
        }
        let deep = b"[".repeat(100_000);
        assert_eq!(described(&deep).len(), DEEPEST);
        assert_eq!(described(format!("[{}]", "1,".repeat(1000)).as_bytes()).len(), MOST);
    }
}
