//! The auto traits and sizes of the public types: a change of these breaks programs without a change of any signature.

use keyfob::*;

const fn send_sync<T: Send + Sync>() {}
const fn unpin<T: Unpin>() {}

macro_rules! each {
    ($($type:ty),* $(,)?) => {
        $(const _: () = { send_sync::<$type>(); unpin::<$type>(); };)*
    };
}

each!(
    AccessToken,
    Assertion,
    Client,
    ClientAuthentication,
    ClientCredentials,
    Endpoint,
    Error,
    ErrorKind,
    Event<'static>,
    ExpiresIn,
    Exposed<'static>,
    Grant,
    Lifetime,
    LifetimeRules,
    LifetimeUnit,
    Malformed,
    Members,
    Method,
    NotPositive,
    OAuthRefusal<'static>,
    Parameters,
    Rejection<'static>,
    Request,
    Response,
    Revocation,
    Secret,
    SecretSource,
    Spread,
    Timing,
    TokenCache,
    TokenResponse<'static>,
);

#[cfg(feature = "std")]
each!(BootClock, SharedTokenCache);

#[cfg(all(feature = "std", unix))]
each!(Store);

#[cfg(feature = "ureq")]
each!(Authorize, HttpTransport);

#[test]
fn what_a_program_hands_around_is_small() {
    let word = size_of::<usize>();
    assert_eq!(size_of::<Error>(), word);
    assert_eq!(size_of::<AccessToken>(), word);
    assert_eq!(size_of::<Result<AccessToken, Error>>(), 2 * word);
    assert_eq!(size_of::<Option<AccessToken>>(), word);
}
