//! The parameters of a request, and how each format writes them.

use crate::assertion::Signed;
use crate::encode;
use crate::error::Error;
use crate::field::Json;
use crate::fnv::Fnv;
use crate::secret::Exposed;
use crate::template::Values;
use alloc::format;
use core::fmt;

/// A parameter of a request.
pub(super) struct Parameter<'a> {
    pub(super) name: &'a str,
    pub(super) value: Sent<'a>,
}

pub(super) enum Sent<'a> {
    Text(Exposed<'a>),
    Json(&'a Json),
    Signed(Signed),
}

impl<'a> Parameter<'a> {
    pub(super) fn text(name: &'a str, text: Exposed<'a>) -> Self {
        Self { name, value: Sent::Text(text) }
    }

    pub(super) fn signed(&self) -> Option<&Signed> {
        match &self.value {
            Sent::Signed(signed) => Some(signed),
            Sent::Text(_) | Sent::Json(_) => None,
        }
    }

    /// Refuses a value that only JSON can express.
    pub(super) fn check_text(&self) -> Result<(), Error> {
        let is_text = |json: &Json| match json {
            Json::Word(word) => word != "null",
            Json::Text(_) => true,
            Json::List(_) | Json::Object(_) => false,
        };
        match self.value {
            Sent::Text(_) | Sent::Signed(_) => Ok(()),
            Sent::Json(Json::List(list)) if list.iter().all(is_text) => Ok(()),
            Sent::Json(json) if is_text(json) => Ok(()),
            Sent::Json(_) => Err(Error::config(format!(
                "parameter `{}`: an object, a null or an array in an array can only be sent in JSON",
                self.name
            ))
            .with_hint("send the parameters as JSON: `params` (`Endpoint::parameters`)")),
        }
    }

    /// Calls `each` with each text of the parameter, for a form.
    pub(super) fn each_text(&self, values: &Values<'_>, each: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        let mut one = |json: &Json| match json {
            Json::Word(word) => each(word),
            Json::Text(template) => each(template.render(values).expose()),
            Json::List(_) | Json::Object(_) => Ok(()),
        };
        match &self.value {
            Sent::Text(text) => each(text),
            Sent::Signed(signed) => each(signed.text.expose()),
            Sent::Json(Json::List(list)) => list.iter().try_for_each(one),
            Sent::Json(json) => one(json),
        }
    }

    /// Adds the parameter to a fingerprint; of an assertion only the part that stays the same.
    pub(super) fn mark(&self, values: &Values<'_>, hash: &mut Fnv) {
        hash.add(self.name);
        match &self.value {
            Sent::Text(text) => _ = hash.add(text),
            Sent::Signed(signed) => hash.add_bytes(&signed.fingerprint.to_le_bytes()),
            Sent::Json(_) => _ = hash.add(encode::exact(|out| self.write_json(out, values)).expose()),
        }
    }

    /// Returns whether the value is an array.
    fn is_list(&self) -> bool {
        matches!(self.value, Sent::Json(Json::List(_)))
    }

    /// Writes the value, or the elements of an array.
    fn write_json(&self, out: &mut dyn fmt::Write, values: &Values<'_>) -> fmt::Result {
        match &self.value {
            Sent::Text(text) => encode::json_string(out, text),
            Sent::Signed(signed) => encode::json_string(out, signed.text.expose()),
            Sent::Json(Json::List(list)) => list.iter().enumerate().try_for_each(|(index, value)| {
                out.write_str(if index > 0 { "," } else { "" })?;
                value.write(out, values)
            }),
            Sent::Json(json) => json.write(out, values),
        }
    }
}

/// Writes the parameters as a JSON object.
pub(super) fn json(out: &mut dyn fmt::Write, parameters: &[Parameter<'_>], values: &Values<'_>) -> fmt::Result {
    out.write_char('{')?;
    for (index, parameter) in parameters.iter().enumerate() {
        // Already written with the first parameter of this name.
        if parameters[..index].iter().any(|before| before.name == parameter.name) {
            continue;
        }
        out.write_str(if index > 0 { "," } else { "" })?;
        encode::json_string(out, parameter.name)?;
        out.write_char(':')?;
        let mut same = parameters[index + 1..].iter().filter(|other| other.name == parameter.name).peekable();
        if same.peek().is_none() && !parameter.is_list() {
            parameter.write_json(out, values)?;
            continue;
        }
        out.write_char('[')?;
        let mut joint = "";
        for parameter in core::iter::once(parameter).chain(same) {
            if matches!(parameter.value, Sent::Json(Json::List(list)) if list.is_empty()) {
                continue;
            }
            out.write_str(core::mem::replace(&mut joint, ","))?;
            parameter.write_json(out, values)?;
        }
        out.write_char(']')?;
    }
    out.write_char('}')
}

/// Returns the parameters with which an assertion authenticates the client (RFC 7523 section 2.2).
pub(super) fn client_assertion<'a>(assertion: Option<Signed>) -> Option<[Parameter<'a>; 2]> {
    let kind = Exposed::borrowed("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let value = Sent::Signed(assertion?);
    Some([Parameter::text("client_assertion_type", kind), Parameter { name: "client_assertion", value }])
}
