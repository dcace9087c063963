//! The reader of HTTP/1.1, with the transport's own module. It never panics, reads the same answer from pieces of any size, keeps
//! its limits, and ignores the bytes after a framed answer. A framed answer that is cut is an error.

#![no_main]
#![allow(dead_code, unreachable_pub, unused_imports)]

extern crate alloc;

#[path = "../../../src/transport/http/answer.rs"]
mod answer;
#[path = "../../../src/transport.rs"]
mod transport;

/// Under the names that these modules know.
mod error {
    pub(crate) use keyfob::Error;
}
mod request {
    pub(crate) use keyfob::Request;
}
mod secret {
    pub(crate) use keyfob::Secret;
}

use keyfob_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use std::io::Read;
use transport::Response;

const MIB: usize = 1024 * 1024;
const MAX_HEADERS: usize = 16 * 1024;
const NAMES: [&str; 6] = ["content-length", "transfer-encoding", "content-type", "date", "location", "x"];

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
    Answer { status: u16, body: Vec<u8>, is_framed: bool, headers: Vec<(&'static str, String)> },
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
    let values = |name: &'static str| response.headers.all(name).map(move |value| (name, value.to_owned()));
    let headers: Vec<_> = NAMES.into_iter().flat_map(values).collect();
    assert!(headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= MAX_HEADERS);
    for (_, value) in &headers {
        assert!(!value.chars().any(|c| c.is_ascii_control() && c != '\t'), "{value:?}");
        assert_eq!(value.trim_matches([' ', '\t']), value);
    }
    Outcome::Answer { status: response.status, body: response.body.to_vec(), is_framed: response.framed, headers }
}

// The size of the pieces, where it is cut, how often its last byte is repeated, and what a server sends.
fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let size = usize::from(input.byte()) + 1;
    let cut = usize::from(input.byte()) << 8 | usize::from(input.byte());
    let repeats = if input.byte() == 255 { usize::from(input.byte()) * 12_000 } else { 0 };
    let mut bytes = input.rest().to_vec();
    let last = bytes.last().copied();
    bytes.extend(last.into_iter().cycle().take(repeats));

    let whole = read(&bytes, usize::MAX);
    if repeats > 0 {
        // The limits are met: more would take long.
        return;
    }
    assert_eq!(read(&bytes, size), whole);
    let Outcome::Answer { is_framed, .. } = whole else {
        check_connect(&bytes);
        return;
    };
    if is_framed {
        assert_eq!(read(&[&bytes[..], b"HTTP/1.1 500 No\r\n\r\n\0"].concat(), usize::MAX), whole);
    }
    if let Some(cut) = cut.checked_rem(bytes.len()) {
        match read(&bytes[..cut], usize::MAX) {
            part @ Outcome::Answer { is_framed: true, .. } => assert_eq!(part, whole),
            Outcome::Answer { is_framed: false, .. } => assert!(!is_framed),
            Outcome::Fault(fault) => assert!(fault.contains("UnexpectedEof"), "{fault}"),
        }
    }
    check_connect(&bytes);
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
