//! The expiry that a JWT names. It is not verified, so it is good for nothing but to end a token earlier.

use crate::base64;
use crate::date::Milliseconds;
use crate::json::{self, Kind, Wanted};
use crate::number;

/// Returns the `exp` of a token (RFC 7519 section 4.1.4), if it is a signed JWT with one.
pub(super) fn exp(token: &str) -> Option<Milliseconds> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = base64::url(claims)?;
    let mut wanted = [Wanted::new("exp")];
    let found = json::scan(&claims, &mut wanted).ok()?;
    let span = wanted[0].span.filter(|span| span.kind == Kind::Number && found.twice.is_none())?;
    let number = number::whole(&claims[span.range()])?;
    let milliseconds = i64::try_from(number.value).ok()?.checked_mul(1000)?;
    Some(if number.is_negative { 0 } else { milliseconds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use alloc::format;

    #[test]
    fn the_exp_of_a_jwt() {
        for (claims, expected) in [
            (r#"{"exp":1795608000}"#, Some(1_795_608_000_000)),
            (r#"{"iss":"é?>","exp":1795608000.75,"iat":1}"#, Some(1_795_608_000_000)),
            (r#"{"exp":0}"#, Some(0)),
            (r#"{"exp":-5}"#, Some(0)),
            (r#"{"exp":1e400}"#, None),
            (r#"{"exp":"1795608000"}"#, None),
            (r#"{"exp":1,"exp":2}"#, None),
            (r#"{"iat":1795608000}"#, None),
            (r#"{"exp":17956080"#, None),
            ("[1]", None),
        ] {
            let text = encode::exact(|out| encode::base64_url(out, claims.as_bytes()));
            assert_eq!(exp(&format!("eyJhbGciOiJub25lIn0.{}.c2ln", text.expose())), expected, "{claims}");
        }
        for token in ["", "opaque", "a.b", "a.eyJleHAiOjF9", "a.eyJleHAiOjF9.c.d", "a.eyJl+HAi.c", "..", "a.é.c"] {
            assert_eq!(exp(token), None, "{token}");
        }
    }
}
