//! Where the members of a token response are.

use crate::error::Error;
use crate::json::Wanted;
use crate::place::Place;
use alloc::format;
use alloc::string::String;

/// The places of the answer's members. Default: the names of RFC 6749 section 5.1, at the top level of a JSON object or a
/// form.
///
/// A place is written as
///
/// | place | meaning |
/// |---|---|
/// | `token` | the member of that name |
/// | `data.0.token` | a path through objects and arrays (of at most 8 names); a number is an array's index, from 0 |
/// | `header:X-Subject-Token` | a header of the answer |
/// | `cookie:session` | the value of a cookie that the answer sets |
/// | (empty) | the whole body: one line of visible ASCII of at most 16 KiB; for the access token only |
///
/// If only the access token's path is named, the others are looked for beside it, then at the top level.
///
/// ```
/// use keyfob::Members;
///
/// let nested = Members::new("body.access_token")?; // and body.expires_in, else expires_in, and so on
/// let renamed = Members::new("accessToken")?.expires_in("expireIn")?;
/// let keystone = Members::new("header:X-Subject-Token")?.expires_at("token.expires_at")?.error("error.message")?;
/// # Ok::<(), keyfob::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Members {
    access_token: Place,
    /// Token type, lifetime, refresh token and scope, and whether that is the only place to look at.
    others: [(Place, bool); 4],
    expires_at: Option<Place>,
    error: Place,
    error_description: Place,
    /// One of the paths has more than one name.
    is_nested: bool,
    /// One of the places is not a path.
    is_elsewhere: bool,
}

/// RFC 6749 section 5.1, in the order of [`Members::others`].
const OTHERS: [&str; 4] = ["token_type", "expires_in", "refresh_token", "scope"];

impl Default for Members {
    fn default() -> Self {
        let place = |name: &'static str| Place::Path(name.into());
        Self {
            access_token: place("access_token"),
            others: OTHERS.map(|name| (place(name), true)),
            expires_at: None,
            error: place("error"),
            error_description: place("error_description"),
            is_nested: false,
            is_elsewhere: false,
        }
    }
}

impl Members {
    /// Sets the place of the access token.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for a path with an empty name or more than 8 names, and for a header or cookie
    /// whose name is no token of RFC 9110 section 5.6.2.
    pub fn new(access_token: impl Into<String>) -> Result<Self, Error> {
        let access_token = Place::parse("field", access_token)?;
        let mut members = Self::default();
        if let Some((parent, _)) = access_token.path().rsplit_once('.') {
            members.others = OTHERS.map(|name| (Place::Path(format!("{parent}.{name}").into()), false));
        }
        members.note(&access_token);
        members.access_token = access_token;
        Ok(members)
    }

    /// Sets the place of the token's type.
    ///
    /// # Errors
    ///
    /// As [`Members::new`]; and for the whole body, which only the access token can be.
    pub fn token_type(self, place: impl Into<String>) -> Result<Self, Error> {
        self.other(0, place.into())
    }

    /// Sets the place of the lifetime, a number. [`LifetimeRules`](crate::LifetimeRules) has its unit.
    ///
    /// # Errors
    ///
    /// As [`Members::token_type`].
    pub fn expires_in(self, place: impl Into<String>) -> Result<Self, Error> {
        self.other(1, place.into())
    }

    /// Sets the place of the moment at which the token expires. Default: none, for RFC 6749 has no such member.
    ///
    /// It is a date and time of RFC 3339 with its offset, an HTTP date, or a Unix time in seconds or milliseconds, as a
    /// number or a string. It is read against the `Date` of the same answer, so the device's clock may be wrong; without a
    /// `Date` it is not used, unless [`LifetimeRules::trust_clock`](crate::LifetimeRules::trust_clock) is set. If the answer
    /// has a lifetime as well, the earlier end wins.
    ///
    /// # Errors
    ///
    /// As [`Members::token_type`].
    pub fn expires_at(mut self, place: impl Into<String>) -> Result<Self, Error> {
        let place = Place::of_member("field", place)?;
        self.note(&place);
        self.expires_at = Some(place);
        Ok(self)
    }

