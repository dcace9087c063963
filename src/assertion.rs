//! Assertions: signed statements (RFC 7523) in the compact form of JWS (RFC 7515 section 3.1).

use crate::client_auth::ClientCredentials;
use crate::encode;
use crate::error::Error;
use crate::jwt;
#[cfg(all(feature = "std", unix))]
use crate::secret::Identity;
use crate::secret::{Secret, SecretSource};
use crate::signer::Signer;
use crate::template::Values;
use crate::url::{Url, UrlTemplate};
use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use miniserde::json::{self, Value};
use zeroize::Zeroizing;

/// Describes the signed assertions that replace a secret (RFC 7523). A new one is signed for each request.
///
/// An assertion authenticates a client (`private_key_jwt`, `client_secret_jwt`; set it with
/// [`Client::assertion`](crate::Client::assertion)) or is a grant ([`Grant::jwt_bearer`](crate::Grant::jwt_bearer)).
///
/// It has these claims. [`claim`](Assertion::claim) and [`json_claim`](Assertion::json_claim) replace any of them:
///
/// | claim | default |
/// |---|---|
/// | `iss` | the issuer that the key's file names, otherwise the client id |
/// | `sub` | as `iss`; none if the key's file names the issuer |
/// | `aud` | the URL of the token endpoint, without its query |
/// | `iat` | 10 s ago, for servers whose clock is behind |
/// | `exp` | 120 s from now: see [`lifetime`](Assertion::lifetime) |
/// | `jti` | 16 random bytes |
///
/// ```no_run
/// use keyfob::{Assertion, Client, Endpoint, SecretSource};
///
/// let key = SecretSource::file("/run/credentials/meter.service/key.pem");
/// let client = Client::new(Endpoint::new("https://as.example/token")?)
///     .client_id("meter")
///     .assertion(Assertion::new(key).key_id("2026-11").audience("https://as.example"));
/// # Ok::<(), keyfob::Error>(())
/// ```
pub struct Assertion {
    key: Key,
    algorithm: Option<String>,
    /// Members of the header and claims: names with JSON values.
    header: Vec<(String, String)>,
    claims: Vec<(String, String)>,
    lifetime: Duration,
    random: Option<Box<Random>>,
}

enum Key {
    Signer(Box<dyn Signer>),
    Source(SecretSource),
    ClientSecret,
}

type Random = dyn Fn() -> Result<[u8; 16], Error> + Send + Sync;

/// The target and the time of a request.
pub(crate) struct Occasion<'a> {
    pub(crate) issuer: Option<&'a Url>,
    pub(crate) url: &'a Url,
    /// The template of the URL, with the values of this request.
    pub(crate) template: Option<(&'a UrlTemplate, &'a Values<'a>)>,
    /// The time since 1970.
    pub(crate) wall_time: &'a dyn Fn() -> Duration,
}

impl Occasion<'_> {
    /// Returns the issuer where it is known, otherwise the URL of the token endpoint, without its query.
    fn audience(&self) -> Result<String, Error> {
        Ok(match (self.issuer, self.template) {
            (Some(issuer), _) => issuer.as_str().to_owned(),
            (None, Some((template, values))) => template.render(values)?.0.without_query().to_owned(),
            (None, None) => self.url.without_query().to_owned(),
        })
    }
}

/// An assertion, and a fingerprint that is the same for all assertions of this description and key.
pub(crate) struct Signed {
    pub(crate) text: Secret,
    pub(crate) fingerprint: u32,
    /// The wall time at which it was made.
    pub(crate) at: Duration,
    /// Whether it is of HS256, with a secret that is shorter than RFC 7518 section 3.2 allows.
    pub(crate) is_by_short_secret: bool,
}

/// How many seconds an assertion is dated back, for servers whose clock is behind.
const BACK: u64 = 10;

impl Assertion {
    /// Creates assertions that are signed with this key, which is read for each request. Needs the feature `jwt`.
    ///
    /// The key is one of
    ///
    /// - PEM or DER: PKCS #8, SEC 1 (`EC PRIVATE KEY`) or PKCS #1 (`RSA PRIVATE KEY`), not encrypted;
    /// - a JWK (RFC 7517);
    /// - Google's service-account file, which also names the issuer and the key's id.
    ///
    /// P-256 signs with ES256, P-384 with ES384, Ed25519 with EdDSA, RSA (2048 to 4096 bits) with RS256 or PS256, and a
    /// JWK of the type `oct` with HS256. ES256 and EdDSA cost about a twentieth of RS256.
    #[must_use]
    pub fn new(key: impl Into<SecretSource>) -> Self {
        Self::with(Key::Source(key.into()))
    }

