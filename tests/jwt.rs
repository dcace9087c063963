//! Keys of each form and algorithm, and the assertions that are signed with them: verified with the `openssl` command.

#![cfg(feature = "jwt")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/jwt.rs"]
mod assertions;

use assertions::{decoded, path};
use keyfob::{Assertion, ClientCredentials, Endpoint, Error, ErrorKind, Grant, Request, SecretSource};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn key(name: &str) -> Assertion {
    Assertion::new(SecretSource::file(path(name))).random(|| Ok([7; 16]))
}

/// The client assertion of a request for a token, taken apart: header, claims, what is signed, and the signature.
fn signed(assertion: Assertion) -> Result<[Vec<u8>; 4], Error> {
    signed_by(ClientCredentials::default().client_id("my-client").assertion(assertion))
}

fn signed_by(credentials: ClientCredentials) -> Result<[Vec<u8>; 4], Error> {
    let endpoint = Endpoint::new("https://as.example/token?tenant=1")?;
    let request = Request::token_at(NOW, &endpoint, &credentials, &Grant::client_credentials())?;
    let body = std::str::from_utf8(request.body().unwrap()).unwrap();
    let start = "grant_type=client_credentials&client_id=my-client&client_assertion_type=\
                 urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=";
    let text = body.strip_prefix(start).unwrap();
    let (message, signature) = text.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    Ok([decoded(header), decoded(claims), message.into(), decoded(signature)])
}

fn texts(assertion: Assertion) -> (String, String) {
    let [header, claims, ..] = signed(assertion).unwrap();
    (String::from_utf8(header).unwrap(), String::from_utf8(claims).unwrap())
}

/// r and s as DER has them.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let zeros = half.iter().take_while(|byte| **byte == 0).count();
        let mut number = half[zeros..].to_vec();
        if number[0] >= 0x80 {
            number.insert(0, 0);
        }
        [&[2, number.len() as u8], &number[..]].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let both = [integer(r), integer(s)].concat();
    [&[0x30, both.len() as u8], &both[..]].concat()
}

