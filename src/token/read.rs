//! Reads the token out of the answer to a request.

use super::AccessToken;
use crate::answer::{self, Said};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::json::Kind;
use crate::lifetime::Told;
use crate::response::{Rejection, TokenResponse};
use crate::transport::Response;
use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

impl AccessToken {
    /// Reads the token out of the answer to a request. The range is from when the request was sent to when the answer
    /// arrived, both by the same [`Clock`](crate::Clock): the lifetime is counted from the first.
    ///
    /// ```
    /// use core::time::Duration;
    /// use keyfob::{AccessToken, Endpoint, Lifetime, Response};
    ///
    /// let endpoint = Endpoint::new("https://as.example/token")?;
    /// let response = Response::new(200, *br#"{"access_token": "abc", "expires_in": 60}"#);
    /// let (sent_at, arrived_at) = (Duration::from_secs(7), Duration::from_secs(8));
    /// let token = AccessToken::read(&endpoint, response, sent_at..arrived_at)?;
    /// assert_eq!(token.lifetime(), Lifetime::Until(Duration::from_secs(67)));
    /// # Ok::<(), keyfob::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused), [`Wait`](ErrorKind::Wait) or [`Unusable`](ErrorKind::Unusable), by the table in
    /// [errors and exit codes](crate::docs::errors).
    pub fn read(endpoint: &Endpoint, response: Response, sent_to_arrived: Range<Duration>) -> Result<Self, Error> {
        let Range { start: sent_at, end: arrived_at } = sent_to_arrived;
        let status = response.status;
        let token = Self::read_late(endpoint, response, sent_at, None)?;
        token.in_time(status, sent_at, arrived_at)?;
        Ok(token)
    }

    /// Reads as [`read`](AccessToken::read) does, but accepts a token that has expired on its way. `wall_time` is the device's, since
    /// 1970.
    pub(crate) fn read_late(
        endpoint: &Endpoint,
        mut response: Response,
        sent_at: Duration,
        wall_time: Option<Duration>,
    ) -> Result<Self, Error> {
        let Response { status, headers, body, framed, .. } = &mut response;
        let (status, headers) = (*status, &*headers);
        // This comes before the body is changed in place. Below it is checked.
        let kept = endpoint.session_members.iter();
        let kept = kept.filter_map(|(name, place)| Some((name.clone(), place.text(headers, body)?)));
        let members: Vec<_> =
            kept.filter(|(_, (kind, _))| *kind != Kind::Null).map(|(name, (_, text))| (name, text)).collect();
        let is_success = (200..300).contains(&status);
        let refused = endpoint.refused_if.iter().find(|rule| is_success && rule.matches(headers, body));
        let said = match is_success && refused.is_none() {
            true => Said::Nothing,
            false => Said::read(body, &endpoint.members),
        };
        let read = TokenResponse::read_parts(status, headers, *framed, body, &endpoint.members);
        if matches!(status, 301..=303 | 307 | 308) {
            return Err(answer::redirect(status, headers));
        }
        let response = match (read, refused) {
            (Err(rejection @ Rejection::OAuth(_)), _) | (Err(rejection), None) => {
                return Err(answer::rejected(status, headers, &rejection, &said));
            }
            (_, Some(rule)) => return Err(answer::said_no(status, rule, &said)),
            (Ok(response), None) => response,
        };
        let device_time = || i64::try_from(wall_time.filter(|_| endpoint.lifetime.trust_clock)?.as_millis()).ok();
        let told = Told {
            expires_in: response.expires_in,
            text: response.lifetime_text,
            expires_at: response.expires_at,
            access_token: response.access_token,
            now: answer::server_time(headers).or_else(device_time),
        };
        let api = endpoint
            .api
            .as_ref()
            .map(|api| Ok((api.name.clone(), api.value(endpoint, response.access_token, &members)?)));
        let has_secret = endpoint.api.as_ref().is_some_and(|api| api.has_secret(endpoint));
        let judged = endpoint.lifetime.judge(&told, sent_at);
        Ok(Self::new(&response, judged, members, api.transpose()?, false, has_secret))
    }

    /// Returns an error if the token had expired when it arrived.
    pub(crate) fn in_time(&self, status: u16, sent_at: Duration, arrived_at: Duration) -> Result<(), Error> {
        if !self.is_expired(arrived_at) {
            return Ok(());
        }
        // The date in the answer is the cause, and not the time that the answer took.
        if self.is_expired(sent_at) {
            return Err(Error::new(ErrorKind::Unusable, "the token had expired when the server answered")
                .with_status(status)
                .with_hint("the date at which it expires is not after the answer's own `Date`"));
        }
        let tenths = arrived_at.saturating_sub(sent_at).as_millis() / 100;
        let (late, tenths) = (tenths / 10, tenths % 10);
        Err(Error::new(
            ErrorKind::Unusable,
            format!("the token had expired when it arrived, {late}.{tenths} s after the request was sent"),
        )
        .with_status(status)
        .with_hint("the connection is slower than the token's life: ask whoever runs the server for a longer one"))
    }
}
