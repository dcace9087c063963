//! Texts with variables: `https://{tenant}.example/token`, `Basic {base64:{user}:{key}}`.

use crate::computed::is_computed;
use crate::encode;
use crate::secret::{Exposed, Secret};
use crate::sha256::sha256;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// A text that may name variables.
///
/// `{name}` is replaced with a variable's value, `{now+1h:FORMAT}` with a time. `{base64:TEXT}`, `{json:TEXT}`,
/// `{url:TEXT}` and `{sha256:TEXT}` encode or hash a text that may name variables, too. `{{name}}` is the text
/// `{name}`. Any other brace is literal, so GraphQL and JSON need no escapes.
pub(crate) struct Template {
    text: String,
    /// Empty if the text is sent unchanged.
    parts: Vec<Part>,
}

enum Part {
    Text(Range<usize>),
    Name(Range<usize>),
    Filter(Filter, Vec<Part>),
}

#[derive(Clone, Copy)]
enum Filter {
    Base64,
    Json,
    Url,
    Sha256,
}

const FILTERS: [(&str, Filter); 4] =
    [("base64:", Filter::Base64), ("json:", Filter::Json), ("url:", Filter::Url), ("sha256:", Filter::Sha256)];

/// The deepest nesting of filters. Each level encodes the result of the inner one again, so a few are enough.
const MAX_DEPTH: usize = 3;

impl Template {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let parts = match text.contains('{') {
            true => Parser { text: &text, at: 0 }.parts(0).unwrap_or_default(),
            false => Vec::new(),
        };
        match parts[..] {
            [] | [Part::Text(_)] if !is_shortened(&parts, &text) => Self { text, parts: Vec::new() },
            _ => Self { text, parts },
        }
    }

    /// Returns the original text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the text is sent unchanged.
    pub(crate) fn is_plain(&self) -> bool {
        self.parts.is_empty()
    }

    /// Calls `each` with every variable that the text names.
    pub(crate) fn names<'t>(&'t self, each: &mut dyn FnMut(&'t str)) {
        visit(&self.text, &self.parts, each);
    }

    /// Returns the original text.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Calls `each` with each piece of the text in order.
    ///
    /// A variable without a value is left out: the caller has checked for that.
    pub(crate) fn pieces(&self, values: &Values<'_>, each: &mut dyn FnMut(Piece<'_>) -> fmt::Result) -> fmt::Result {
        match self.is_plain() {
            true => each(Piece::Text(&self.text)),
            false => pieces(&self.text, &self.parts, values, each),
        }
    }

    /// Returns the text with the values filled in.
    pub(crate) fn render(&self, values: &Values<'_>) -> Secret {
        encode::exact(|out| self.pieces(values, &mut |piece| out.write_str(piece.text())))
    }

    /// Calls `each` with the result of each filter over a secret, because a server may echo that form.
    pub(crate) fn encoded_secrets(&self, values: &Values<'_>, each: &mut dyn FnMut(Secret)) {
        for part in &self.parts {
            if let Part::Filter(filter, parts) = part {
                let mut is_secret = false;
                visit(&self.text, parts, &mut |name| is_secret |= values.is_secret(name));
                if is_secret {
                    each(filter.apply(&self.text, parts, values));
                }
            }
        }
    }
}

/// Calls `each` with every variable that the parts name.
fn visit<'t>(text: &'t str, parts: &[Part], each: &mut dyn FnMut(&'t str)) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Name(name) => each(&text[name.clone()]),
            Part::Filter(_, parts) => visit(text, parts, each),
        }
    }
}

/// Returns whether an escape makes the text shorter.
fn is_shortened(parts: &[Part], text: &str) -> bool {
    matches!(parts, [Part::Text(range)] if range.len() != text.len())
}

/// A piece of a rendered template.
pub(crate) enum Piece<'p> {
    Text(&'p str),
    /// The value of a variable, or the result of a filter.
    Value(&'p str),
}

impl<'p> Piece<'p> {
    pub(crate) fn text(&self) -> &'p str {
        match self {
            Self::Text(text) | Self::Value(text) => text,
        }
    }
}

