//! The record of an answer: its form, its members, and each tolerance that it needs.

use super::body::{self, Kind, Member};
use keyfob::{Request, Response};

/// The tolerances by class, as listed in `src/docs/tolerances.md`.
const TOLERANCES: &[(&str, &str)] = &[
    ("trailing-comma", "a trailing comma in an object or array"),
    ("string-number-expiry", "`expires_in` is a string"),
    ("float-expiry", "`expires_in` has a fraction or an exponent: it is rounded down"),
    ("null-expiry", "`expires_in` is null: the lifetime is unknown"),
    ("empty-string-expiry", "`expires_in` is an empty string: the lifetime is unknown"),
    ("bad-type-expiry", "`expires_in` is no number: the lifetime is unknown"),
    ("huge-expiry", "`expires_in` is more than a year: it is cut to a year"),
    ("epoch-expiry", "`expires_in` is more than ten years, so probably a point in time: the lifetime is unknown"),
    ("bom", "a byte-order mark"),
    ("crlf-whitespace", "white space around the object"),
    ("other-2xx", "a status of success other than 200"),
    ("content-type", "JSON without the content type application/json"),
    ("json-as-text", "JSON with a content type of text"),
    ("json-as-html-type", "JSON with the content type text/html"),
    ("json-form-mismatch", "JSON with the content type of a form"),
    ("form-success", "a form instead of JSON"),
    ("token-type-case", "`token_type` is \"bearer\" in another case, or with spaces around it"),
    ("token-type-missing", "no `token_type`: Bearer"),
    ("token-type-bad", "`token_type` is null, empty or no string: Bearer"),
    ("token-type-odd", "`token_type` is another word for Bearer"),
    ("token-visible-nonb64", "the token has characters beyond those of RFC 6750"),
    ("refresh-odd", "`refresh_token` is null, empty or no string: absent"),
    ("scope-null-empty", "`scope` is null or empty: absent"),
    ("scope-array", "`scope` is an array: joined with spaces"),
    ("scope-bad-type", "`scope` is no string: absent"),
    ("invalid-utf8", "bytes that are not UTF-8"),
    ("null-error-fields", "an `error` that is null or empty"),
    ("error-200", "an OAuth error under a status of success"),
    ("error-other-status", "an OAuth error under a status other than 400 and 401"),
    ("error-nonstring", "an `error` that is no string"),
    ("token-escapes", "escapes in the token"),
    ("escaped-key", "escapes in names"),
];

/// The tolerances that were needed.
#[derive(Default)]
pub(super) struct Oddities(Vec<&'static str>);

impl Oddities {
    pub(super) fn note(&mut self, class: &'static str, is_so: bool) {
        if is_so && !self.0.contains(&class) {
            self.0.push(class);
        }
    }

    /// Returns each class with its explanation, in the order of the table.
    pub(super) fn explained(&self) -> Vec<String> {
        let needed = TOLERANCES.iter().filter(|(class, _)| self.0.contains(class));
        needed.map(|(class, text)| format!("{class}: {text}")).collect()
    }
}

/// The record of an answer. It has no values of members or headers except those that decide how it is read.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) headers: Vec<String>,
    pub(super) members: Vec<String>,
    pub(super) oddities: Oddities,
    /// The places of possible lifetimes and moments of expiry, the former with whether it is a string.
    pub(super) lifetimes: Vec<String>,
    pub(super) moments: Vec<String>,
    /// The places of possible tokens.
    pub(super) tokens: Vec<String>,
    /// The members that may report a refusal in spite of a success status.
    pub(super) refusals: Vec<String>,
    /// The device's wall clock minus the server's, in seconds.
    pub(super) clock_ahead: Option<i64>,
}

const YEAR: u64 = 365 * 24 * 60 * 60;

