//! The content of a store's file: the state of a renewal as a form, and a seal over it.

use super::key::{Entry, Key};
use crate::encode;
use crate::error::Error;
use crate::file::Slot;
use crate::file::draft::Draft;
use crate::form;
use crate::lifetime::{ExpiresIn, Lifetime};
use crate::renewal::{Held, Pause, Refused};
use crate::response::TokenResponse;
use crate::secret::Secret;
use crate::token::AccessToken;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::time::Duration;
use std::io;
use zeroize::Zeroizing;

/// The state as another process left it.
pub(crate) struct Record {
    pub(crate) written_at: Duration,
    pub(crate) held: Option<Held>,
    /// The token that the newest refresh token came with, or an empty token that only carries it.
    pub(crate) refresh: Option<AccessToken>,
    /// Whether the original grant was good for one use and was used.
    pub(crate) is_used: bool,
    pub(crate) failures: u32,
    pub(crate) refusals: u32,
    pub(crate) pause: Option<Pause>,
    /// When the last token arrived that could not be stored. Processes then do not wait for each other.
    pub(crate) unshared_at: Option<Duration>,
}

/// The content to write.
#[derive(Default)]
pub(crate) struct Contents<'a> {
    pub(crate) held: Option<&'a Held>,
    pub(crate) refresh: Option<&'a Secret>,
    pub(crate) is_used: bool,
    pub(crate) failures: u32,
    pub(crate) refusals: u32,
    pub(crate) pause: Option<&'a Pause>,
    pub(crate) unshared_at: Option<Duration>,
}

/// The largest file: a token is at most 1 MiB long, and each byte is written as three at most.
const MAX_FILE: usize = 8 * 1024 * 1024;

/// A refresh token is removed after this time without use.
const REFRESH_TOKEN_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long processes assume that a server's tokens cannot be stored after one could not be stored.
pub(crate) const UNSHARED_KEPT: Duration = Duration::from_secs(60 * 60);

/// The names of the fields, in their order in the file.
const NAMES: [&str; 26] = [
    "written",
    "until",
    "token",
    "type",
    "scope",
    "members",
    "api",
    "header",
    "deadline",
    "fetched",
    "renew",
    "refresh",
    "used",
    "failures",
    "refusals",
    "unshared",
    "pause",
    "calm",
    "refused",
    "kind",
    "message",
    "hint",
    "status",
    "code",
    "description",
    "retryable",
];

impl Entry {
    /// Returns a draft of this file with room for a new refresh token of any size, so that a full disk is noticed before the
    /// old refresh token is sent.
    pub(crate) fn reserve(&self) -> io::Result<Draft> {
        const ROOM: usize = 64 * 1024;
        let mut draft = self.slot.own_draft()?;
        draft.reserve(ROOM)?;
        Ok(draft)
    }

    /// Reads the file. `None` if it does not exist or its seal is wrong. The seal covers the file's name, which belongs
    /// to one boot and one request.
    pub(crate) fn load(&self, now: Duration) -> Option<Record> {
        let mut bytes = sealed(&self.slot, &self.key)?;
        let fields = Fields::read(&mut bytes)?;
        // The clock of another time namespace may be ahead of this one: ignore a record from the future.
        let written_at = fields.time("written").filter(|written_at| *written_at <= now)?;
        Some(Record {
            written_at,
            held: fields.held(),
            refresh: fields.text("refresh").and_then(|_| fields.token()),
            is_used: fields.text("used").is_some(),
            failures: fields.number("failures").unwrap_or(0),
            refusals: fields.number("refusals").unwrap_or(0),
            pause: fields.pause(),
            unshared_at: fields.time("unshared"),
        })
    }

