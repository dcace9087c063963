//! Where the endpoints of an authorization server are: its metadata (RFC 8414, OpenID Connect Discovery 1.0).

use crate::cache::SharedTokenCache;
use crate::client_auth::ClientAuthentication;
use crate::endpoint::{Endpoint, Members, Method, Revocation};
use crate::error::{Error, ErrorKind};
use crate::lifetime::LifetimeRules;
use crate::secret::{Secret, SecretSource};
use crate::token::AccessToken;
use crate::url::Url;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::sync::atomic::{AtomicBool, Ordering};

/// How long the metadata of a server is used: a day. It has no lifetime of its own.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The endpoints that are read (RFC 8414 section 2, RFC 8628 section 4).
const ENDPOINTS: [&str; 4] =
    ["token_endpoint", "revocation_endpoint", "introspection_endpoint", "device_authorization_endpoint"];

/// Finds the endpoints of an authorization server by its issuer.
///
/// The metadata is fetched as a token is, so caches, stores and remembered failures work for it. It is used for a day. Only
/// its URLs are used: what a server lists as supported is often wrong.
///
/// Two places are asked, each where the one before has no metadata:
///
/// 1. `ISSUER/.well-known/openid-configuration` (OpenID Connect Discovery 1.0 section 4), which most servers have;
/// 2. `/.well-known/oauth-authorization-server` with the issuer's path after it (RFC 8414 section 3.1).
///
/// The metadata must name exactly this issuer. Its endpoints must be https, unless they are on loopback.
///
/// ```no_run
/// use keyfob::{Client, Discovery, Grant, SharedTokenCache};
/// use std::sync::Arc;
///
/// let tokens = |endpoint| Ok(SharedTokenCache::new(Client::new(endpoint), Grant::client_credentials()));
/// let discovery = Arc::new(Discovery::new("https://as.example", tokens)?);
/// let client = Client::new(discovery.endpoint()?).client_id("meter");
/// # Ok::<(), keyfob::Error>(())
/// ```
pub struct Discovery {
    issuer: String,
    caches: [Arc<SharedTokenCache>; 2],
    is_offline: bool,
    on_fetched: Option<Box<OnFetched>>,
    /// Whether the next metadata is fetched even if some is cached.
    is_fresh: AtomicBool,
}

impl Discovery {
    /// Describes the discovery of `issuer`. Nothing is fetched yet. `tokens` makes the cache for each of the two places:
    /// a client without credentials for the given endpoint, and the grant `client_credentials`.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if the issuer is no https URL (http on loopback) or has a query or a fragment (RFC 8414
    /// section 2). Those of `tokens`.
    pub fn new(
        issuer: impl Into<String>,
        tokens: impl Fn(Endpoint) -> Result<SharedTokenCache, Error>,
    ) -> Result<Self, Error> {
        let issuer = issuer.into();
        let cache = |place: String| tokens(endpoint(&place)?).map(Arc::new);
        let [openid, oauth] = places(&issuer).map_err(|error| error.within("issuer"))?;
        let caches = [cache(openid)?, cache(oauth)?];
        Ok(Self { issuer, caches, is_offline: false, on_fetched: None, is_fresh: AtomicBool::new(false) })
    }

    /// Calls `hook` with metadata that has just been fetched, before it is used. Default: nothing is called.
    #[must_use]
    pub fn on_fetched(mut self, hook: impl Fn(&Metadata) + Send + Sync + 'static) -> Self {
        self.on_fetched = Some(Box::new(hook));
        self
    }