fn pieces(
    text: &str,
    parts: &[Part],
    values: &Values<'_>,
    each: &mut dyn FnMut(Piece<'_>) -> fmt::Result,
) -> fmt::Result {
    for part in parts {
        match part {
            Part::Text(range) => each(Piece::Text(&text[range.clone()]))?,
            Part::Name(name) => each(Piece::Value(values.get(&text[name.clone()]).unwrap_or_default()))?,
            Part::Filter(filter, parts) => each(Piece::Value(filter.apply(text, parts, values).expose()))?,
        }
    }
    Ok(())
}

impl Filter {
    fn apply(self, text: &str, parts: &[Part], values: &Values<'_>) -> Secret {
        let inner = encode::exact(|out| pieces(text, parts, values, &mut |piece| out.write_str(piece.text())));
        encode::exact(|out| match self {
            Self::Base64 => encode::base64(out, inner.expose().as_bytes()),
            Self::Json => encode::json_text(out, inner.expose()),
            Self::Url => encode::url(out, inner.expose()),
            Self::Sha256 => sha256(inner.expose().as_bytes()).iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        })
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    /// Reads the parts up to the end or, in a filter, up to its closing brace. None if the brace is missing.
    fn parts(&mut self, depth: usize) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        let mut literal = self.at;
        // The open braces of a JSON text inside a filter.
        let mut open = 0_usize;
        let end = loop {
            let rest = &self.text[self.at..];
            match rest.as_bytes().first() {
                None if depth > 0 => return None,
                None => break self.at,
                Some(b'}') if depth > 0 && open == 0 => break self.at,
                Some(b'}') => open = open.saturating_sub(1),
                Some(b'{') => {
                    let start = self.at;
                    if let Some(part) = self.reference(depth) {
                        push_text(&mut parts, literal..start);
                        parts.push(part);
                        literal = self.at;
                        continue;
                    }
                    let name = rest.strip_prefix('{').and_then(name);
                    if let Some(name) = name.filter(|name| rest[name.len() + 3..].starts_with('}')) {
                        // `{{name}}`, without the outer braces.
                        push_text(&mut parts, literal..start);
                        push_text(&mut parts, start + 1..start + name.len() + 3);
                        self.at = start + name.len() + 4;
                        literal = self.at;
                        continue;
                    }
                    open += 1;
                }
                Some(_) => {}
            }
            // Continues at the next brace; the text in between is one literal.
            self.at += 1;
            self.at += self.text.as_bytes()[self.at..].iter().take_while(|byte| !matches!(byte, b'{' | b'}')).count();
        };
        push_text(&mut parts, literal..end);
        Some(parts)
    }

    /// Reads `{name}` or a filter, if one starts here, and moves to its end.
    fn reference(&mut self, depth: usize) -> Option<Part> {
        let start = self.at;
        let rest = &self.text[start..];
        if let Some(name) = name(rest) {
            self.at += name.len() + 2;
            return Some(Part::Name(start + 1..start + 1 + name.len()));
        }
        let (word, filter) = FILTERS.iter().find(|(word, _)| rest[1..].starts_with(word))?;
        self.at += 1 + word.len();
        // A filter that is unclosed or nested too deeply is reported as a variable of its name. No variable has such a
        // name, so the request fails.
        let named = start + 1..self.at;
        if depth >= MAX_DEPTH {
            return Some(Part::Name(named));
        }
        Some(match self.parts(depth + 1) {
            Some(parts) => {
                self.at += 1;
                Part::Filter(*filter, parts)
            }
            None => Part::Name(named),
        })
    }
}

fn push_text(parts: &mut Vec<Part>, range: Range<usize>) {
    if !range.is_empty() {
        parts.push(Part::Text(range));
    }
}

/// Returns the name in `{name}` or the time in `{now+1h:FORMAT}`, if the text starts with one.
fn name(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('{')?.split_once('}')?;
    let is_time = name.strip_prefix("now").is_some_and(|rest| rest.starts_with(['+', '-', ':']));
    (is_time || is_name(name)).then_some(name)
}

/// Returns whether a variable may have this name: letters, digits, `_`, `-` and `.`, starting with a letter or `_`.
pub(crate) fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && name.bytes().all(is_inner)
}

/// The values of the variables that a request's templates name.
#[derive(Default)]
pub(crate) struct Values<'v>(Vec<Value<'v>>);

struct Value<'v> {
    name: &'v str,
    text: Exposed<'v>,
    is_secret: bool,
}

impl<'v> Values<'v> {
    pub(crate) fn add_plain(&mut self, name: &'v str, text: &'v str) {
        self.0.push(Value { name, text: Exposed::borrowed(text), is_secret: false });
    }

