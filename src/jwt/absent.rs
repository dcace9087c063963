//! The stand-in for `jwt.rs` in a build that does not sign.

use crate::error::Error;
use crate::signer::Signer;

pub(crate) fn with_key<T>(
    _: &[u8],
    _: Option<&str>,
    _: impl FnOnce(&dyn Signer) -> Result<T, Error>,
) -> Result<T, Error> {
    Err(absent("it cannot sign with a key"))
}

pub(crate) fn with_secret<T>(_: &str, _: impl FnOnce(&dyn Signer) -> Result<T, Error>) -> Result<T, Error> {
    Err(absent("it cannot sign with the client secret"))
}

/// Returns 16 random bytes, for a user's own signer.
pub(crate) fn random() -> Result<[u8; 16], Error> {
    #[cfg(all(feature = "std", unix))]
    {
        use std::io::Read;
        let mut bytes = [0; 16];
        if std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).is_ok() {
            return Ok(bytes);
        }
    }
    Err(absent("it has no random numbers for an assertion (`Assertion::random`)"))
}

fn absent(what: &str) -> Error {
    Error::config(alloc::format!("this build has no signatures: {what}"))
        .with_hint("build keyfob with the feature `jwt`, and the command with `tls`")
}
