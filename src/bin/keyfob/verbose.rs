//! `--verbose`: logs each request, renewal and wait as a line on standard error.

use crate::failure::whole_seconds;
use crate::output::note;
use keyfob::{BootClock, Clock, Error, Event, HttpTransport, Lifetime, Observer, Request, Response, Secret, Transport};
use std::time::Duration;

/// Logs the events of a client and its cache. No event contains a secret.
pub(crate) struct Verbose {
    host: String,
}

impl Verbose {
    pub(crate) fn new(host: &str) -> Self {
        Self { host: host.to_owned() }
    }
}

impl Observer for Verbose {
    fn event(&self, event: &Event<'_>) {
        let host = &self.host;
        let text = match event {
            Event::FetchStarted { grant_type, .. } => {
                format!("asking {host} for a token ({})", grant_type.unwrap_or("bearer session"))
            }
            Event::FetchFinished { status, elapsed, result, .. } => {
                let status = status.map_or("no answer".to_owned(), |status| format!("status {status}"));
                format!("{host}: {status} after {} ms; {}", elapsed.as_millis(), outcome(result))
            }
            Event::RenewalFailed { next_attempt, .. } => match next_attempt {
                Some(at) => {
                    let wait = whole_seconds(at.saturating_sub(BootClock.now()));
                    format!("no new token; next attempt in {wait} s at the earliest")
                }
                None => "no new token".to_owned(),
            },
            Event::Waited { elapsed, .. } => {
                format!("waited {} ms for another process's fetch", elapsed.as_millis())
            }
            // A hit of the store is logged with the token's origin.
            _ => return,
        };
        note(&format!("keyfob: {text}"));
    }
}

/// Returns the kind of a failure only: the error follows on a line of its own.
fn outcome(result: &Result<Lifetime, &Error>) -> String {
    match result {
        Ok(Lifetime::Until(end)) => format!("the token lives {} s", until(*end)),
        Ok(Lifetime::Once) => "the token is for one use".to_owned(),
        Ok(_) => "the token's life is unknown".to_owned(),
        Err(error) => format!("failed: {}", error.kind().as_str()),
    }
}

fn until(end: Duration) -> u64 {
    end.saturating_sub(BootClock.now()).as_secs()
}

/// Returns the URL of the proxy on a route, without its credentials.
pub(crate) fn proxy_of(route: &Secret) -> Option<String> {
    // The route starts with `direct`, or with the proxy's scheme, its address and its credentials.
    let mut words = route.expose().split([' ', '\n']);
    let scheme = words.next().filter(|scheme| ["http", "https"].contains(scheme))?;
    Some(format!("{scheme}://{}", words.next()?))
}

/// A transport that logs the proxy of each request, if it has one.
pub(crate) struct Traced {
    pub(crate) transport: HttpTransport,
    pub(crate) is_verbose: bool,
}

impl Transport for Traced {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        if self.is_verbose {
            if let Some(proxy) = self.route(request.url()).as_ref().and_then(proxy_of) {
                note(&format!("keyfob: through the proxy {proxy}"));
            }
        }
        self.transport.send(request)
    }

    fn route(&self, url: &str) -> Option<Secret> {
        self.transport.route(url)
    }
}
