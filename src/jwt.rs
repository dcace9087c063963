//! Signs with keys from files, using ring.
//!
//! ring wipes no key. Here each key is in a box, so an allocator that wipes freed memory covers it, and the stack that
//! ring has used is overwritten.

mod file;

use crate::error::Error;
use crate::secret::Secret;
use crate::signer::Signer;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;
use core::mem::MaybeUninit;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair};
use ring::{error::Unspecified, hmac};
use zeroize::Zeroize;

/// A key that is ready to sign.
struct Key {
    pair: Pair,
    algorithm: &'static str,
    id: Option<String>,
    issuer: Option<String>,
}

enum Pair {
    P256(Box<EcdsaKeyPair>),
    P384(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Rsa(Box<RsaKeyPair>),
    Secret(Box<hmac::Key>),
}

impl Pair {
    /// Returns the kind of the key for messages, and the algorithms that it fits, with the default first.
    fn algorithms(&self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::P256(_) => ("an EC key on P-256", &["ES256"]),
            Self::P384(_) => ("an EC key on P-384", &["ES384"]),
            // The second is the newer name (RFC 9864).
            Self::Ed25519(_) => ("an Ed25519 key", &["EdDSA", "Ed25519"]),
            Self::Rsa(_) => ("an RSA key", &["RS256", "PS256"]),
            Self::Secret(_) => ("a shared secret", &["HS256"]),
        }
    }
}

impl Signer for Key {
    fn algorithm(&self) -> &str {
        self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, message).map(|signed| signed.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = match self.algorithm {
                    "PS256" => pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature),
                    _ => pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature),
                };
                signed.map(|()| signature)
            }
            Pair::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        };
        signature.map_err(|Unspecified| Error::config("signing key: it cannot sign, so it may be damaged"))
    }

    fn identity(&self) -> Result<Secret, Error> {
        Err(Error::new(crate::ErrorKind::Internal, "the identity of a key from a source is that of the source"))
    }
}

/// Calls `sign` with the key in the bytes of a file.
pub(crate) fn with_key<T>(
    bytes: &[u8],
    algorithm: Option<&str>,
    sign: impl FnOnce(&dyn Signer) -> Result<T, Error>,
) -> Result<T, Error> {
    scrubbed(|| sign(&file::read(bytes, algorithm)?))
}

/// Calls `sign` with a shared secret.
pub(crate) fn with_secret<T>(secret: &str, sign: impl FnOnce(&dyn Signer) -> Result<T, Error>) -> Result<T, Error> {
    scrubbed(|| sign(&file::secret(secret.as_bytes())))
}

/// Returns 16 random bytes of the operating system.
pub(crate) fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|Unspecified| Error::new(crate::ErrorKind::Internal, "the operating system has no random numbers"))?;
    Ok(bytes)
}

/// Overwrites the part of the stack that `sign` has used, whatever it returns.
fn scrubbed<T>(sign: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn apart<T>(sign: impl FnOnce() -> T) -> T {
        sign()
    }
    #[inline(never)]
    fn scrub() {
        // This is more than ring uses, even for RSA with 4096 bits: `tests/residue.rs` finds nothing below it.
        let mut stack = [const { MaybeUninit::<u64>::uninit() }; 8 * 1024];
        stack.as_mut_slice().zeroize();
        black_box(&stack);
    }
    let result = apart(sign);
    scrub();
    result
}