    /// Uses only metadata that is cached. Default: the server is asked.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.is_offline = true;
        self
    }

    /// Asks the server once even if metadata is cached.
    #[must_use]
    pub fn fresh(self) -> Self {
        self.is_fresh.store(true, Ordering::Relaxed);
        self
    }

    /// Returns the server's metadata, fetched or cached.
    ///
    /// # Errors
    ///
    /// [`Unusable`](ErrorKind::Unusable) if there is no metadata, it names another issuer, or an endpoint in it is no https
    /// URL. Otherwise any [`ErrorKind`].
    pub fn metadata(&self) -> Result<Metadata, Error> {
        self.read().map_err(|error| error.within(format!("discovery of {}", self.issuer)))
    }

    fn read(&self) -> Result<Metadata, Error> {
        let is_fresh = self.is_fresh.swap(false, Ordering::Relaxed);
        if !is_fresh {
            for cache in &self.caches {
                if let Some(found) = cache.at_hand(Duration::ZERO)? {
                    return Metadata::new(&self.issuer, found);
                }
            }
        }
        if self.is_offline {
            return Err(Error::new(ErrorKind::Unreachable, "no metadata is cached, and nobody was asked"));
        }
        let fetch = |cache: &SharedTokenCache| if is_fresh { cache.renew() } else { cache.token() };
        let [openid, oauth] = &self.caches;
        let found = match fetch(openid) {
            Err(first) if is_absent(&first) => fetch(oauth).map_err(|second| match is_absent(&second) {
                true => self.not_found(&first, &second),
                false => second,
            })?,
            found => found?,
        };
        let is_stored = found.is_stored();
        let metadata = Metadata::new(&self.issuer, found)?;
        if let Some(hook) = self.on_fetched.as_ref().filter(|_| !is_stored) {
            hook(&metadata);
        }
        Ok(metadata)
    }

    fn not_found(&self, first: &Error, second: &Error) -> Error {
        let status = |error: &Error| error.status().unwrap_or_default();
        let [openid, oauth] = places(&self.issuer).unwrap_or_default();
        let (first, second) = (status(first), status(second));
        Error::new(ErrorKind::Unusable, "the server has no metadata").with_hint(format!(
            "{openid} was answered with status {first}, {oauth} with status {second}; is this the issuer? If it has no \
             metadata, give the URL of its token endpoint (`Endpoint::new`)"
        ))
    }

    /// Returns the endpoint, whose URLs are looked up in the metadata for each request.
    ///
    /// An assertion is made for the issuer as its audience. Tokens that are stored belong to the issuer, not to the URL of
    /// its token endpoint.
    ///
    /// # Errors
    ///
    /// None: the issuer was checked before.
    pub fn endpoint(self: &Arc<Self>) -> Result<Endpoint, Error> {
        let mut endpoint = Endpoint::new("{token_endpoint}")?
            .revocation(Revocation::Endpoint("{revocation_endpoint}".to_owned()))
            .introspection("{introspection_endpoint}")
            .issuer(&self.issuer)?;
        for (name, source) in self.variables() {
            endpoint = endpoint.read_variable(name, source);
        }
        Ok(endpoint)
    }

    /// Returns a [variable](Endpoint::read_variable) with the URL of each endpoint, named as in the metadata.
    pub fn variables(self: &Arc<Self>) -> impl Iterator<Item = (&'static str, SecretSource)> {
        ENDPOINTS.into_iter().map(|name| {
            let (discovery, identity) = (self.clone(), self.caches[0].clone());
            let source = SecretSource::provider(move || {
                let metadata = discovery.metadata()?;
                metadata.url(name).map(Secret::from).ok_or_else(|| {
                    Error::new(ErrorKind::Unusable, format!("the metadata of {} has no `{name}`", discovery.issuer))
                })
            });
            (name, source.identity_of(identity))
        })
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

type OnFetched = dyn Fn(&Metadata) + Send + Sync;

/// The metadata of an authorization server, checked.
#[derive(Clone, Debug)]
pub struct Metadata(AccessToken);

impl Metadata {
    /// Checks the issuer and the URLs. The token endpoint is read as a token is, the other members are kept.
    fn new(issuer: &str, found: AccessToken) -> Result<Self, Error> {
        let fail = |message: String| Error::new(ErrorKind::Unusable, message);
        let named = found.member("issuer").map(Secret::expose);
        match named {
            None => return Err(fail("the metadata does not name its issuer".to_owned())),
            Some(named) if named != issuer => {
                return Err(fail(format!("the metadata is that of the issuer {named:?}"))
                    .with_hint(format!("if that is the right one, name it exactly so: \"issuer\": {named:?}")));
            }
            Some(_) => {}
        }
        let metadata = Self(found);
        for name in ENDPOINTS {
            let Some(text) = metadata.url(name) else { continue };
            let url = Url::parse(text).map_err(|error| fail(format!("`{name}` in the metadata: {error}")))?;
            if !url.is_https() && !url.is_loopback() {
                return Err(fail(format!("`{name}` in the metadata is not https")));
            }
        }
        Ok(metadata)
    }

    /// Returns the URL of the endpoint that the metadata has under this name: `token_endpoint`, `revocation_endpoint`,
    /// `introspection_endpoint` or `device_authorization_endpoint`.
    #[must_use]
    pub fn url(&self, name: &str) -> Option<&str> {
        match name {
            "token_endpoint" => Some(self.0.expose()),
            _ => self.0.member(name).map(Secret::expose),
        }
    }

    /// Returns the hosts of its endpoints that differ from the issuer's. Some services have several; for a server of your own
    /// it is a reason to look twice.
    pub fn other_hosts(&self) -> impl Iterator<Item = &str> {
        let host = |url: &'_ str| Url::parse(url).map(|url| url.authority().to_owned()).unwrap_or_default();
        let own = self.0.member("issuer").map(|issuer| host(issuer.expose()));
        let urls = ENDPOINTS.into_iter().filter_map(|name| self.url(name));
        urls.filter_map(|url| url.split('/').nth(2)).filter(move |host| Some(*host) != own.as_deref())
    }
}

/// The two places of the metadata.
fn places(issuer: &str) -> Result<[String; 2], Error> {
    let url = Url::parse(issuer)?;
    if !url.is_https() && !url.is_loopback() {
        return Err(Error::config("it must start with https://"));
    }
    if issuer.contains('?') {
        return Err(Error::config("it has no query (RFC 8414 section 2)"));
    }
    let (start, path) = issuer.split_at(url.authority_end());
    let path = path.trim_end_matches('/');
    Ok([
        format!("{start}{path}/.well-known/openid-configuration"),
        format!("{start}/.well-known/oauth-authorization-server{path}"),
    ])
}

fn endpoint(place: &str) -> Result<Endpoint, Error> {
    let mut endpoint = Endpoint::new(place)?
        .method(Method::Get)
        .omit_grant_type(true)
        .authentication(ClientAuthentication::None)
        .members(Members::new("token_endpoint")?)
        .lifetime(LifetimeRules::default().absent(LIFE))
        .keep_member("issuer")?;
    for name in &ENDPOINTS[1..] {
        endpoint = endpoint.keep_member(*name)?;
    }
    Ok(endpoint)
}

/// Returns whether there is no metadata at this place: a refusal of the path, or a page in its place.
fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::Unusable)
        && error.status().is_none_or(|status| matches!(status, 200..=299 | 400..=406 | 409..=428 | 430..=499))
}