    /// Creates assertions that `signer` signs.
    #[must_use]
    pub fn with_signer(signer: impl Signer + 'static) -> Self {
        Self::with(Key::Signer(Box::new(signer)))
    }

    /// Creates assertions that are signed with the client secret (HS256), for `client_secret_jwt`. Needs the feature
    /// `jwt`.
    ///
    /// RFC 7518 section 3.2 requires a secret of at least 32 bytes; some servers refuse a shorter one.
    #[must_use]
    pub fn with_client_secret() -> Self {
        Self::with(Key::ClientSecret)
    }

    fn with(key: Key) -> Self {
        Self {
            key,
            algorithm: None,
            header: Vec::new(),
            claims: Vec::new(),
            lifetime: Duration::from_secs(120),
            random: None,
        }
    }

    /// Sets the algorithm (RFC 7518 section 3.1) of a key that fits several: `PS256`. Default: the JWK's `alg`,
    /// otherwise the one that [`new`](Assertion::new) lists. A signer has its own. With `HS256` the whole file is the
    /// key, without one line end at its end, unless it is a JWK.
    #[must_use]
    pub fn algorithm(mut self, name: impl Into<String>) -> Self {
        self.algorithm = Some(name.into());
        self
    }

    /// Sets the header member `kid`. Default: the id that the key's file or the signer names, if any.
    #[must_use]
    pub fn key_id(self, id: impl AsRef<str>) -> Self {
        self.header("kid", id)
    }

    /// Sets the claim `aud`. Default: the URL of the token endpoint, without its query. Some servers require their
    /// issuer.
    #[must_use]
    pub fn audience(self, audience: impl AsRef<str>) -> Self {
        self.claim("aud", audience)
    }

