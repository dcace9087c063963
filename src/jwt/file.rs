//! Reads a key: PEM, DER, JWK, or Google's service-account file.

use super::{Key, Pair};
use crate::base64;
use crate::der::{Element, INTEGER, SEQUENCE};
use crate::error::Error;
use crate::json::{self, Kind, Wanted};
use crate::pem::{self, Broken};
use crate::secret::Secret;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use ring::error::KeyRejected;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::KeyPairComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
    RsaPublicKeyComponents,
};
use zeroize::Zeroizing;

const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const BITS: u8 = 0x03;
/// `[0]` and `[1]` of SEC 1 (RFC 5915 section 3).
const CURVE: u8 = 0xA0;
const POINT: u8 = 0xA1;

const P256: &[u8] = b"\x2A\x86\x48\xCE\x3D\x03\x01\x07";
const P384: &[u8] = b"\x2B\x81\x04\x00\x22";

/// Reads a key and chooses its algorithm.
pub(super) fn read(bytes: &[u8], algorithm: Option<&str>) -> Result<Key, Error> {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii();
    let key = match text.first() {
        Some(b'{') => of_json(text)?,
        // A private key's file is not a shared secret.
        _ if algorithm == Some("HS256") && !is_private_key(bytes) => {
            let secret = bytes.strip_suffix(b"\n").map_or(bytes, |text| text.strip_suffix(b"\r").unwrap_or(text));
            self::secret(secret)
        }
        // Not `text`: white space may be a part of the key.
        Some(&SEQUENCE) if Element::read(bytes).is_some() => Key::of(of_der(bytes)?),
        _ => Key::of(of_pem(text)?),
    };
    key.with_algorithm(algorithm)
}

/// Returns whether these bytes are the file of a private key.
fn is_private_key(bytes: &[u8]) -> bool {
    let is_der = bytes.first() == Some(&SEQUENCE) && of_der(bytes).is_ok();
    is_der || bytes.windows(11).any(|label| label == b"-----BEGIN ")
}

/// Returns the key of HS256.
pub(super) fn secret(bytes: &[u8]) -> Key {
    Key::of(Pair::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes))))
}

impl Key {
    fn of(pair: Pair) -> Self {
        let (_, algorithms) = pair.algorithms();
        Self { algorithm: algorithms[0], pair, id: None, issuer: None }
    }

    fn with_algorithm(self, wanted: Option<&str>) -> Result<Self, Error> {
        let Some(wanted) = wanted else { return Ok(self) };
        let (kind, known) = self.pair.algorithms();
        match known.iter().find(|known| **known == wanted) {
            Some(algorithm) => Ok(Self { algorithm, ..self }),
            None => Err(fault(&format!("it is {kind}, which signs with {}, not with {wanted:?}", known.join(" or ")))
                .with_hint("leave the algorithm out, or use another key (`Assertion::algorithm`)")),
        }
    }
}

fn fault(why: &str) -> Error {
    Error::config(format!("signing key: {why}"))
}

const KINDS: &str = "it must be EC on P-256 or P-384, Ed25519, or RSA: \
                     (umask 077; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem)";

/// The registered types, curves and algorithms of keys (RFC 7518 sections 3.1, 6.1 and 6.2, RFC 8037, RFC 8812).
const REGISTERED: [&str; 24] = [
    "EC",
    "RSA",
    "OKP",
    "oct",
    "P-256",
    "P-384",
    "P-521",
    "secp256k1",
    "Ed25519",
    "Ed448",
    "X25519",
    "X448",
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "EdDSA",
];

/// Returns a name in a key's file as it may be shown. Any other text may be a part of the key, in a wrong place.
fn registered(name: &str) -> &'static str {
    REGISTERED.iter().find(|known| **known == name).copied().unwrap_or("‹unknown›")
}

fn unsupported(kind: &str) -> Error {
    fault(&format!("{kind} is not supported")).with_hint(KINDS)
}

/// Returns a label of PEM as it may be shown: labels are words in capitals.
fn shown(label: &str) -> &str {
    let is_label = |byte: u8| byte.is_ascii_uppercase() || byte == b' ' || byte.is_ascii_digit();
    if label.len() <= 32 && label.bytes().all(is_label) { label } else { "‹unknown›" }
}

fn of_pem(text: &[u8]) -> Result<Pair, Error> {
    let mut other = None;
    for section in pem::sections(text) {
        let section = section.map_err(|Broken| fault("this is not PEM"))?;
        match section.label {
            label if label.ends_with("PRIVATE KEY") && section.is_encrypted => {
                return Err(pem::encrypted("signing key"));
            }
            "OPENSSH PRIVATE KEY" => {
                return Err(fault("it is in OpenSSH's own format")
                    .with_hint("convert a copy of it: ssh-keygen -p -m PKCS8 -N '' -f copy"));
            }
            "DSA PRIVATE KEY" => return Err(unsupported("DSA")),
            label if label.ends_with("PRIVATE KEY") => return of_der(&section.der),
            label => other = other.or(Some(label)),
        }
    }
    Err(match other {
        Some(label) => fault(&format!("there is no private key in it, only {:?}", shown(label))),
        None => fault("it is neither PEM nor DER, and no JSON"),
    }
    .with_hint("it must be a private key: -----BEGIN PRIVATE KEY-----, a JWK or a service-account file"))
}