    /// Sets the place of the refresh token.
    ///
    /// # Errors
    ///
    /// As [`Members::token_type`].
    pub fn refresh_token(self, place: impl Into<String>) -> Result<Self, Error> {
        self.other(2, place.into())
    }

    /// Sets the place of the scope.
    ///
    /// # Errors
    ///
    /// As [`Members::token_type`].
    pub fn scope(self, place: impl Into<String>) -> Result<Self, Error> {
        self.other(3, place.into())
    }

    /// Sets the place of the error code, or of what the server has instead. An answer that has a text or a number there is a
    /// refusal, whatever its status. Default: `error` (RFC 6749 section 5.2).
    ///
    /// # Errors
    ///
    /// As [`Members::token_type`].
    pub fn error(mut self, place: impl Into<String>) -> Result<Self, Error> {
        self.error = Place::of_member("field", place)?;
        self.note(&self.error.clone());
        Ok(self)
    }

    /// Sets the place of the text that explains a refusal. Default: `error_description` (RFC 6749 section 5.2), or one of
    /// the usual names, as `message` and `detail`.
    ///
    /// # Errors
    ///
    /// As [`Members::token_type`].
    pub fn error_description(mut self, place: impl Into<String>) -> Result<Self, Error> {
        self.error_description = Place::of_member("field", place)?;
        self.note(&self.error_description.clone());
        Ok(self)
    }

    fn other(mut self, index: usize, place: String) -> Result<Self, Error> {
        let place = Place::of_member("field", place)?;
        self.note(&place);
        self.others[index] = (place, true);
        Ok(self)
    }

    fn note(&mut self, place: &Place) {
        self.is_nested |= place.is_nested();
        self.is_elsewhere |= !matches!(place, Place::Path(_));
    }

    pub(crate) fn place_of_token(&self) -> &Place {
        &self.access_token
    }

    pub(crate) fn place_of_error_description(&self) -> &Place {
        &self.error_description
    }

    /// Returns the places in the order of [`Members::wanted`]: the seven members and the moment of expiry.
    pub(crate) fn places(&self) -> [Option<&Place>; 8] {
        let [a, b, c, d] = self.others.each_ref().map(|(place, _)| Some(place));
        [
            Some(&self.access_token),
            a,
            b,
            c,
            d,
            Some(&self.error),
            Some(&self.error_description),
            self.expires_at.as_ref(),
        ]
    }

    /// Returns the paths that a JSON answer is searched for: those of the seven members, of the moment of expiry, then the
    /// places to fall back to.
    pub(crate) fn wanted(&self) -> [Wanted<'_>; 12] {
        // An empty path is never found.
        let fallback = |index: usize| if self.others[index].1 { "" } else { OTHERS[index] };
        let [a, b, c, d, e, f, g, h] = self.places().map(|place| place.map_or("", Place::path));
        let paths = [a, b, c, d, e, f, g, h, fallback(0), fallback(1), fallback(2), fallback(3)];
        paths.map(|path| Wanted::with(path, self.is_nested))
    }

    /// Returns how many of the wanted paths a JSON answer is searched for.
    pub(crate) fn count(&self) -> usize {
        match (self.is_nested, &self.expires_at) {
            (true, _) => 12,
            (false, Some(_)) => 8,
            (false, None) => 7,
        }
    }

    /// Whether one of the places is not a path.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// Whether one of the paths may start at an array, so that the answer may be one.
    pub(crate) fn start_in_array(&self) -> bool {
        self.is_nested && self.places().into_iter().flatten().any(Place::starts_in_array)
    }

    /// Returns each place, and whether it is the only one to look at.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn parts(&self) -> impl Iterator<Item = (String, bool)> {
        use alloc::string::ToString;
        let is_only = |index: usize| !(1..5).contains(&index) || self.others[index - 1].1;
        let shown = |place: Option<&Place>| place.map_or_else(String::new, ToString::to_string);
        self.places().into_iter().enumerate().map(move |(index, place)| (shown(place), is_only(index)))
    }

    /// Returns what a form is searched for: forms do not nest, so a path is a plain name there.
    pub(crate) fn names(&self) -> [&str; 8] {
        self.places().map(|place| place.map_or("", Place::path))
    }
}