    /// Composes the file's text. `None` if there is nothing worth storing.
    pub(crate) fn compose(contents: &Contents<'_>, now: Duration) -> Option<Secret> {
        let Contents { held, refresh, is_used, failures, refusals, pause, unshared_at } = *contents;
        let held = held.filter(|held| !held.token.is_ended() && !held.token.is_expired(now));
        // The user's own secret must not be written to another file.
        let held = held.filter(|held| !held.token.has_secret());
        // A token without a known end could be handed out after it.
        let held = held.and_then(|held| match held.token.lifetime() {
            Lifetime::Until(deadline) => Some((held, deadline)),
            Lifetime::Unknown | Lifetime::Once => None,
        });
        let pause = pause.filter(|pause| pause.until > now || pause.calm_until > now);
        let until = [
            held.map(|(_, deadline)| deadline),
            pause.map(|pause| pause.until.max(pause.calm_until)),
            refresh.map(|_| now.saturating_add(REFRESH_TOKEN_KEPT)),
            unshared_at.map(|at| at.saturating_add(UNSHARED_KEPT)).filter(|until| *until > now),
        ];
        let until = until.into_iter().flatten().max()?;
        Some(encode::exact(|out| {
            let mut out = Writer(out);
            out.time("written", now)?;
            out.time("until", until)?;
            if let Some((held, deadline)) = held {
                out.text("token", held.token.expose())?;
                out.texts([("type", held.token.token_type()), ("scope", held.token.scope())])?;
                out.members(&held.token)?;
                if let Some((name, value)) = held.token.api_header() {
                    out.text("api", name)?;
                    out.text("header", value)?;
                }
                out.time("deadline", deadline)?;
                out.time("fetched", held.fetched_at)?;
                out.time("renew", held.renew_at)?;
            }
            if let Some(refresh) = refresh {
                out.text("refresh", refresh.expose())?;
            }
            if is_used {
                out.text("used", "")?;
            }
            out.number("failures", failures)?;
            out.number("refusals", refusals)?;
            if let Some(at) = unshared_at {
                out.time("unshared", at)?;
            }
            if let Some(pause) = pause {
                out.time("pause", pause.until)?;
                out.time("calm", pause.calm_until)?;
                let refused = pause.refused.map(|refused| match refused {
                    Refused::Request(_) => "request",
                    Refused::Once(_) => "once",
                });
                out.texts([("refused", refused)])?;
                pause.error.keep(&mut |name, text| out.text(name, text))?;
            }
            Ok(())
        }))
    }

    /// Writes the composed text, into `draft` if there is one, or removes the file. Returns whether it was written.
    pub(crate) fn write(&self, content: Option<Secret>, draft: Option<Draft>) -> bool {
        let Some(content) = content else {
            self.slot.remove();
            return false;
        };
        let content = content.expose();
        let seal = self.key.file_seal(&self.slot, content);
        let contents = [content.as_bytes(), b"\n", seal.as_bytes()];
        // Without the file the next process asks the server itself.
        draft.map_or_else(|| self.slot.own_draft(), Ok).is_ok_and(|draft| draft.commit(&contents, false).is_ok())
    }
}

impl Key {
    fn file_seal(&self, slot: &Slot, content: &str) -> String {
        let mut seal = self.seal("file");
        seal.add(slot.name());
        seal.add(content);
        seal.finish()
    }
}

/// Returns the form in the file, if its seal is right.
fn sealed(slot: &Slot, key: &Key) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = slot.read(MAX_FILE).ok()?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let content = core::str::from_utf8(&bytes[..end]).ok()?;
    if key.file_seal(slot, content).as_bytes() != &bytes[end + 1..] {
        return None;
    }
    bytes.truncate(end);
    Some(bytes)
}

/// Returns whether the file's content is still needed.
pub(super) fn is_alive(slot: &Slot, key: &Key, now: Duration) -> bool {
    sealed(slot, key).is_some_and(|mut bytes| {
        // A record without an end is kept indefinitely: a grant that may be used up is never sent again.
        Fields::read(&mut bytes).is_some_and(|fields| fields.time("until").is_none_or(|until| until > now))
    })
}

struct Writer<'o>(&'o mut dyn Write);

impl Writer<'_> {
    fn text(&mut self, name: &str, text: &str) -> fmt::Result {
        write!(self.0, "{name}=")?;
        encode::form(self.0, text, "%20")?;
        self.0.write_char('&')
    }

    fn texts<const N: usize>(&mut self, texts: [(&str, Option<&str>); N]) -> fmt::Result {
        let mut given = texts.iter().filter_map(|(name, text)| Some((name, (*text)?)));
        given.try_for_each(|(name, text)| self.text(name, text))
    }

    /// Writes the kept members, as a form within the form.
    fn members(&mut self, token: &AccessToken) -> fmt::Result {
        if token.members().next().is_none() {
            return Ok(());
        }
        let inner = encode::exact(|out| {
            token.members().enumerate().try_for_each(|(index, (name, value))| {
                out.write_str(if index == 0 { "" } else { "&" })?;
                encode::form(out, name, "%20")?;
                out.write_char('=')?;
                encode::form(out, value.expose(), "%20")
            })
        });
        self.text("members", inner.expose())
    }

    /// Writes nanoseconds of the boot clock. Leaves out a moment that never comes.
    fn time(&mut self, name: &str, time: Duration) -> fmt::Result {
        match u64::try_from(time.as_nanos()) {
            Ok(nanoseconds) => self.number(name, nanoseconds),
            Err(_) => Ok(()),
        }
    }

    fn number(&mut self, name: &str, number: impl Into<u64>) -> fmt::Result {
        write!(self.0, "{name}={}&", number.into())
    }
}