    /// Sets a claim to a text: `iss`, `sub`, `scope`.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl AsRef<str>) -> Self {
        set(&mut self.claims, name.into(), string(value.as_ref()));
        self
    }

    /// Sets a claim to a JSON value. `null` leaves the claim out.
    ///
    /// ```
    /// use keyfob::{Assertion, SecretSource};
    ///
    /// let assertion = Assertion::new(SecretSource::file("app.pem")).claim("iss", "12345").json_claim("sub", "null")?;
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if it is not JSON.
    pub fn json_claim(mut self, name: impl Into<String>, value: &str) -> Result<Self, Error> {
        let name = name.into();
        let value: Value =
            json::from_str(value).map_err(|_| Error::config(format!("claim `{name}`: its value is not JSON")))?;
        set(&mut self.claims, name, json::to_string(&value));
        Ok(self)
    }

    /// Sets a member of the header to a text: `typ` (default: `JWT`), `x5t#S256`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<str>) -> Self {
        set(&mut self.header, name.into(), string(value.as_ref()));
        self
    }

    /// Sets how long an assertion is valid, in whole seconds. Default: 120 s. Some servers accept only a few minutes.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets the source of the random bytes in `jti`. Default: the operating system, with `std` on Unix or with the
    /// feature `jwt`. Otherwise there is no default, and signing fails without a source.
    #[must_use]
    pub fn random(mut self, random: impl Fn() -> Result<[u8; 16], Error> + Send + Sync + 'static) -> Self {
        self.random = Some(Box::new(random));
        self
    }

    /// Returns whether the client secret signs.
    pub(crate) fn is_by_client_secret(&self) -> bool {
        matches!(self.key, Key::ClientSecret)
    }

    /// Signs a new assertion.
    pub(crate) fn sign(&self, client: &ClientCredentials, occasion: &Occasion<'_>) -> Result<Signed, Error> {
        let id = client.id()?;
        let id = id.as_deref();
        match &self.key {
            Key::Signer(signer) => self.sign_with(&**signer, signer.identity()?.expose().as_bytes(), id, occasion),
            Key::Source(source) => {
                let key = source.expose_bytes()?;
                jwt::with_key(&key, self.algorithm.as_deref(), |signer| self.sign_with(signer, &key, id, occasion))
            }
            Key::ClientSecret => {
                let secret = client.client_secret.as_ref().ok_or_else(|| {
                    Error::config("an assertion needs the client secret to be signed with")
                        .with_hint("name the file that holds it (`Client::client_secret`)")
                })?;
                let secret = secret.expose_line("client secret")?;
                jwt::with_secret(&secret, |signer| self.sign_with(signer, secret.as_bytes(), id, occasion))
            }
        }
    }

    fn sign_with(
        &self,
        signer: &dyn Signer,
        key: &[u8],
        client_id: Option<&str>,
        occasion: &Occasion<'_>,
    ) -> Result<Signed, Error> {
        let random = match &self.random {
            Some(random) => random()?,
            None => jwt::random()?,
        };
        if self.header.iter().any(|(name, _)| name == "alg") {
            return Err(Error::config("the assertion's header cannot set `alg`: the key and its algorithm do")
                .with_hint("name the algorithm (`Assertion::algorithm`)"));
        }
        let at = (occasion.wall_time)();
        let now = at.as_secs();
        let own_issuer = self.claims.iter().find(|(name, _)| name == "iss").map(|(_, value)| value.clone());
        let issuer = own_issuer.or_else(|| signer.issuer().or(client_id).map(string)).ok_or_else(|| {
            Error::config("the assertion has no issuer")
                .with_hint("give the client id (`Client::client_id`), or the claim `iss` (`Assertion::claim`)")
        })?;
        let subject = signer.issuer().is_none().then(|| issuer.clone());
        let claims = object(
            &[
                ("iss", Some(issuer)),
                ("sub", subject),
                ("aud", Some(string(&occasion.audience()?))),
                ("iat", Some(format!("{}", now.saturating_sub(BACK)))),
                ("exp", Some(format!("{}", now.saturating_add(self.lifetime.as_secs())))),
                ("jti", Some(string(encode::exact(|out| encode::base64_url(out, &random)).expose()))),
            ],
            &self.claims,
        );
        let header = object(
            &[
                ("alg", Some(string(signer.algorithm()))),
                ("typ", Some(string("JWT"))),
                ("kid", signer.key_id().map(string)),
            ],
            &self.header,
        );
        let message = encode::exact(|out| {
            encode::base64_url(out, header.as_bytes())?;
            out.write_char('.')?;
            encode::base64_url(out, claims.as_bytes())
        });
        let signature = Zeroizing::new(signer.sign(message.expose().as_bytes())?);
        let text = encode::exact(|out| {
            out.write_str(message.expose())?;
            out.write_char('.')?;
            encode::base64_url(out, &signature)
        });
        let mut fingerprint = crate::fnv::Fnv::default();
        self.mark(key, &mut |part| fingerprint.add_bytes(part));
        // A JWK is longer than its secret: such a one is not noticed.
        let is_short = signer.algorithm() == "HS256" && key.trim_ascii_end().len() < 32;
        let is_by_short_secret = is_short && !matches!(self.key, Key::Signer(_));
        Ok(Signed { text, fingerprint: fingerprint.value(), at, is_by_short_secret })
    }

    /// Adds the parts that distinguish these assertions from others: the key and the description, without the parts
    /// that change with each assertion.
    #[cfg(all(feature = "std", unix))]
    pub(crate) fn identify(&self, add: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        match &self.key {
            Key::Signer(signer) => self.mark(signer.identity()?.expose().as_bytes(), add),
            Key::Source(source) => match source.own_identity() {
                Some(Identity::Text(identity)) => self.mark(identity.expose().as_bytes(), add),
                // A token is not a signing key, so its cache is no identity.
                Some(Identity::Cache(_)) | None => self.mark(&source.expose_bytes()?, add),
            },
            // The client secret is part of the identity anyway.
            Key::ClientSecret => self.mark(b"", add),
        }
        Ok(())
    }

    fn mark(&self, key: &[u8], add: &mut dyn FnMut(&[u8])) {
        add(key);
        add(self.algorithm.as_deref().unwrap_or_default().as_bytes());
        for (name, value) in self.header.iter().chain(&[(String::new(), String::new())]).chain(&self.claims) {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        add(&self.lifetime.as_secs().to_le_bytes());
    }
}

fn string(text: &str) -> String {
    encode::exact(|out| encode::json_string(out, text)).expose().to_owned()
}

/// Sets a member. The last value counts, because RFC 7519 section 4 allows each name once.
fn set(members: &mut Vec<(String, String)>, name: String, value: String) {
    members.retain(|(known, _)| *known != name);
    members.push((name, value));
}

/// Writes a JSON object: the defaults that are not replaced, then the own members, without those that are `null`.
fn object(defaults: &[(&str, Option<String>)], own: &[(String, String)]) -> String {
    let is_own = |name: &str| own.iter().any(|(known, _)| known == name);
    let defaults = defaults.iter().filter(|(name, _)| !is_own(name));
    let defaults = defaults.filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(|(_, value)| *value != "null");
    let members: Vec<String> = defaults.chain(own).map(|(name, value)| format!("{}:{value}", string(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// Shows the names of the claims, not their values.
impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Cow<'_, str> = match &self.key {
            Key::Signer(signer) => format!("Signer({})", signer.algorithm()).into(),
            Key::Source(source) => format!("{source:?}").into(),
            Key::ClientSecret => "the client secret".into(),
        };
        let names: Vec<&str> = self.claims.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Assertion").field("key", &key).field("claims", &names).finish_non_exhaustive()
    }
}
