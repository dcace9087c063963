// The links and pictures of the README, as src/docs.rs explains.
#![cfg_attr(doc, doc = include_str!("docs/links.md"))]
#![cfg_attr(doc, doc = include_str!("docs/pictures.md"))]
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// The documentation names items that not every build has.
#![cfg_attr(not(all(feature = "ureq", feature = "log")), allow(rustdoc::broken_intra_doc_links))]
// Indices into a body come from the pass that checked it; a pass over every cut and every changed byte tests them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

// What every stage uses.
mod base64;
mod encode;
mod fnv;
mod error;
mod calendar;
mod date;
mod secret;
mod sha256;
mod computed;
mod template;
mod field;
mod text;
mod url;
#[cfg(all(feature = "std", unix))]
mod file;
#[cfg(any(feature = "tls", feature = "jwt"))]
mod der;
#[cfg(any(feature = "tls", feature = "jwt"))]
mod pem;

// The way of the data: what is asked, who asks, where; the request; the answer; the token.
#[cfg(any(feature = "jwt", all(feature = "command", feature = "tls")))]
mod jwt;
#[cfg(not(any(feature = "jwt", all(feature = "command", feature = "tls"))))]
#[path = "jwt/absent.rs"]
mod jwt;
mod signer;
mod assertion;
mod grant;
mod client_auth;
mod number;
mod place;
mod refused_if;
mod api_header;
mod lifetime;
mod endpoint;
mod words;
mod description;
mod request;
mod transport;
mod json;
mod form;
mod response;
mod answer;
mod clock;
mod token;
mod introspection;
mod observe;
#[cfg(all(feature = "std", unix))]
mod refresh_file;
mod exchange;
mod client;
mod renewal;
#[cfg(all(feature = "std", unix))]
mod store;
mod cache;
#[cfg(feature = "std")]
mod discovery;
#[cfg(feature = "log")]
mod log_observer;
#[cfg(feature = "ureq")]
mod middleware;
#[cfg(doc)]
pub mod docs;

#[cfg(feature = "std")]
pub use cache::SharedTokenCache;
#[cfg(feature = "std")]
pub use clock::BootClock;
#[cfg(feature = "std")]
pub use discovery::{Discovery, Metadata};
#[cfg(feature = "log")]
pub use log_observer::LogObserver;
#[cfg(feature = "ureq")]
pub use middleware::Authorize;
#[cfg(all(feature = "std", unix))]
pub use store::Store;
#[cfg(feature = "http")]
pub use transport::HttpTransport;
pub use {
    assertion::Assertion,
    cache::TokenCache,
    client::Client,
    client_auth::{ClientAuthentication, ClientCredentials},
    clock::Clock,
    description::Dialect,
    endpoint::{Endpoint, Members, Method, Parameters, Revocation},
    error::{Error, ErrorKind},
    grant::Grant,
    introspection::Introspection,
    lifetime::{ExpiresIn, Lifetime, LifetimeRules, LifetimeUnit, NotPositive},
    observe::{Event, Observer},
    renewal::Spread,
    request::Request,
    response::{Malformed, OAuthRefusal, Rejection, TokenResponse},
    secret::{Exposed, Secret, SecretSource},
    signer::Signer,
    token::{AccessToken, TokenSource},
    transport::{Response, Timing, Transport},
};