    pub(crate) fn add_read(&mut self, name: &'v str, text: Exposed<'v>) {
        self.0.push(Value { name, text, is_secret: false });
    }

    pub(crate) fn add_secret(&mut self, name: &'v str, text: Exposed<'v>) {
        self.0.push(Value { name, text, is_secret: true });
    }

    fn find(&self, name: &str) -> Option<&Value<'v>> {
        self.0.iter().find(|value| value.name == name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|value| &*value.text)
    }

    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.find(name).is_some_and(|value| value.is_secret)
    }

    /// Returns the values that are not computed for each request, in the order in which they were added.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|value| !is_computed(value.name)).map(|value| &*value.text)
    }

    /// Returns the secret values.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|value| value.is_secret).map(|value| &*value.text)
    }
}

/// Shows the original text, which holds no value.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values<'static> {
        let mut values = Values::default();
        for (name, value) in [("a", "1"), ("b.c", "é\"/"), ("x_y-z", "p:q"), ("empty", "")] {
            values.add_plain(name, value);
        }
        values
    }

    #[test]
    fn a_template_is_rendered() {
        for (text, rendered) in [
            ("", ""),
            ("plain", "plain"),
            ("{a}", "1"),
            ("x{a}y{a}z", "x1y1z"),
            ("{b.c}{x_y-z}", "é\"/p:q"),
            ("[{empty}]", "[]"),
            // Other braces are literal.
            ("{}", "{}"),
            ("{ a }", "{ a }"),
            ("{1}", "{1}"),
            ("{a", "{a"),
            ("a}", "a}"),
            ("{é}", "{é}"),
            ("{a b}", "{a b}"),
            ("${a}", "$1"),
            (r#"{"a": {"b": "{a}"}}"#, r#"{"a": {"b": "1"}}"#),
            (r#"{"a":{a}}"#, r#"{"a":1}"#),
            ("mutation { signIn(email: \"{a}\") { token } }", "mutation { signIn(email: \"1\") { token } }"),
            // An escape.
            ("{{a}}", "{a}"),
            ("x{{a}}{a}", "x{a}1"),
            ("{{a}", "{1"),
            ("{a}}", "1}"),
            ("{{ a }}", "{{ a }}"),
            ("{{}}", "{{}}"),
            ("{{{a}}}", "{{a}}"),
            // Filters.
            ("Basic {base64:{a}:{x_y-z}}", "Basic MTpwOnE="),
            ("{base64:}", ""),
            ("{json:{b.c}\n}", "é\\\"/\\u000a"),
            ("{url:{b.c} ~}", "%C3%A9%22%2F%20~"),
            ("{json:{\"k\":{\"l\":{a}}}}!", "{\\\"k\\\":{\\\"l\\\":1}}!"),
            ("{url:{base64:{b.c}}}", "w6kiLw%3D%3D"),
            ("{base64:{{a}}}", "e2F9"),
            ("{other:{a}}", "{other:1}"),
            ("{sha256:ab{a}}", "ca5ba87c93d42f8a45c1e0f569bba8bac92c80f4ce6c864bd44d136572411b7e"),
            ("{now:YYYY}", ""),
            ("{{now:YYYY}}", "{now:YYYY}"),
        ] {
            assert_eq!(Template::new(text).render(&values()).expose(), rendered, "{text}");
        }
    }

    #[test]
    fn only_a_template_that_names_something_is_not_plain() {
        for (text, is_plain) in [("", true), ("{", true), ("{ a }", true), ("{a}", false), ("{{a}}", false)] {
            assert_eq!(Template::new(text).is_plain(), is_plain, "{text}");
        }
    }

    #[test]
    fn filters_nest_three_deep() {
        let names = |text: &str| {
            let template = Template::new(text);
            let mut found = Vec::new();
            template.names(&mut |name| found.push(String::from(name)));
            found
        };
        assert_eq!(names("{url:{url:{url:{a}}}}"), ["a"]);
        assert_eq!(names("{url:{url:{url:{url:{a}}}}}"), ["url:", "a"]);
        // An unclosed filter is not text.
        assert_eq!(names("{a}{base64:{a}"), ["a", "base64:"]);
        assert_eq!(names(&"{url:".repeat(10_000)), ["url:"]);
    }
}
