//! A token for the command: at hand or fetched, at once or when what it needs is there.

use crate::events;
use crate::settings::{self, Asked};
use keyfob::{AccessToken, Error, ErrorKind, Lifetime, TokenCache};
use std::time::Duration;

/// A token as it was asked for.
pub(crate) fn token(tokens: &mut TokenCache, asked: Asked) -> Result<AccessToken, Error> {
    if let Some(until) = put_off(tokens, asked)? {
        events::sleep_until(until);
    }
    let started = tokens.client().now();
    let min_life = asked.min_valid.unwrap_or_default();
    loop {
        let result = match asked.fresh {
            true => tokens.renew().and_then(|token| long_enough(tokens, token, min_life)),
            false => tokens.token_valid_for(min_life),
        };
        let error = match result {
            Ok(token) if token.lifetime() == Lifetime::Once && asked.min_valid.is_some() => {
                return Err(Error::new(
                    ErrorKind::Unusable,
                    "the server says the token lives 0 s or less (--min-valid)",
                )
                .with_hint("if it means something else, say so (--lifetime)"));
            }
            Ok(token) => return Ok(token),
            Err(error) => error,
        };
        match tokens.next_attempt() {
            // The network, the names, the clock or the server may be there by then.
            Some(at) if error.is_retryable() && at <= started.saturating_add(asked.wait) => {
                asked.tell(&format!("{error}; once more"));
                events::sleep_until(at);
            }
            _ => return Err(error),
        }
    }
}

/// Until when the first fetch after a boot is put off (`--splay`): by this device's share, so that a site whose power
/// returns does not come at once. Not where there is a token.
pub(crate) fn put_off(tokens: &mut TokenCache, asked: Asked) -> Result<Option<Duration>, Error> {
    // The machine's id is not read for nothing.
    if asked.splay.is_zero() {
        return Ok(None);
    }
    // The clock counts from the boot.
    let until = settings::spread().of(asked.splay);
    if until <= tokens.client().now() || tokens.at_hand(Duration::ZERO)?.is_some() {
        return Ok(None);
    }
    asked.tell(&format!("the first fetch is put off until {} s after the boot (--splay)", until.as_secs()));
    Ok(Some(until))
}

/// What to say about a lifetime that is none: a point in time, probably.
pub(crate) fn unbelieved(token: &AccessToken) -> Option<String> {
    const YEAR: u64 = 365 * 24 * 60 * 60;
    let years = token.unbelieved_lifetime()?.as_secs() / YEAR;
    Some(format!(
        "the server says that the token lives {years} years; if that is a point in time, say how long its tokens live \
         (--lifetime, or `lifetime` in the profile), for until then none is stored"
    ))
}

fn long_enough(tokens: &mut TokenCache, token: AccessToken, min_life: Duration) -> Result<AccessToken, Error> {
    match token.remaining(tokens.client().now()) {
        // The error says how long it lives.
        Some(life) if life < min_life => tokens.token_valid_for(min_life),
        _ => Ok(token),
    }
}
