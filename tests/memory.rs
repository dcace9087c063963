//! What keyfob promises about memory: reading an answer allocates nothing, using a token allocates nothing, and no
//! block of memory that is given back still holds a secret.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::time::Duration;
use keyfob::{
    AccessToken, Assertion, Client, Endpoint, Error, ErrorKind, Grant, Members, Request, Response, SecretSource,
    TokenCache, TokenResponse,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts this thread's allocations, and its blocks that hold a secret as they are given back.
struct Watching;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LEAKS: Cell<usize> = const { Cell::new(0) };
}

/// What is searched for in freed memory: the secrets of this file have it in common.
const SENTINEL: &[u8] = b"sentinel";
/// The same, in the three ways that base64 may cut it.
const ENCODED: [&[u8]; 3] = [b"c2VudGluZW", b"NlbnRpbmVs", b"zZW50aW5lb"];

fn count_leaks(block: &[u8]) {
    let holds = |needle: &[u8]| block.windows(needle.len()).any(|window| window == needle);
    if holds(SENTINEL) || ENCODED.iter().any(|encoded| holds(encoded)) {
        LEAKS.with(|leaks| leaks.set(leaks.get() + 1));
    }
}

// SAFETY: everything is handed on to the system's allocator, and a block is only looked at while it still is one: it was
// allocated zeroed, so all of its bytes may be read.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count_leaks(unsafe { core::slice::from_raw_parts(block, layout.size()) });
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// How many allocations, and how many leaks, the work makes.
fn watch<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = (ALLOCATIONS.get(), LEAKS.get());
    let result = work();
    (result, ALLOCATIONS.get() - before.0, LEAKS.get() - before.1)
}

#[test]
fn the_watch_sees_a_forgotten_copy() {
    let (_, allocations, leaks) = watch(|| drop(std::hint::black_box(String::from("a sentinel"))));
    assert_eq!((allocations, leaks), (1, 1));
    let (_, _, leaks) = watch(|| drop(std::hint::black_box(String::from("YSBzZW50aW5lbA=="))));
    assert_eq!(leaks, 1);
}