/// The fields of a form, decoded in place.
struct Fields<'b> {
    bytes: &'b [u8],
    places: [Option<core::ops::Range<usize>>; NAMES.len()],
}

impl<'b> Fields<'b> {
    fn read(bytes: &'b mut [u8]) -> Option<Self> {
        let mut places = [const { None }; NAMES.len()];
        let (mut start, mut next) = (0, 0);
        while start < bytes.len() {
            let pair = bytes[start..].split(|byte| *byte == b'&').next()?;
            let (length, equals) = (pair.len(), pair.iter().position(|byte| *byte == b'=')?);
            next += NAMES[next..].iter().position(|name| name.as_bytes() == &pair[..equals])?;
            places[next] = Some(form::decode(bytes, start + equals + 1..start + length).ok()?);
            (start, next) = (start + length + 1, next + 1);
        }
        Some(Self { bytes, places })
    }

    fn text(&self, name: &str) -> Option<&'b str> {
        let place = self.places[NAMES.iter().position(|known| *known == name)?].clone()?;
        core::str::from_utf8(&self.bytes[place]).ok()
    }

    fn number<N: core::str::FromStr>(&self, name: &str) -> Option<N> {
        self.text(name)?.parse().ok()
    }

    fn time(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_nanos)
    }

    /// Returns the token, or an empty one that only carries the refresh token.
    fn token(&self) -> Option<AccessToken> {
        let access_token = self.text("token").unwrap_or_default();
        let response = TokenResponse {
            access_token,
            token_type: self.text("type"),
            expires_in: ExpiresIn::Unknown,
            expires_at: None,
            lifetime_text: None,
            refresh_token: self.text("refresh"),
            scope: self.text("scope"),
        };
        let lifetime = self.time("deadline").map_or(Lifetime::Once, Lifetime::Until);
        let api = self.text("api").zip(self.text("header")).map(|(name, value)| (name.into(), value.into()));
        let is_sendable = access_token.bytes().all(|byte| matches!(byte, 0x21..=0x7E));
        is_sendable.then(|| AccessToken::stored(&response, lifetime, self.members().unwrap_or_default(), api))
    }

    fn members(&self) -> Option<Vec<(String, Secret)>> {
        let mut text = Zeroizing::new(self.text("members")?.as_bytes().to_vec());
        let mut members = Vec::new();
        for pair in text.split_mut(|byte| *byte == b'&') {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = pair.split_at_mut(at);
            let text = |bytes: &mut [u8]| {
                let decoded = form::decode(bytes, 0..bytes.len()).ok()?;
                core::str::from_utf8(&bytes[decoded]).ok().map(Secret::from)
            };
            members.push((text(name)?.expose().to_string(), text(&mut value[1..])?));
        }
        Some(members)
    }

    fn held(&self) -> Option<Held> {
        self.text("token").filter(|token| !token.is_empty())?;
        self.time("deadline")?;
        let (fetched_at, renew_at) = (self.time("fetched")?, self.time("renew")?);
        Some(Held { token: self.token()?, fetched_at, renew_at, is_replacement: false })
    }

    fn pause(&self) -> Option<Pause> {
        let error = Error::recall(&|name| self.text(name))?;
        // The reader fills in the fingerprint. In the file it could be used to guess the secret.
        let refused = match self.text("refused") {
            Some("request") => Some(Refused::Request(0)),
            Some("once") => Some(Refused::Once(0)),
            _ => None,
        };
        Some(Pause {
            since: self.time("written")?,
            until: self.time("pause").unwrap_or(Duration::MAX),
            calm_until: self.time("calm").unwrap_or(Duration::MAX),
            error,
            refused,
        })
    }
}