impl Answer {
    pub(super) fn see(request: &Request, response: &mut Response, wall_time: Option<std::time::Duration>) -> Self {
        let status = response.status();
        let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).ok();
        let clock_ahead = (|| seconds(wall_time?)?.checked_sub(seconds(response.server_time()?)?))();
        let is_shown = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic()) && !request.is_echoed_in(text);
        let names = |is_wanted: fn(&str) -> bool| {
            let names = response.headers().map(|(name, _)| name);
            names.filter(|name| is_wanted(name) && is_shown(name)).map(str::to_owned).collect::<Vec<_>>()
        };
        let headers = names(|_| true);
        let token_headers = names(|name| {
            let name = name.to_ascii_lowercase();
            name == "authorization" || name.ends_with("-token")
        });
        let media_type =
            response.header("content-type").map(|value| value.split(';').next().unwrap_or_default().trim());
        let media_type = media_type.map(str::to_ascii_lowercase);
        let shown_type = match media_type.as_deref() {
            None | Some("") => "no content type",
            Some(word) if word.len() <= 64 && is_shown(word) => word,
            Some(_) => "an odd content type",
        }
        .to_owned();

        let mut oddities = Oddities::default();
        let is_success = (200..300).contains(&status);
        oddities.note("other-2xx", is_success && status != 200);
        let body = &*response.body_mut();
        let is_form = media_type.as_deref() == Some("application/x-www-form-urlencoded");
        let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
        let (form, members) = match text.first() {
            Some(b'{' | b'[') => {
                match media_type.as_deref() {
                    Some("application/json") => {}
                    Some("text/html") => oddities.note("json-as-html-type", true),
                    Some(media_type) if media_type.starts_with("text/") => oddities.note("json-as-text", true),
                    Some(_) if is_form => oddities.note("json-form-mismatch", true),
                    _ => oddities.note("content-type", true),
                }
                ("JSON", body::json(body, &mut oddities))
            }
            None => ("empty", Vec::new()),
            Some(b'<') => ("HTML or XML", Vec::new()),
            Some(_) if is_form => {
                oddities.note("form-success", is_success);
                ("a form", body::form(body))
            }
            Some(_) => ("text", Vec::new()),
        };
        let mut answer = Self {
            status,
            body: format!("{form}, {} bytes, {shown_type}", body.len()),
            headers,
            members: Vec::new(),
            oddities,
            lifetimes: Vec::new(),
            moments: Vec::new(),
            tokens: Vec::new(),
            refusals: Vec::new(),
            clock_ahead,
        };
        let is_json = form == "JSON";
        let has = |name: &str| members.iter().find(|member| member.is_named(name));
        let token = has("access_token");
        if is_success && is_json && token.is_some() {
            answer.oddities.note("token-type-missing", has("token_type").is_none());
        }
        members.iter().filter(|_| is_json).for_each(|member| answer.judge(member));
        let is_error = has("error").is_some_and(|error| !error.is_empty());
        answer.oddities.note("error-200", is_error && is_success);
        answer.oddities.note("error-other-status", is_error && !is_success && !matches!(status, 400 | 401));
        for member in &members {
            answer.find_places(member);
            let told = member.describe();
            // Some services list sessions by their tokens.
            let is_value = members.iter().any(|other| other.is_word() && other.is_in(&told));
            answer.members.push(if is_value || request.is_echoed_in(&told) {
                "‹redacted›".to_owned()
            } else {
                told
            });
        }
        for places in [&mut answer.lifetimes, &mut answer.moments, &mut answer.tokens, &mut answer.refusals] {
            places.retain(|place| !request.is_echoed_in(place));
        }
        answer.tokens.extend(token_headers.into_iter().map(|name| format!("header:{name}")));
        answer
    }

    /// Notes the tolerances that a member needs.
    fn judge(&mut self, member: &Member<'_>) {
        let (kind, value) = (member.kind, member.value);
        let mut note = |class, is_so| self.oddities.note(class, is_so);
        let is_string = kind == Kind::String;
        if member.is_named("expires_in") {
            note("string-number-expiry", is_string && member.is_number());
            note("float-expiry", member.is_number() && value.iter().any(|byte| b".eE".contains(byte)));
            note("null-expiry", value == b"null");
            note("empty-string-expiry", is_string && value.is_empty());
            note("bad-type-expiry", !member.is_number() && !member.is_empty());
            note("huge-expiry", member.whole().is_some_and(|life| life > YEAR && life <= 10 * YEAR));
            note("epoch-expiry", member.whole().is_some_and(|life| life > 10 * YEAR));
        } else if member.is_named("token_type") {
            let word = value.trim_ascii();
            note("token-type-bad", !is_string || value.is_empty());
            let is_bearer = word.eq_ignore_ascii_case(b"bearer");
            note("token-type-case", is_bearer && !matches!(value, b"Bearer" | b"bearer"));
            let others: [&[u8]; 2] = [b"BearerToken", b"Application Access Token"];
            note("token-type-odd", others.iter().any(|other| word.eq_ignore_ascii_case(other)));
        } else if member.is_named("access_token") && is_string {
            let is_b64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=\\".contains(byte);
            note("token-visible-nonb64", !value.iter().all(is_b64));
            note("token-escapes", value.contains(&b'\\'));
        } else if member.is_named("refresh_token") {
            note("refresh-odd", !is_string || value.is_empty());
        } else if member.is_named("scope") {
            note("scope-null-empty", member.is_empty());
            note("scope-array", kind == Kind::Array);
            note("scope-bad-type", !is_string && kind != Kind::Array && !member.is_empty());
        } else if member.is_named("error") {
            note("null-error-fields", member.is_empty());
            note("error-nonstring", !is_string && !member.is_empty());
        }
    }

    /// Notes the member's path if it may be a token, a lifetime or a refusal.
    fn find_places(&mut self, member: &Member<'_>) {
        const LIFETIMES: [&str; 9] =
            ["expiresin", "expirein", "expires", "ttl", "lifetime", "validity", "maxage", "timetolive", "expiry"];
        let name = member.plain_name();
        let path = || member.path.clone();
        if member.path.contains('‹') {
            return;
        }
        let is_end = ["expir", "validuntil", "validto", "notafter", "goodthru"].iter().any(|word| name.contains(word));
        // A smaller number is a moment before 2001, when no server of today issued a token.
        if member.whole().is_some_and(|number| number < 1_000_000_000) {
            if LIFETIMES.contains(&&*name) {
                self.lifetimes.push(path());
            }
        } else if is_end && !member.is_empty() && matches!(member.kind, Kind::String | Kind::Number) {
            // A lifetime may have a fraction.
            let places = if name == "expiresin" && !member.value.contains(&b':') && member.whole().is_none() {
                &mut self.lifetimes
            } else {
                &mut self.moments
            };
            places.push(path());
        }
        let is_token = name.ends_with("token") || ["jwt", "session", "sessionid", "bearer"].contains(&&*name);
        if is_token && !name.contains("refresh") && member.is_word() {
            self.tokens.push(path());
        }
        if ["success", "ok", "succeeded"].contains(&&*name) && member.value == b"false" {
            self.refusals.push(path());
        }
    }
}