#[test]
fn reading_an_answer_allocates_nothing() {
    let nested = Members::new("data.access_token").unwrap();
    let plain = Members::default();
    let long = format!(r#"{{"access_token":"{}","scope":["a","\u0062"],"expires_in":"3600",}}"#, "x".repeat(8192));
    for (body, members, content_type, sound) in [
        (long.as_str(), &plain, "application/json", true),
        (r#"{"data":{"access_token":"a\/b\u0021","expires_in":3600.5},"x":[[[{}]]]}"#, &nested, "text/plain", true),
        ("access_token=a%2Fb&scope=a+b&expires_in=60", &plain, "application/x-www-form-urlencoded", true),
        (r#"{"error":"invalid_grant","error_description":"no\nway"}"#, &plain, "application/json", false),
        (r#"{"access_token":"a b"}"#, &plain, "application/json", false),
        ("<html>", &plain, "text/html", false),
        ("", &plain, "application/json", false),
        (r#"{"access_token":"#, &plain, "application/json", false),
    ] {
        let mut response = Response::new(200, body).with_header("content-type", content_type);
        let (is_token, allocations, _) = watch(|| TokenResponse::read(&mut response, members).is_ok());
        assert_eq!((is_token, allocations), (sound, 0), "{content_type}");
    }
}

#[test]
fn using_a_token_allocates_nothing() {
    let token = AccessToken::bearer("abc").unwrap();
    let (_, allocations, _) = watch(|| {
        let clone = token.clone();
        assert!(!clone.is_expired(Duration::from_secs(1)));
        assert_eq!(clone.remaining(Duration::ZERO), None);
        assert_eq!(clone.authorization().unwrap().expose(), "Bearer abc");
    });
    assert_eq!(allocations, 0);
}

/// Every secret of a fetch has the sentinel in it; what the server says comes as one block.
fn fetch(description: &str, grant: &Grant, status: u16, body: &'static str) -> Result<AccessToken, Error> {
    let endpoint =
        Endpoint::from_json(description)?.secret_header("X-Key", keyfob::SecretSource::value("key-sentinel"));
    let send = move |request: &Request| {
        assert!(request.headers().any(|(_, value)| value.contains("sentinel")));
        Ok(Response::new(status, body.as_bytes().to_vec()))
    };
    let client = Client::with_parts(endpoint, send, || Duration::from_secs(1));
    client.client_id("id").client_secret(keyfob::SecretSource::value("secret-sentinel")).fetch(grant)
}

/// A signature is worth a token, and so is a key.
#[test]
fn no_memory_is_given_back_with_a_key_or_an_assertion_in_it() {
    struct Chip;
    impl keyfob::Signer for Chip {
        fn algorithm(&self) -> &str {
            "ES256"
        }

        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
            Ok(b"a sentinel".to_vec())
        }

        fn identity(&self) -> Result<keyfob::Secret, Error> {
            Ok("slot-sentinel".into())
        }
    }
    let mut assertions: Vec<fn() -> Assertion> = vec![|| Assertion::with_signer(Chip)];
    if cfg!(feature = "jwt") {
        assertions.extend([
            (|| Assertion::new(SecretSource::value("key-sentinel")).algorithm("HS256")) as fn() -> Assertion,
            || {
                Assertion::new(SecretSource::value(
                    r#"{"kty":"oct","k":"c2VudGluZWwtc2VudGluZWwtc2VudGluZWwtMTIzNDU"}"#,
                ))
            },
            || Assertion::new(SecretSource::value(r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"c2VudGluZWw"}"#)),
            || {
                Assertion::new(SecretSource::value(
                    "-----BEGIN PRIVATE KEY-----\nc2VudGluZWwx\n-----END PRIVATE KEY-----",
                ))
            },
        ]);
    }
    for (index, make) in assertions.iter().enumerate() {
        for (status, body) in [(200, r#"{"access_token":"a"}"#), (401, r#"{"error":"invalid_client"}"#)] {
            let (_, _, leaks) = watch(|| {
                let send = move |_: &Request| Ok(Response::new(status, body.as_bytes().to_vec()));
                let endpoint = Endpoint::new("https://as.example/token").unwrap();
                let client = Client::with_parts(endpoint, send, || Duration::from_secs(1)).client_id("id");
                let result = client.assertion(make().random(|| Ok([1; 16]))).fetch(&Grant::client_credentials());
                assert!(index > 2 || result.is_ok() == (status == 200), "{result:?}");
            });
            assert_eq!(leaks, 0, "{index} {status}");
        }
    }
}

#[test]
fn no_memory_is_given_back_with_a_secret_in_it() {
    const TOKEN: &str =
        r#"{"access_token":"token-sentinel","refresh_token":"refresh-\u0073entinel","session":{"id":"id-sentinel"}}"#;
    const REFUSAL: &str = r#"{"error":"invalid_grant","error_description":"nothing to see"}"#;
    const CUT: &str = r#"{"access_token":"token-sentinel","#;
    type MakeGrant = fn() -> Grant;
    let grants: [(&str, MakeGrant); 4] = [
        ("client_credentials", Grant::client_credentials),
        ("password", || Grant::password("user", keyfob::SecretSource::value("password-sentinel"))),
        ("refresh_token", || {
            Grant::refresh_token(keyfob::SecretSource::value("refresh-sentinel"))
                .secret_parameter("extra", keyfob::SecretSource::value("extra-sentinel"))
        }),
        // With the client secret among the parameters: both want the Authorization header otherwise.
        ("bearer_session", || Grant::bearer_session(keyfob::SecretSource::value("session-sentinel"))),
    ];
    for (name, grant) in grants {
        for description in [
            r#"{"url":"https://as.example/t","keep":["session.id","session"]}"#,
            r#"{"url":"https://as.example/t","params":"json","keep":["refresh_token"]}"#,
            r#"{"url":"https://as.example/t","params":"query","method":"GET"}"#,
            r#"{"url":"https://as.example/t","basic_raw":true,"auth":"client_secret_basic"}"#,
        ] {
            if name == "bearer_session" && !description.contains("params") {
                continue;
            }
            for (status, body, kind) in
                [(200, TOKEN, None), (400, REFUSAL, Some(ErrorKind::Refused)), (200, CUT, Some(ErrorKind::Unusable))]
            {
                let (result, _, leaks) = watch(|| fetch(description, &grant(), status, body));
                assert_eq!(result.as_ref().err().map(Error::kind), kind, "{name} {description} {body}");
                assert_eq!(leaks, 0, "{name} {description} {body}");
                let (_, _, leaks) = watch(|| drop(result));
                assert_eq!(leaks, 0, "dropping: {name} {description} {body}");
            }
        }
    }
}

#[test]
fn a_cache_gives_no_memory_back_with_a_secret_in_it() {
    const TOKEN: &str = r#"{"access_token":"token-sentinel","refresh_token":"refresh-sentinel","expires_in":60}"#;
    let seconds = Arc::new(AtomicUsize::new(0));
    let time = seconds.clone();
    let clock = move || Duration::from_secs(time.load(Ordering::Relaxed) as u64);
    let send = |_: &Request| Ok(Response::new(200, TOKEN.as_bytes().to_vec()));
    let client = Client::with_parts(Endpoint::new("https://as.example/t").unwrap(), send, clock);
    let client = client.client_id("id").client_secret(keyfob::SecretSource::value("secret-sentinel"));
    let tokens = TokenCache::new(client, Grant::password("user", keyfob::SecretSource::value("password-sentinel")));
    let mut tokens = tokens.on_new_refresh_token(|token| match token.expose() {
        "refresh-sentinel" => Ok(()),
        _ => Err(Error::new(ErrorKind::Internal, "this is another token")),
    });
    let (_, _, leaks) = watch(|| {
        // By password, then twice by the refresh token.
        for _ in 0..3 {
            assert_eq!(tokens.token().unwrap().expose(), "token-sentinel");
            seconds.fetch_add(60, Ordering::Relaxed);
        }
        drop(tokens);
    });
    assert_eq!(leaks, 0);
}

#[test]
fn a_hit_allocates_nothing() {
    let send = |_: &Request| Ok(Response::new(200, *br#"{"access_token":"t","expires_in":3600}"#));
    let client = Client::with_parts(Endpoint::new("https://as.example/t").unwrap(), send, || Duration::ZERO);
    let mut tokens = TokenCache::new(client, Grant::client_credentials());
    tokens.token().unwrap();
    let (token, allocations, _) = watch(|| tokens.token().unwrap());
    assert_eq!((token.expose(), allocations), ("t", 0));
}

#[test]
fn an_echoed_secret_is_cut_out_of_an_error_before_anybody_sees_it() {
    let body = r#"{"error":"invalid_grant","error_description":"wrong password password-sentinel for user"}"#;
    let grant = Grant::password("user", keyfob::SecretSource::value("password-sentinel"));
    let (result, _, leaks) = watch(|| fetch(r#"{"url":"https://as.example/t"}"#, &grant, 400, body));
    let error = result.unwrap_err();
    assert_eq!(leaks, 0);
    assert_eq!(error.to_string(), "the server refused (status 400): invalid_grant (‹redacted›)");
    assert_eq!(error.oauth_error_description(), Some("‹redacted›"));
}

#[cfg(feature = "std")]
#[test]
fn a_secret_file_leaves_nothing_behind() {
    use keyfob::SecretSource;

    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("memory-secret");
    std::fs::write(&path, "file-sentinel\n").unwrap();
    let source = SecretSource::file(&path);
    let (length, _, leaks) = watch(|| source.expose().unwrap().len());
    assert_eq!((length, leaks), ("file-sentinel".len(), 0));
}
