//! Signs assertions with a key in a security chip, in a vault or in another process.

use crate::error::Error;
use crate::secret::Secret;
use alloc::vec::Vec;

/// Signs assertions with a key that is kept elsewhere: in a TPM, a smart card, a key management service.
///
/// A key in a file needs no signer: use [`Assertion::new`](crate::Assertion::new).
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
    /// Returns the registered name of the algorithm (RFC 7518 section 3.1), such as `ES256`.
    fn algorithm(&self) -> &str;

    /// Returns the key's id, for the header member `kid`. Default: none. [`Assertion::key_id`](crate::Assertion::key_id)
    /// overrides it.
    fn key_id(&self) -> Option<&str> {
        None
    }

    /// Returns the party to which the key was issued, for the claim `iss`. Default: none, which makes the client id the
    /// issuer.
    fn issuer(&self) -> Option<&str> {
        None
    }

    /// Signs `message` itself, not its digest. Returns the signature in the format of RFC 7518: for ECDSA the
    /// concatenation of r and s, not DER.
    ///
    /// # Errors
    ///
    /// Any error that prevents the signature. The request is then not sent.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;

    /// Returns a text that identifies this key and is the same for each signature: its public key, or its place and
    /// number. Tokens and refusals in a [`Store`](crate::Store) or a cache are bound to this text.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if the key cannot be found.
    fn identity(&self) -> Result<Secret, Error>;
}
