//! Gets a token for the command, from the cache or the server, and waits for the network if asked to.

use crate::events;
use crate::members::nothing_cached;
use crate::settings::{self, Asked};
use keyfob::{AccessToken, Error, ErrorKind, Lifetime, TokenCache};
use std::time::Duration;

/// Returns a token as requested with the options.
pub(crate) fn token(tokens: &mut TokenCache, asked: Asked) -> Result<AccessToken, Error> {
    if asked.offline {
        return at_hand(tokens, asked.min_valid.unwrap_or_default());
    }
    if let Some(until) = delay(tokens, asked)? {
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
                .with_hint("if it means something else, set the lifetime (--lifetime)"));
            }
            Ok(token) => return Ok(token),
            Err(error) => error,
        };
        match tokens.next_attempt() {
            // The network, the name service, the clock or the server may be ready by then.
            Some(at) if error.is_retryable() && at <= started.saturating_add(asked.wait) => {
                asked.log(&format!("{error}; retrying (--wait)"));
                events::sleep_until(at);
            }
            _ => return Err(error),
        }
    }
}

/// Returns the cached token, or the remembered failure. Sends no request.
fn at_hand(tokens: &mut TokenCache, min_life: Duration) -> Result<AccessToken, Error> {
    if let Some(token) = tokens.at_hand(min_life)? {
        return Ok(token);
    }
    Err(tokens.last_failure().unwrap_or_else(nothing_cached))
}

/// Returns the end of the delay before the first fetch after a boot (`--splay`). The delay is this device's share of
/// it, so that the devices of a site do not all ask when power returns. None if there is a token.
pub(crate) fn delay(tokens: &mut TokenCache, asked: Asked) -> Result<Option<Duration>, Error> {
    // Read the machine's id only if it is needed.
    if asked.splay.is_zero() {
        return Ok(None);
    }
    // The clock starts at boot.
    let until = settings::spread().of(asked.splay);
    if until <= tokens.client().now() || tokens.at_hand(Duration::ZERO)?.is_some() {
        return Ok(None);
    }
    asked.log(&format!("the first fetch is delayed until {} s after boot (--splay)", until.as_secs()));
    Ok(Some(until))
}

/// Returns the hint for a statement about the token's life that was not used: a date, or a lifetime that is too long
/// and is probably a point in time.
pub(crate) fn unbelieved(token: &AccessToken) -> Option<String> {
    const YEAR: u64 = 365 * 24 * 60 * 60;
    if let Some(why) = token.expires_at_trouble() {
        // A clock helps only with a date.
        let clock = match why.contains("`Date`") {
            true => ", or trust this device's clock (`lifetime.trust_clock` in the profile)",
            false => "",
        };
        return Some(format!("`expires_at` was not used: {why}; set the lifetime (--lifetime){clock}"));
    }
    let years = token.unbelieved_lifetime()?.as_secs() / YEAR;
    Some(format!(
        "the server says that the token lives {years} years, so it is not stored; if that is a point in time, name \
         it in the profile (`field`: {{\"expires_at\": PLACE}}), or set the lifetime (--lifetime)"
    ))
}

fn long_enough(tokens: &mut TokenCache, token: AccessToken, min_life: Duration) -> Result<AccessToken, Error> {
    match token.remaining(tokens.client().now()) {
        // Asks for its error, which contains the token's remaining life.
        Some(life) if life < min_life => tokens.token_valid_for(min_life),
        _ => Ok(token),
    }
}