fn openssl(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn has_openssl() -> bool {
    let is_there = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    assert!(is_there || std::env::var_os("CI").is_none(), "openssl is not there");
    is_there
}

/// Verifies a signature with the openssl command and the public half of `key`, which it can read.
fn verifies(algorithm: &str, key: &str, message: &[u8], signature: &[u8], name: &str) -> bool {
    let place = |kind: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("jwt-{name}.{kind}"));
    let (public, text, sealed) = (place("public"), place("text"), place("signature"));
    let key = path(key);
    let names = [&key, &public, &text, &sealed].map(|path| path.to_str().unwrap());
    let [key, public, text, sealed] = names;
    std::fs::write(text, message).unwrap();
    let is_ecdsa = algorithm.starts_with("ES");
    std::fs::write(sealed, if is_ecdsa { der(signature) } else { signature.to_vec() }).unwrap();
    assert!(openssl(&["pkey", "-in", key, "-pubout", "-out", public]).0, "{key}");
    let mut words = match algorithm {
        "EdDSA" | "Ed25519" => {
            vec!["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-in", text, "-sigfile", sealed]
        }
        "ES384" => vec!["dgst", "-sha384", "-verify", public, "-signature", sealed],
        _ => vec!["dgst", "-sha256", "-verify", public, "-signature", sealed],
    };
    if algorithm == "PS256" {
        words.extend(["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]);
    }
    if words[0] == "dgst" {
        words.push(text);
    }
    openssl(&words).0
}

#[test]
fn each_form_of_a_key_signs_what_openssl_verifies() {
    if !has_openssl() {
        return;
    }
    for (file, wanted, algorithm, id, by) in [
        ("p256.pem", None, "ES256", None, "p256.pem"),
        ("p256.pem", Some("ES256"), "ES256", None, "p256.pem"),
        ("p256.sec1.pem", None, "ES256", None, "p256.pem"),
        ("p256.parameters.pem", None, "ES256", None, "p256.pem"),
        ("p256.der", None, "ES256", None, "p256.pem"),
        ("p256.pkcs8.der", None, "ES256", None, "p256.pem"),
        ("p256.jwk", None, "ES256", Some("p256-1"), "p256.pem"),
        ("p384.pem", None, "ES384", None, "p384.pem"),
        ("p384.sec1.pem", None, "ES384", None, "p384.pem"),
        ("p384.jwk", None, "ES384", Some("p384-1"), "p384.pem"),
        ("ed25519.pem", None, "EdDSA", None, "ed25519.pem"),
        ("ed25519.pem", Some("Ed25519"), "Ed25519", None, "ed25519.pem"),
        ("ed25519.der", None, "EdDSA", None, "ed25519.pem"),
        ("ed25519.jwk", None, "EdDSA", None, "ed25519.pem"),
        ("rsa.pem", None, "RS256", None, "rsa.pem"),
        ("rsa.pem", Some("PS256"), "PS256", None, "rsa.pem"),
        ("rsa.pkcs1.pem", None, "RS256", None, "rsa.pem"),
        ("rsa.der", None, "RS256", None, "rsa.pem"),
        ("rsa.jwk", None, "PS256", Some("rsa-1"), "rsa.pem"),
        ("rsa.jwk", Some("RS256"), "RS256", Some("rsa-1"), "rsa.pem"),
        ("service-account.json", None, "RS256", Some("0a1b2c3d"), "rsa.pem"),
    ] {
        let row = format!("{file}-{}", wanted.unwrap_or("default"));
        let assertion = wanted.into_iter().fold(key(file), Assertion::algorithm);
        let [header, _, message, mut signature] = signed(assertion).unwrap_or_else(|error| panic!("{row}: {error:?}"));
        let id = id.map(|id| format!(r#","kid":"{id}""#)).unwrap_or_default();
        let expected = format!(r#"{{"alg":"{algorithm}","typ":"JWT"{id}}}"#);
        assert_eq!(String::from_utf8(header).unwrap(), expected, "{row}");
        assert!(verifies(algorithm, by, &message, &signature, &row), "{row}");
        signature[9] ^= 1;
        assert!(!verifies(algorithm, by, &message, &signature, &row), "{row}");
    }
}

/// By Python's `cryptography`, which tests/servers/start installs, and compared with what openssl signs.
#[test]
fn an_independent_implementation_verifies_each_algorithm() {
    let rows = [
        ("ES256", "p256.pem"),
        ("ES384", "p384.pem"),
        ("EdDSA", "ed25519.pem"),
        ("RS256", "rsa.pem"),
        ("PS256", "rsa.pem"),
        ("HS256", "README.md"),
    ];
    let (mut lines, mut expected) = (String::new(), String::new());
    for (algorithm, file) in rows {
        let assertion = match algorithm {
            // Bytes that are no text of a key. The end of its last line does not count.
            "HS256" => Assertion::new(SecretSource::value(std::fs::read_to_string(path(file)).unwrap())),
            _ => key(file),
        };
        let assertion = assertion.algorithm(algorithm).random(|| Ok([7; 16])).key_id("k").claim("name", "Zoë \"\\");
        let [header, claims, message, signature] = signed(assertion).unwrap();
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jwt-verified-secret");
        std::fs::write(&shared, std::fs::read_to_string(path(file)).unwrap().trim_end_matches('\n')).unwrap();
        let file = if algorithm == "HS256" { shared } else { path(file) };
        let mut wrong = signature.clone();
        wrong[9] ^= 1;
        for bytes in [signature, wrong] {
            let message = std::str::from_utf8(&message).unwrap();
            lines += &format!("{algorithm} {} {message}.{}\n", file.display(), assertions::encoded(&bytes));
        }
        let [header, claims] = [header, claims].map(|part| String::from_utf8(part).unwrap().replace('ë', "\\u00eb"));
        expected += &format!("valid {header} {claims}\ninvalid signature\n");
    }
    let mut command = Command::new("bash");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/start")).arg("assertions");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    // It may have ended already.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    if output.status.code() == Some(77) && std::env::var_os("CI").is_none() {
        // Past the harness, which keeps the output of a test that passes to itself.
        let _ = writeln!(std::io::stderr(), "jwt: no verification by Python's cryptography, because {text}");
        return;
    }
    assert_eq!((output.status.code(), text), (Some(0), expected));
}

#[test]
fn a_shared_secret_signs_with_hs256() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let client = |secret: &str| ClientCredentials::default().client_id("my-client").client_secret(secret.to_owned());
    let by_client = || Assertion::with_client_secret().random(|| Ok([7; 16]));
    let [header, _, message, signature] = signed_by(client(SECRET).assertion(by_client())).unwrap();
    assert_eq!(String::from_utf8(header).unwrap(), r#"{"alg":"HS256","typ":"JWT"}"#);
    // The same secret from elsewhere. One that looks like a JWK is none.
    let in_file = |text: &str| Assertion::new(SecretSource::value(text)).algorithm("HS256").random(|| Ok([7; 16]));
    for assertion in
        [key("oct.jwk"), key("oct.jwk").algorithm("HS256"), in_file(SECRET), in_file(&format!("{SECRET}\n"))]
    {
        assert_eq!(signed(assertion).unwrap()[3], signature);
    }
    assert!(signed_by(client("{").assertion(by_client())).is_ok());
    if has_openssl() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jwt-hs256");
        std::fs::write(&file, message).unwrap();
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        let words =
            ["dgst", "-sha256", "-mac", "HMAC", "-macopt", &format!("hexkey:{hex}"), "-r", file.to_str().unwrap()];
        let expected: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(openssl(&words).1.split(' ').next(), Some(expected.as_str()));
    }
}

#[test]
fn a_key_that_cannot_sign_says_why_and_what_mends_it() {
    const KINDS: &str = "it must be EC on P-256 or P-384, Ed25519, or RSA: \
                         (umask 077; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem)";
    const RSA: &str = "it must have 2048 to 4096 bits, two primes, and an exponent of 65537 or more: \
                       (umask 077; openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem)";
    const ENCRYPTED: &str =
        "decrypt it into a file that others cannot read: (umask 077; openssl pkey -in encrypted.pem -out key.pem)";
    const PUBLIC: &str = "add it: openssl ec -in key.pem -out new.pem";
    const FORMS: &str = "it must be a private key: -----BEGIN PRIVATE KEY-----, a JWK or a service-account file";
    for (file, message, hint) in [
        ("p256.sec1.no-public.pem", "the EC key has no public key with it", PUBLIC),
        ("p256.pkcs8.no-public.pem", "the EC key has no public key with it", PUBLIC),
        (
            "p256.explicit.pem",
            "the EC key spells out the curve's parameters, in place of its name",
            "convert it: openssl ec -in key.pem -param_enc named_curve -out new.pem",
        ),
        ("p256.encrypted.pem", "it is encrypted, and keyfob cannot ask for its password", ENCRYPTED),
        ("p256.sec1.encrypted.pem", "it is encrypted, and keyfob cannot ask for its password", ENCRYPTED),
        ("p256.public.pem", "there is no private key in it, only \"PUBLIC KEY\"", FORMS),
        ("../tls/ca.pem", "there is no private key in it, only \"CERTIFICATE\"", FORMS),
        ("README.md", "it is neither PEM nor DER, and no JSON", FORMS),
        ("p521.pem", "P-521 is not supported", KINDS),
        ("secp256k1.pem", "secp256k1 is not supported", KINDS),
        ("ed448.pem", "Ed448 is not supported", KINDS),
        ("x25519.pem", "X25519 or X448, which cannot sign, is not supported", KINDS),
        ("dsa.pem", "DSA is not supported", KINDS),
        (
            "rsa.pss.pem",
            "RSA-PSS as the kind of the key is not supported",
            "make a plain RSA key, which signs with PS256 as well: \
             (umask 077; openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem)",
        ),
        ("rsa.1024.pem", "the RSA key is not accepted: TooSmall", RSA),
        ("rsa.e3.pem", "the RSA key is not accepted: TooSmall", RSA),
        ("rsa.3-primes.pem", "the RSA key is not accepted: VersionNotSupported", RSA),
        ("rsa.8192.pem", "the RSA key is not accepted: TooLarge", RSA),
        (
            "rsa.no-primes.jwk",
            "the JWK lacks the primes: n, e and d alone are not enough",
            "export it again with p, q, dp, dq and qi, or as PEM",
        ),
        ("openssh.pem", "it is in OpenSSH's own format", "convert a copy of it: ssh-keygen -p -m PKCS8 -N '' -f copy"),
    ] {
        let error = signed(key(file)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{file}");
        assert_eq!((error.to_string(), error.hint()), (format!("signing key: {message}"), Some(hint)), "{file}");
    }
    for (text, message) in [
        (r#"{"kty": "EC", "crv": "P-521", "d": "AA"}"#, r#"a JWK of the type "EC" P-521 is not supported"#),
        // What is no registered name may be a part of the key, in a wrong place.
        (r#"{"kty": "EC", "crv": "MIGHAgEAMBMG", "d": "AA"}"#, r#"a JWK of the type "EC" ‹unknown› is not supported"#),
        (r#"{"kty": "MIGHAgEAMBMG", "d": "AA"}"#, r#"a JWK of the type "‹unknown›" is not supported"#),
        (
            "-----BEGIN MIGHAgEAMBMG-----\nAA==\n-----END MIGHAgEAMBMG-----\n",
            r#"there is no private key in it, only "‹unknown›""#,
        ),
        (r#"{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}"#, r#"the JWK has no "d", or not in base64url"#),
        (r#"{"kty": "EC", "crv": "P-256", "x": "A+", "y": "AA"}"#, r#"the JWK has no "x", or not in base64url"#),
        (
            r#"{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA"}"#,
            "the EC key is not accepted: InvalidComponent",
        ),
        ("{}", "it is JSON, but neither a JWK (`kty`) nor a service-account file (`private_key`)"),
        (r#"{"kty": "EC""#, "it is not JSON: the JSON text is cut off, at byte 12"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n", "this is not PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "it is damaged, or of an unknown kind"),
    ] {
        let error = signed(Assertion::new(SecretSource::value(text))).unwrap_err();
        assert_eq!(error.to_string(), format!("signing key: {message}"), "{text}");
    }
    for (file, algorithm, message) in [
        ("p256.pem", "RS256", "it is an EC key on P-256, which signs with ES256, not with \"RS256\""),
        ("rsa.pem", "RS512", "it is an RSA key, which signs with RS256 or PS256, not with \"RS512\""),
        ("p256.pem", "HS256", "it is an EC key on P-256, which signs with ES256, not with \"HS256\""),
        ("p256.der", "HS256", "it is an EC key on P-256, which signs with ES256, not with \"HS256\""),
        ("rsa.pem", "HS256", "it is an RSA key, which signs with RS256 or PS256, not with \"HS256\""),
        ("p256.public.pem", "HS256", "there is no private key in it, only \"PUBLIC KEY\""),
        ("oct.jwk", "ES256", "it is a shared secret, which signs with HS256, not with \"ES256\""),
    ] {
        let error = signed(key(file).algorithm(algorithm)).unwrap_err();
        assert_eq!(error.to_string(), format!("signing key: {message}"));
    }
}

#[test]
fn the_header_names_no_other_algorithm() {
    let error = signed(key("p256.pem").header("alg", "none")).unwrap_err();
    assert_eq!(error.to_string(), "the assertion's header cannot set `alg`: the key and its algorithm do");
}

/// No cut and no changed byte of a key makes the reader panic, and what is refused is refused as configuration.
#[test]
fn a_damaged_key_is_an_error() {
    for file in ["p256.der", "p256.pkcs8.der", "ed25519.der", "p256.jwk", "p256.sec1.pem", "p521.pem"] {
        let whole = std::fs::read(path(file)).unwrap();
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("jwt-damaged-{file}"));
        let check = |bytes: &[u8]| {
            std::fs::write(&place, bytes).unwrap();
            if let Err(error) = signed(Assertion::new(SecretSource::file(&place))) {
                assert_eq!(error.kind(), ErrorKind::Config);
                assert!(!error.to_string().contains('\u{FFFD}'));
            }
        };
        (0..whole.len()).for_each(|end| check(&whole[..end]));
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x41;
            check(&changed);
        }
    }
}

#[test]
fn claims_and_header_are_as_described() {
    let (header, claims) = texts(key("ed25519.pem"));
    assert_eq!(header, r#"{"alg":"EdDSA","typ":"JWT"}"#);
    assert_eq!(
        claims,
        r#"{"iss":"my-client","sub":"my-client","aud":"https://as.example/token","iat":1799999990,"exp":1800000120,"#
            .to_owned()
            + r#""jti":"BwcHBwcHBwcHBwcHBwcHBw"}"#
    );
    let changed = key("ed25519.pem")
        .key_id("a \"b\"")
        .header("typ", "client-authentication+jwt")
        .header("x5t#S256", "AbC")
        .audience("first")
        .audience("https://as.example")
        .claim("iss", "é")
        .json_claim("sub", "null")
        .unwrap()
        .json_claim("groups", r#"[ "a", {"b": 1.5, "c": false} ]"#)
        .unwrap()
        .lifetime(Duration::from_secs(60));
    let (header, claims) = texts(changed);
    assert_eq!(header, r#"{"alg":"EdDSA","kid":"a \"b\"","typ":"client-authentication+jwt","x5t#S256":"AbC"}"#);
    assert_eq!(
        claims,
        r#"{"iat":1799999990,"exp":1800000060,"jti":"BwcHBwcHBwcHBwcHBwcHBw","aud":"https://as.example","iss":"é","#
            .to_owned()
            + r#""groups":["a",{"b":1.5,"c":false}]}"#
    );
    // Google's file names the issuer, and the subject is left to the user.
    let (_, claims) = texts(key("service-account.json").claim("scope", "a b"));
    assert!(
        claims.starts_with(r#"{"iss":"meter@keyfob.iam.example","aud":"https://as.example/token","iat""#),
        "{claims}"
    );
    assert!(claims.ends_with(r#","scope":"a b"}"#), "{claims}");
    // jti differs each time.
    let fresh = || texts(Assertion::new(SecretSource::file(path("p256.pem")))).1;
    assert_ne!(fresh(), fresh());
    let error = key("p256.pem").json_claim("sub", "{").unwrap_err();
    assert_eq!(error.to_string(), "claim `sub`: its value is not JSON");
}

/// What is shown of it holds neither key nor claims.
#[test]
fn debug_shows_no_secret() {
    let text = format!("{:?}", Assertion::new(SecretSource::value("hunter2")).claim("email", "alice@example"));
    assert!(text.contains("email") && !text.contains("hunter2") && !text.contains("alice"), "{text}");
}
