//! Names with their values, as a user adds them to a request: parameters, headers, variables.

use crate::encode;
use crate::error::Error;
use crate::secret::{Exposed, SecretSource};
use crate::template::{Template, Values};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A name with its value.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: FieldValue,
}

pub(crate) enum FieldValue {
    /// A text that is sent as it is.
    Plain(String),
    /// A text that names variables.
    Template(Template),
    Json(Json),
    /// A text that is read for each request, and may be in a URL's host and path.
    Read(SecretSource),
    Secret(SecretSource),
    /// A secret of one line, as RFC 6749 appendix A has it.
    Line(SecretSource),
}

/// A JSON value whose strings are templates.
pub(crate) enum Json {
    /// A number, `true`, `false` or `null`, as it is written.
    Word(String),
    Text(Template),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Field {
    pub(crate) fn plain(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: FieldValue::Plain(value.into()) }
    }

    pub(crate) fn template(name: impl Into<String>, value: impl Into<String>) -> Self {
        let template = Template::new(value);
        let value = match template.is_plain() {
            true => FieldValue::Plain(template.into_text()),
            false => FieldValue::Template(template),
        };
        Self { name: name.into(), value }
    }

    pub(crate) fn secret(name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        Self { name: name.into(), value: FieldValue::Secret(value.into()) }
    }

    pub(crate) fn line(name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        Self { name: name.into(), value: FieldValue::Line(value.into()) }
    }

    /// Reads the value. JSON is written as such.
    pub(crate) fn expose(&self, values: &Values<'_>) -> Result<Exposed<'_>, Error> {
        match &self.value {
            FieldValue::Plain(text) => Ok(Exposed::borrowed(text)),
            FieldValue::Template(template) => Ok(Exposed::read(template.render(values))),
            FieldValue::Json(json) => Ok(Exposed::read(encode::exact(|out| json.write(out, values)))),
            FieldValue::Read(source) | FieldValue::Secret(source) => source.expose(),
            FieldValue::Line(source) => {
                let what = match &*self.name {
                    "refresh_token" => "refresh token",
                    name => name,
                };
                source.expose_line(what)
            }
        }
    }

    /// Returns where the value is read from, if it is.
    pub(crate) fn secret_source(&self) -> Option<&SecretSource> {
        match &self.value {
            FieldValue::Plain(_) | FieldValue::Template(_) | FieldValue::Json(_) => None,
            FieldValue::Read(source) | FieldValue::Secret(source) | FieldValue::Line(source) => Some(source),
        }
    }

    /// Calls `each` with every template of the value.
    pub(crate) fn templates<'f>(&'f self, each: &mut dyn FnMut(&'f Template)) {
        match &self.value {
            FieldValue::Template(template) => each(template),
            FieldValue::Json(json) => json.templates(each),
            _ => {}
        }
    }

    /// Returns the value as the user gave it, unless it is secret.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn given(&self) -> Option<String> {
        use alloc::format;
        match &self.value {
            FieldValue::Plain(text) => Some(text.clone()),
            FieldValue::Template(template) => Some(template.text().into()),
            FieldValue::Json(json) => Some(format!("{json:?}")),
            FieldValue::Read(_) | FieldValue::Secret(_) | FieldValue::Line(_) => None,
        }
    }
}

impl Json {
    /// Writes the value with the variables' values in its strings.
    pub(crate) fn write(&self, out: &mut dyn fmt::Write, values: &Values<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => out.write_str(word),
            Self::Text(template) => {
                out.write_char('"')?;
                template.pieces(values, &mut |piece| encode::json_text(out, piece.text()))?;
                out.write_char('"')
            }
            Self::List(list) => {
                out.write_char('[')?;
                for (index, value) in list.iter().enumerate() {
                    out.write_str(if index > 0 { "," } else { "" })?;
                    value.write(out, values)?;
                }
                out.write_char(']')
            }
            Self::Object(members) => {
                out.write_char('{')?;
                for (index, (name, value)) in members.iter().enumerate() {
                    out.write_str(if index > 0 { "," } else { "" })?;
                    encode::json_string(out, name)?;
                    out.write_char(':')?;
                    value.write(out, values)?;
                }
                out.write_char('}')
            }
        }
    }

    fn templates<'j>(&'j self, each: &mut dyn FnMut(&'j Template)) {
        match self {
            Self::Word(_) => {}
            Self::Text(template) => each(template),
            Self::List(list) => list.iter().for_each(|value| value.templates(each)),
            Self::Object(members) => members.iter().for_each(|(_, value)| value.templates(each)),
        }
    }
}

/// Shows what the user gave: it holds no value of a variable.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Text(template) => template.fmt(f),
            Self::List(list) => list.fmt(f),
            Self::Object(members) => f.debug_map().entries(members.iter().map(|(name, value)| (name, value))).finish(),
        }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.value {
            FieldValue::Plain(text) => text.fmt(f),
            FieldValue::Template(template) => template.fmt(f),
            FieldValue::Json(json) => json.fmt(f),
            FieldValue::Read(source) | FieldValue::Secret(source) | FieldValue::Line(source) => source.fmt(f),
        }
    }
}