/// Reads PKCS #8 (RFC 5958), SEC 1 (RFC 5915) or PKCS #1 (RFC 8017 appendix A.1.2), whatever the label says: labels may
/// be wrong, and OpenSSL writes SEC 1 as DER but PKCS #8 as PEM.
fn of_der(der: &[u8]) -> Result<Pair, Error> {
    let parse = || {
        let first = Element::read(Element::read(der)?.content(SEQUENCE)?)?;
        let second = first.next()?;
        Some((first, second))
    };
    let damaged = || fault("it is damaged, or of an unknown kind").with_hint(KINDS);
    let (first, second) = parse().ok_or_else(damaged)?;
    match (first.tag, second.tag) {
        (INTEGER, OCTETS) => of_sec1(second, None),
        (INTEGER, INTEGER) => of_pkcs1(der),
        (SEQUENCE, OCTETS) => Err(pem::encrypted("signing key")),
        (SEQUENCE, BITS) => Err(fault("it is a public key, and only a private key can sign")),
        (INTEGER, SEQUENCE) => {
            let kind = Element::read(second.content).filter(|kind| kind.tag == OID).ok_or_else(damaged)?;
            let key = second.next().and_then(|key| key.content(OCTETS)).ok_or_else(damaged)?;
            match kind.content {
                b"\x2A\x86\x48\xCE\x3D\x02\x01" => {
                    let key = Element::read(key).and_then(|key| Element::read(key.content(SEQUENCE)?)?.next());
                    of_sec1(key.ok_or_else(damaged)?, kind.next())
                }
                b"\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01" => of_pkcs1(key),
                b"\x2B\x65\x70" => {
                    let seed = Element::read(key).and_then(|seed| seed.content(OCTETS)).ok_or_else(damaged)?;
                    // The public key of version 2 may follow. It is computed from the private key instead.
                    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| damaged())?;
                    Ok(Pair::Ed25519(Box::new(pair)))
                }
                b"\x2B\x65\x71" => Err(unsupported("Ed448")),
                b"\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0A" => Err(unsupported("RSA-PSS as the kind of the key")
                    .with_hint(
                        "make a plain RSA key, which signs with PS256 as well: \
                         (umask 077; openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem)",
                    )),
                b"\x2A\x86\x48\xCE\x38\x04\x01" => Err(unsupported("DSA")),
                b"\x2B\x65\x6E" | b"\x2B\x65\x6F" => Err(unsupported("X25519 or X448, which cannot sign,")),
                _ => Err(damaged()),
            }
        }
        _ => Err(damaged()),
    }
}

/// Reads an elliptic-curve key, starting with its number. PKCS #8 has the curve outside, SEC 1 after the number.
fn of_sec1(number: Element<'_>, curve: Option<Element<'_>>) -> Result<Pair, Error> {
    let damaged = || fault("the EC key is damaged");
    let d = number.content(OCTETS).ok_or_else(damaged)?;
    let mut inner = None;
    let mut point = None;
    let mut next = number.next();
    while let Some(element) = next {
        match element.tag {
            CURVE => inner = Element::read(element.content),
            POINT => point = Element::read(element.content).and_then(|bits| bits.content(BITS)),
            _ => {}
        }
        next = element.next();
    }
    let curve = curve.or(inner).ok_or_else(damaged)?;
    match (curve.tag, curve.content) {
        (OID, P256 | P384) => {
            // Its first byte is the number of unused bits.
            let point = point.and_then(|point| point.strip_prefix(b"\0")).ok_or_else(|| {
                fault("the EC key has no public key with it").with_hint("add it: openssl ec -in key.pem -out new.pem")
            })?;
            ec(curve.content == P256, d, point)
        }
        (OID, b"\x2B\x81\x04\x00\x23") => Err(unsupported("P-521")),
        (OID, b"\x2B\x81\x04\x00\x0A") => Err(unsupported("secp256k1")),
        (OID, _) => Err(unsupported("this elliptic curve")),
        _ => Err(fault("the EC key spells out the curve's parameters, in place of its name")
            .with_hint("convert it: openssl ec -in key.pem -param_enc named_curve -out new.pem")),
    }
}

fn ec(is_p256: bool, d: &[u8], point: &[u8]) -> Result<Pair, Error> {
    let (length, algorithm) = match is_p256 {
        true => (32, &ECDSA_P256_SHA256_FIXED_SIGNING),
        false => (48, &ECDSA_P384_SHA384_FIXED_SIGNING),
    };
    let d = padded(d, length);
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &d, point, &SystemRandom::new());
    let pair = Box::new(pair.map_err(|error| rejected("EC", error))?);
    Ok(if is_p256 { Pair::P256(pair) } else { Pair::P384(pair) })
}

fn of_pkcs1(der: &[u8]) -> Result<Pair, Error> {
    RsaKeyPair::from_der(der).map(|pair| Pair::Rsa(Box::new(pair))).map_err(|error| rejected("RSA", error))
}

