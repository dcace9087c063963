//! Events of fetches and renewals, for logs and metrics.

use crate::error::Error;
use crate::lifetime::Lifetime;
use core::time::Duration;

/// Receives the events of a [`Client`](crate::Client) and of the caches around it. Set with
/// [`Client::observer`](crate::Client::observer). Implemented for closures.
///
/// It is called in the thread that fetches, with no lock held. It must return soon, and must not ask the same cache for a
/// token: the caller of that cache waits for it.
///
/// ```
/// use core::time::Duration;
/// use keyfob::{Client, Endpoint, Error, Event, Grant, Request, Response};
///
/// let answer = |_: &Request| Ok(Response::new(200, *br#"{"access_token":"abc","expires_in":3600}"#));
/// let client = Client::with_parts(Endpoint::new("https://as.example/token")?, answer, || Duration::ZERO)
///     .observer(|event: &Event<'_>| if let Event::FetchFinished { status, elapsed, .. } = event {
///         println!("fetched: {status:?}, {} ms", elapsed.as_millis());
///     });
/// client.fetch(&Grant::client_credentials())?;
/// # Ok::<(), Error>(())
/// ```
pub trait Observer: Send + Sync {
    /// Receives one event. Nothing in it is a secret.
    fn event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// What a client or a cache does. Times are measured with the client's clock.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request for a token is sent.
    #[non_exhaustive]
    FetchStarted {
        /// The value of `grant_type`. None for a bearer session.
        grant_type: Option<&'a str>,
    },
    /// The request was answered, or failed.
    #[non_exhaustive]
    FetchFinished {
        /// The value of `grant_type`. None for a bearer session.
        grant_type: Option<&'a str>,
        /// The HTTP status of the answer. None where there was no answer.
        status: Option<u16>,
        /// The time since the request was sent.
        elapsed: Duration,
        /// How long the token lives, or why there is none.
        result: Result<Lifetime, &'a Error>,
    },
    /// A cache has no new token. A valid one that it holds stays.
    #[non_exhaustive]
    RenewalFailed {
        /// The reason.
        error: &'a Error,
        /// When the server will be asked next: see [`TokenCache::next_attempt`](crate::TokenCache::next_attempt).
        next_attempt: Option<Duration>,
    },
    /// Another thread's or process's fetch was waited for.
    #[non_exhaustive]
    Waited {
        /// For how long, by the system's clock.
        elapsed: Duration,
    },
    /// A token that another process fetched came out of the store.
    StoreHit,
}
