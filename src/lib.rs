// The links and pictures of the README, as src/docs.rs explains.
#![cfg_attr(doc, doc = include_str!("docs/links.md"))]
#![cfg_attr(doc, doc = include_str!("docs/pictures.md"))]
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// The documentation names the transport and the clock, which not every build has.
#![cfg_attr(not(feature = "ureq"), allow(rustdoc::broken_intra_doc_links))]
// Indices into a body come from the pass that checked it; a pass over every cut and every changed byte tests them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

// What every stage uses.
mod encode;
mod error;
mod http_date;
mod secret;
mod template;
mod field;
mod text;
mod url;
#[cfg(all(feature = "std", unix))]
mod file;

// The way of the data: what is asked, who asks, where; the request; the answer; the token.
mod grant;
mod client_auth;
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
mod observe;
#[cfg(all(feature = "std", unix))]
mod refresh_file;
mod client;
mod renewal;
#[cfg(all(feature = "std", unix))]
mod store;
mod cache;
#[cfg(feature = "std")]
mod shared;
#[cfg(feature = "ureq")]
mod middleware;
#[cfg(doc)]
pub mod docs;

#[cfg(feature = "std")]
pub use clock::BootClock;
#[cfg(feature = "std")]
pub use shared::SharedTokenCache;
#[cfg(all(feature = "std", unix))]
pub use store::Store;
pub use {
    cache::TokenCache,
    client::Client,
    client_auth::{ClientAuthentication, ClientCredentials},
    clock::Clock,
    description::Dialect,
    endpoint::{Endpoint, LifetimeRules, LifetimeUnit, Members, Method, NotPositive, Parameters, Revocation},
    error::{Error, ErrorKind},
    grant::Grant,
    observe::{Event, Observer},
    renewal::Spread,
    request::Request,
    response::{ExpiresIn, Malformed, OAuthRefusal, Rejection, TokenResponse},
    secret::{Exposed, Secret, SecretSource},
    token::{AccessToken, Lifetime, TokenSource},
    transport::{Response, Timing, Transport},
};
#[cfg(feature = "ureq")]
pub use {middleware::Authorize, transport::HttpTransport};
