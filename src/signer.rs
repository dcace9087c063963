//! The interface for signing: with a key in a security chip, in a vault, in another process.

use crate::error::Error;
use crate::secret::Secret;
use alloc::vec::Vec;

/// Signs assertions, wherever the key is: a TPM, a smart card, a key management service.
///
/// For a key in a file there is [`Assertion::new`](crate::Assertion::new), which needs no signer.
///
/// ```
/// use keyfob::{Assertion, Error, Secret, Signer};
///
/// struct Chip;
///
/// impl Signer for Chip {
///     fn algorithm(&self) -> &str {
///         "ES256"
///     }
///
///     fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
///         # let _ = message;
///         Ok(vec![0; 64]) // r and s, from the chip
///     }
///
///     fn identity(&self) -> Result<Secret, Error> {
///         Ok(Secret::from("slot 3, made 2026-11"))
///     }
/// }
///
/// let assertion = Assertion::with_signer(Chip).key_id("meter-7");
/// ```
pub trait Signer: Send + Sync {
    /// Returns the registered name of the algorithm (RFC 7518 section 3.1): `ES256`.
    fn algorithm(&self) -> &str;

    /// Returns the key's id, for the header member `kid`. Default: none. [`Assertion::key_id`](crate::Assertion::key_id)
    /// overrides it.
    fn key_id(&self) -> Option<&str> {
        None
    }

    /// Returns the party that the key was issued to, for the claim `iss`. Default: none, and the client id is the issuer.
    fn issuer(&self) -> Option<&str> {
        None
    }

    /// Signs `message` itself, not its digest. Returns the signature in the form of RFC 7518: for ECDSA r and s, one after the
    /// other, not DER.
    ///
    /// # Errors
    ///
    /// Whatever keeps the key from signing. Nothing is sent then.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;

    /// Returns a text that tells this key from other keys, and is the same for each signature: its public key, its place and
    /// number. Tokens and refusals that are shared through a [`Store`](crate::Store) or remembered by a cache belong to it.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if the key cannot be found.
    fn identity(&self) -> Result<Secret, Error>;
}