/// Returns the error for a rejected key. ring's texts name a rule, never a part of the key.
fn rejected(kind: &str, error: KeyRejected) -> Error {
    let error = fault(&format!("the {kind} key is not accepted: {error}"));
    match kind {
        "RSA" => error.with_hint(
            "it must have 2048 to 4096 bits, two primes, and an exponent of 65537 or more: \
             (umask 077; openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem)",
        ),
        _ => error,
    }
}

/// Returns a number with the length that the curve requires: some writers remove leading zeros, and some add one.
fn padded(number: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let zeros = number.iter().take(number.len().saturating_sub(length)).take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.max(number.len())));
    bytes.resize(length.saturating_sub(number.len()), 0);
    bytes.extend_from_slice(number);
    bytes
}

/// Reads a JWK, or Google's file, which contains PKCS #8 in PEM.
fn of_json(text: &[u8]) -> Result<Key, Error> {
    const NAMES: [&str; 16] = [
        "private_key",
        "private_key_id",
        "client_email",
        "kty",
        "crv",
        "alg",
        "kid",
        "d",
        "x",
        "y",
        "n",
        "e",
        "p",
        "q",
        "dp",
        "dq",
    ];
    let mut wanted = NAMES.map(Wanted::new);
    let broken = |reason: &str, offset| fault(&format!("it is not JSON: {reason}, at byte {offset}"));
    let found = json::scan(text, &mut wanted).map_err(|why| broken(why.reason, why.offset))?;
    if let Some(twice) = found.twice {
        return Err(broken(twice.reason, twice.offset));
    }
    let [private_key, private_key_id, client_email, kty, crv, alg, kid, d, x, y, n, e, p, q, dp, dq] =
        wanted.map(|wanted| text_of(text, &wanted));
    if let Some(private_key) = private_key {
        let key = Key::of(of_pem(private_key.expose().as_bytes())?);
        let plain = |text: Secret| text.expose().to_owned();
        return Ok(Key { id: private_key_id.map(plain), issuer: client_email.map(plain), ..key });
    }
    let number = |name: &str, member: Option<Secret>| {
        let missing = || fault(&format!("the JWK has no {name:?}, or not in base64url"));
        member.and_then(|text| base64::url(text.expose())).ok_or_else(missing)
    };
    let curve = crv.as_ref().map_or("", Secret::expose);
    let pair = match (kty.as_ref().map(Secret::expose), curve) {
        (Some("EC"), "P-256" | "P-384") => {
            let is_p256 = curve == "P-256";
            let length = if is_p256 { 32 } else { 48 };
            let (x, y) = (padded(&number("x", x)?, length), padded(&number("y", y)?, length));
            ec(is_p256, &number("d", d)?, &[b"\x04", &x[..], &y].concat())?
        }
        (Some("OKP"), "Ed25519") => {
            let pair = Ed25519KeyPair::from_seed_and_public_key(&number("d", d)?, &number("x", x)?);
            Pair::Ed25519(Box::new(pair.map_err(|error| rejected("Ed25519", error))?))
        }
        (Some("RSA"), _) => {
            if p.is_none() {
                return Err(fault("the JWK lacks the primes: n, e and d alone are not enough")
                    .with_hint("export it again with p, q, dp, dq and qi, or as PEM"));
            }
            let mut qi = [Wanted::new("qi")];
            // This cannot fail: the same text has been read before.
            let _ = json::scan(text, &mut qi);
            let qi = number("qi", text_of(text, &qi[0]))?;
            let (n, e, d) = (number("n", n)?, number("e", e)?, number("d", d)?);
            let (p, q, dp, dq) = (number("p", p)?, number("q", q)?, number("dp", dp)?, number("dq", dq)?);
            let components = KeyPairComponents {
                public_key: RsaPublicKeyComponents { n: &n[..], e: &e[..] },
                d: &d[..],
                p: &p[..],
                q: &q[..],
                dP: &dp[..],
                dQ: &dq[..],
                qInv: &qi[..],
            };
            Pair::Rsa(Box::new(RsaKeyPair::from_components(&components).map_err(|error| rejected("RSA", error))?))
        }
        (Some("oct"), _) => {
            let mut k = [Wanted::new("k")];
            let _ = json::scan(text, &mut k);
            secret(&number("k", text_of(text, &k[0]))?).pair
        }
        (Some(kty), curve) => {
            let (kty, curve) = (registered(kty), if curve.is_empty() { "" } else { registered(curve) });
            return Err(unsupported(format!("a JWK of the type {kty:?} {curve}").trim_end()));
        }
        (None, _) => {
            return Err(fault("it is JSON, but neither a JWK (`kty`) nor a service-account file (`private_key`)"));
        }
    };
    let key = Key { id: kid.map(|id| id.expose().to_string()), ..Key::of(pair) };
    key.with_algorithm(alg.as_ref().map(|alg| registered(alg.expose())))
}

fn text_of(text: &[u8], wanted: &Wanted<'_>) -> Option<Secret> {
    json::text(text, wanted.span.filter(|span| span.kind == Kind::String)?, false)
}
