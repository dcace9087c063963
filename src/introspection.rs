//! What an authorization server says about a token (RFC 7662).

use crate::answer;
use crate::date;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::json::{self, Kind, Wanted};
use crate::secret::Secret;
use crate::token::AccessToken;
use crate::transport::Response;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// An introspection response (RFC 7662 section 2.2): what the server says about a token now. It is never cached.
///
/// ```no_run
/// use keyfob::{Client, Endpoint};
///
/// let endpoint = Endpoint::new("https://as.example/token")?.introspection("https://as.example/introspect");
/// let client = Client::new(endpoint).client_id("api").client_secret(keyfob::SecretSource::file("secret"));
/// let said = client.introspect("the-token-of-a-caller")?;
/// if said.is_active() {
///     println!("for {:?}, for {:?} more", said.scope(), said.remaining());
/// }
/// # Ok::<(), keyfob::Error>(())
/// ```
pub struct Introspection {
    is_active: bool,
    remaining: Option<Duration>,
    members: Vec<(String, Secret)>,
}

/// The members of RFC 7662 section 2.2, and the two of `cnf` that bind a token to a certificate (RFC 8705 section 3.2) or to a
/// DPoP key (RFC 9449 section 6.2).
const MEMBERS: [&str; 14] = [
    "scope",
    "client_id",
    "username",
    "token_type",
    "exp",
    "iat",
    "nbf",
    "sub",
    "aud",
    "iss",
    "jti",
    "cnf",
    "cnf.x5t#S256",
    "cnf.jkt",
];

impl Introspection {
    /// Reads the answer to [`Request::introspection`](crate::Request::introspection).
    ///
    /// # Errors
    ///
    /// [`Unusable`](ErrorKind::Unusable) for an answer without the member `active`, `true` or `false`. Otherwise as
    /// [`AccessToken::read`].
    pub fn read(endpoint: &Endpoint, response: Response) -> Result<Self, Error> {
        let (status, body) = (response.status, &*response.body);
        let mut wanted = [Wanted::new("active"); MEMBERS.len() + 1];
        wanted[1..].iter_mut().zip(MEMBERS).for_each(|(wanted, path)| *wanted = Wanted::new(path));
        let is_success = (200..300).contains(&status);
        let is_sound = is_success && json::scan(body, &mut wanted).is_ok_and(|found| found.twice.is_none());
        let is_active = match wanted[0].span.filter(|_| is_sound).map(|span| span.kind) {
            Some(Kind::True) => true,
            Some(Kind::False) => false,
            _ => return Err(not_said(endpoint, response)),
        };
        if !is_active {
            // Nothing else is said of such a token, and a cache on the way may have made up the rest.
            return Ok(Self { is_active, remaining: None, members: Vec::new() });
        }
        let text = |wanted: &Wanted<'_>| {
            let span = wanted.span.filter(|span| span.kind != Kind::Null)?;
            Some((wanted.path.to_owned(), json::text(body, span, true)?))
        };
        let kept = endpoint.session_members.iter().filter(|(name, _)| !MEMBERS.contains(&name.as_str()));
        let kept = kept.filter_map(|(name, place)| Some((name.clone(), place.text(&response.headers, body)?.1)));
        let members: Vec<_> = wanted[1..].iter().filter_map(text).chain(kept).collect();
        let exp = members.iter().find(|(name, _)| name == "exp").and_then(|(_, text)| date::parse(text.expose()));
        let now = answer::server_time(&response.headers);
        let remaining = exp.zip(now).map(|(exp, now)| u64::try_from(exp.saturating_sub(now)).unwrap_or(0));
        Ok(Self { is_active, remaining: remaining.map(Duration::from_millis), members })
    }

    /// Returns whether the token is valid: issued by this server, neither expired nor revoked.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// Returns how long the token lives from the moment of the answer: its `exp` less the answer's `Date`. `None` if the
    /// answer lacks one of them.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }

    /// Returns the token's scope, joined with spaces.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.member("scope").map(Secret::expose)
    }

    /// Returns the identifier of the client that the token was issued to.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.member("client_id").map(Secret::expose)
    }

    /// Returns the name of the user who authorized the token.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.member("username").map(Secret::expose)
    }

    /// Returns a member of the answer: a string's text, or anything else as JSON. `None` if the token is not active, or the
    /// answer has no such member.
    ///
    /// The members are those of RFC 7662 section 2.2, `cnf`, `cnf.x5t#S256`, `cnf.jkt`, and the paths of
    /// [`Endpoint::keep_member`].
    #[must_use]
    pub fn member(&self, path: &str) -> Option<&Secret> {
        self.members().find(|(name, _)| *name == path).map(|(_, value)| value)
    }

    /// Returns the members by their paths, as [`member`](Introspection::member) does.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// Shows whether the token is active, how long it lives, and the names of the members. The values may be secret.
impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.members().map(|(name, _)| name).collect();
        f.debug_struct("Introspection")
            .field("is_active", &self.is_active)
            .field("remaining", &self.remaining)
            .field("members", &names)
            .finish()
    }
}

/// Returns the error for an answer that does not say whether the token is active.
fn not_said(endpoint: &Endpoint, response: Response) -> Error {
    let status = response.status;
    let is_success = (200..300).contains(&status);
    match AccessToken::read(endpoint, response, Duration::ZERO..Duration::ZERO) {
        Err(error) if !is_success || error.oauth_error().is_some() => error,
        _ => Error::new(
            ErrorKind::Unusable,
            "the answer is no introspection response: it has no member `active` that is true or false",
        )
        .with_status(status)
        .with_hint("is this the introspection endpoint (RFC 7662)?"),
    }
}
