//! The reader of HTTP/1.1, the transport's own module. It never panics, reads the same answer from pieces of any size, and
//! ignores the bytes after a framed answer. A framed answer that is cut is an error. Long bodies take too long here: unit tests
//! check the limits.

#![no_main]
#![allow(dead_code, unreachable_pub)]

extern crate alloc;

#[path = "../../../src/transport/http/answer.rs"]
mod answer;
#[path = "../../../src/transport/http/head.rs"]
mod head;

/// Under the names that the module knows.
mod secret {
    pub(crate) use keyfob::Secret;
}

/// The parts of the transport's types that the module uses. The real ones are private.
mod transport {
    use crate::secret::Secret;
    use zeroize::Zeroizing;

    #[derive(Default)]
    pub(crate) struct ResponseHeaders(Vec<(String, Secret)>);

    impl ResponseHeaders {
        pub(crate) fn push(&mut self, name: &str, value: Secret) {
            self.0.push((name.to_owned(), value));
        }

        pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
            self.0.iter().map(|(name, value)| (name.as_str(), value.expose()))
        }

        pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
            self.pairs().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        }
    }

    pub(crate) struct Response {
        pub(crate) status: u16,
        pub(crate) headers: ResponseHeaders,
        pub(crate) body: Zeroizing<Vec<u8>>,
        pub(crate) framed: bool,
    }

    impl Response {
        pub(crate) fn new(status: u16, body: Vec<u8>) -> Self {
            Self { status, headers: ResponseHeaders::default(), body: Zeroizing::new(body), framed: true }
        }

        pub(crate) fn with_framed(mut self, framed: bool) -> Self {
            self.framed = framed;
            self
        }
    }
}

use keyfob_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use std::io::Read;
use transport::Response;

const MIB: usize = 1024 * 1024;
const MAX_HEAD: usize = 16 * 1024;

/// Gives at most `size` bytes at a time, and counts what it gave.
struct Pieces<'d> {
    rest: &'d [u8],
    size: usize,
    given: usize,
}

impl<'d> Pieces<'d> {
    fn new(rest: &'d [u8], size: usize) -> Self {
        Self { rest, size, given: 0 }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        assert!(!into.is_empty(), "a read into nothing looks like the end");
        let count = into.len().min(self.size).min(self.rest.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        self.given += count;
        Ok(count)
    }
}

/// What there is to compare.
#[derive(Debug, PartialEq)]
enum Outcome {
    Answer { status: u16, body: Vec<u8>, is_framed: bool, headers: Vec<(String, String)> },
    Fault(String),
}

fn read(bytes: &[u8], size: usize) -> Outcome {
    let (mut pieces, mut began) = (Pieces::new(bytes, size), 0);
    let result = answer::read(&mut pieces, &mut || began += 1);
    assert_eq!(began, usize::from(pieces.given > 0), "the first byte is noticed once");
    assert!(pieces.given <= 2 * MIB + 64 * 1024, "{}", pieces.given);
    match result {
        Ok(response) => outcome(&response),
        Err(fault) => Outcome::Fault(format!("{fault:?}")),
    }
}

fn outcome(response: &Response) -> Outcome {
    assert!((100..=999).contains(&response.status), "{}", response.status);
    assert!(response.body.len() <= MIB);
    let headers: Vec<_> = response.headers.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= MAX_HEAD);
    for (name, value) in &headers {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
        assert!(!value.chars().any(|c| c.is_ascii_control() && c != '\t'), "{value:?}");
        assert_eq!(value.trim_matches([' ', '\t']), value);
    }
    Outcome::Answer { status: response.status, body: response.body.to_vec(), is_framed: response.framed, headers }
}

// The size of the pieces, the place of a cut, and the bytes of a server.
fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let size = usize::from(input.byte()) + 1;
    let cut = usize::from(input.byte()) << 8 | usize::from(input.byte());
    let bytes = input.rest();

    let whole = read(bytes, usize::MAX);
    assert_eq!(read(bytes, size), whole);
    let Outcome::Answer { is_framed, .. } = whole else {
        check_connect(bytes);
        return;
    };
    if is_framed {
        assert_eq!(read(&[bytes, b"HTTP/1.1 500 No\r\n\r\n\0"].concat(), usize::MAX), whole);
    }
    if let Some(cut) = cut.checked_rem(bytes.len()) {
        match read(&bytes[..cut], usize::MAX) {
            part @ Outcome::Answer { is_framed: true, .. } => assert_eq!(part, whole),
            Outcome::Answer { is_framed: false, .. } => assert!(!is_framed),
            Outcome::Fault(fault) => assert!(fault.contains("UnexpectedEof"), "{fault}"),
        }
    }
    check_connect(bytes);
});

/// As the answer of a proxy: nothing that belongs to the server behind it is taken.
fn check_connect(bytes: &[u8]) {
    let mut pieces = Pieces::new(bytes, 1);
    if let Ok(head) = answer::read_connect(&mut pieces) {
        assert!(!(100..=199).contains(&head.status));
        let mut head_alone = Pieces::new(&bytes[..pieces.given], usize::MAX);
        assert!(answer::read_connect(&mut head_alone).is_ok_and(|again| again.status == head.status));
    }
}
