//! Reads an HTTP/1.1 response (RFC 9112) into wiped memory of bounded size.

use super::head::{Framing, Head, digits, end_of_head};
use crate::transport::Response;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use std::io::{self, Read};
use zeroize::Zeroizing;

/// The largest body. A token response has a few hundred bytes.
const MAX_BODY: usize = 1024 * 1024;
/// The limit for all bytes of an answer, including heads, chunk sizes and interim answers, which are not kept. Without it, a
/// server could send them until the time limit.
const MAX_ANSWER: usize = 2 * MAX_BODY;
/// The largest head, and the longest line with a chunk's size.
const MAX_HEAD: usize = 16 * 1024;
/// The first buffer of a head. Most answers fit.
const FIRST_BUFFER: usize = 2 * 1024;
/// The largest first buffer of a body, whatever length the server claims.
const MAX_FIRST_BODY: usize = 16 * 1024;

/// The reason why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    /// The connection failed before the first byte.
    Nothing(io::Error),
    /// The answer is not HTTP, for this reason.
    NotHttp(&'static str),
    /// The answer is a TLS alert.
    Tls,
    HeadTooLarge,
    BodyTooLarge,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a whole answer and skips interim ones. `began` is called at the first byte.
pub(super) fn read(wire: &mut dyn Read, began: &mut dyn FnMut()) -> Result<Response, Fault> {
    let mut input = Input::new(wire, began);
    let mut head = match input.head() {
        Err(Fault::Io(error)) if input.source.received == 0 => return Err(Fault::Nothing(error)),
        head => head?,
    };
    // RFC 9110 section 15.2. After a 101 the connection speaks another protocol, so that one is final.
    while matches!(head.status, 100 | 102..=199) {
        head = input.head()?;
    }
    let framing = head.framing().map_err(Fault::NotHttp)?;
    let mut response = Response::new(head.status, Vec::new()).with_framed(!matches!(framing, Framing::Close));
    response.body = input.body(framing)?;
    response.headers = head.headers;
    Ok(response)
}

/// Reads the head of a proxy's answer to CONNECT. The bytes that follow belong to the server: if some were read with the head,
/// that is an error, because they are lost.
pub(super) fn read_connect(wire: &mut dyn Read) -> Result<Head, Fault> {
    let mut nothing = || {};
    let mut input = Input::new(wire, &mut nothing);
    let mut head = input.head()?;
    while matches!(head.status, 100..=199) {
        head = input.head()?;
    }
    match (200..=299).contains(&head.status) && !input.unread().is_empty() {
        true => Err(Fault::NotHttp("it continues before anything was sent")),
        false => Ok(head),
    }
}

/// Names the protocol of an answer that does not begin with `HTTP/1.`. Nothing of the answer is shown: it may repeat the
/// request.
fn stranger(start: &[u8]) -> &'static str {
    for (beginning, what) in [
        (&b"SSH-"[..], "it is SSH"),
        (b"220", "it is a mail or FTP server's greeting"),
        (b"* OK", "it is IMAP"),
        (b"+OK", "it is POP3"),
        (b"HTTP/", "its version is neither HTTP/1.1 nor HTTP/1.0"),
        (b"ICY ", "it is a radio stream"),
        (b"{\"", "it is JSON without a head"),
        (b"<!", "it is HTML or XML without a head"),
        (b"<?", "it is HTML or XML without a head"),
        (b"<h", "it is HTML or XML without a head"),
        (b"POST ", "it repeats the request"),
        (b"GET ", "it repeats the request"),
        (b"CONNECT ", "it repeats the request"),
    ] {
        if start.starts_with(beginning) {
            return what;
        }
    }
    // RFC 9113 section 4.1: length, type SETTINGS, flags.
    if matches!(start, [0, _, _, 4, 0 | 1, ..]) { "it is HTTP/2" } else { "it does not begin with HTTP/1.1" }
}

/// The connection, which counts and limits the received bytes.
struct Source<'w> {
    wire: &'w mut dyn Read,
    began: &'w mut dyn FnMut(),
    received: usize,
}

impl Source<'_> {
    /// Reads once. Returns 0 at the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        let count = self.wire.read(into)?;
        if self.received == 0 && count > 0 {
            (self.began)();
        }
        self.received += count;
        if self.received > MAX_ANSWER { Err(Fault::BodyTooLarge) } else { Ok(count) }
    }
}

/// Wiped memory. It grows by replacement, and the old memory is wiped as well.
#[derive(Default)]
struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
    filled: usize,
}

impl Buffer {
    fn of_size(size: usize) -> Self {
        Self { bytes: Zeroizing::new(vec![0; size]), filled: 0 }
    }

    /// Returns the free part, after growing if there is none. It is empty if the buffer holds `most` bytes already.
    fn room(&mut self, most: usize) -> &mut [u8] {
        if self.filled == self.bytes.len() && self.filled < most {
            let mut larger = Zeroizing::new(vec![0; (4 * self.filled).clamp(FIRST_BUFFER, most)]);
            larger[..self.filled].copy_from_slice(&self.bytes);
            self.bytes = larger;
        }
        &mut self.bytes[self.filled..]
    }
}

/// The bytes that were read, and the number of them that were used.
struct Input<'w> {
    source: Source<'w>,
    buffer: Buffer,
    taken: usize,
}

impl<'w> Input<'w> {
    fn new(wire: &'w mut dyn Read, began: &'w mut dyn FnMut()) -> Self {
        Self { source: Source { wire, began, received: 0 }, buffer: Buffer::default(), taken: 0 }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer.bytes[self.taken..self.buffer.filled]
    }

    /// Reads more into the buffer. Returns `full` if there is no room left.
    fn fill(&mut self, full: Fault) -> Result<(), Fault> {
        if self.buffer.filled == self.buffer.bytes.len() && self.taken > 0 {
            self.buffer.bytes.copy_within(self.taken.., 0);
            self.buffer.filled -= core::mem::take(&mut self.taken);
        }
        let room = self.buffer.room(MAX_HEAD);
        if room.is_empty() {
            return Err(full);
        }
        match self.source.read(room)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => {
                self.buffer.filled += count;
                Ok(())
            }
        }
    }

    /// Copies unread bytes into `into`. Reads once if there are none. Returns 0 at the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        let count = self.unread().len().min(into.len());
        if count == 0 {
            return self.source.read(into);
        }
        into[..count].copy_from_slice(&self.unread()[..count]);
        self.taken += count;
        Ok(count)
    }

    /// Reads a head, up to and with the empty line.
    fn head(&mut self) -> Result<Head, Fault> {
        const START: &[u8] = b"HTTP/1.";
        /// No protocol needs more bytes to be recognized.
        const LONGEST_BEGINNING: usize = 8;
        let mut searched = 0;
        loop {
            let unread = self.unread();
            // RFC 9112 section 2.2 lets a server skip empty lines. Some servers send one.
            let blank = unread.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let text = &unread[blank..];
            let known = text.len().min(START.len());
            if text[..known] != START[..known] {
                // RFC 8446 section 5.1: a record of type alert, of any version 3.x.
                let fault = if text.starts_with(&[21, 3]) { Fault::Tls } else { Fault::NotHttp(stranger(text)) };
                if text.len() >= LONGEST_BEGINNING || self.fill(Fault::HeadTooLarge).is_err() {
                    return Err(fault);
                }
                continue;
            }
            // The end has two or three bytes, and may have begun in the part that was searched.
            let start = usize::saturating_sub(searched, blank + 2);
            if let Some(end) = end_of_head(text, start) {
                let head = Head::read(&text[..end]).map_err(Fault::NotHttp);
                self.taken += blank + end;
                return head;
            }
            searched = unread.len();
            self.fill(Fault::HeadTooLarge)?;
        }
    }

    /// Reads a line. Returns its place in the buffer, without the line feed.
    fn line(&mut self) -> Result<Range<usize>, Fault> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.unread()[searched..].iter().position(|byte| *byte == b'\n') {
                let (start, end) = (self.taken, self.taken + searched + at);
                self.taken = end + 1;
                return Ok(start..end);
            }
            searched = self.unread().len();
            self.fill(Fault::NotHttp("the line of a chunk's size is longer than 16 KiB"))?;
        }
    }

    fn body(&mut self, framing: Framing) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut body = Buffer::of_size(match framing {
            Framing::Length(length) if length > MAX_BODY as u64 => return Err(Fault::BodyTooLarge),
            Framing::Length(length) => MAX_FIRST_BODY.min(length as usize),
            Framing::Chunked | Framing::Close => FIRST_BUFFER,
        });
        match framing {
            Framing::Length(length) => self.copy(&mut body, length)?,
            Framing::Close => while self.copy_some(&mut body, usize::MAX)? > 0 {},
            // RFC 9112 section 7.1. The body is complete with the size of the last chunk: trailers are not read.
            Framing::Chunked => loop {
                let line = self.line()?;
                let line = core::str::from_utf8(&self.buffer.bytes[line]).unwrap_or_default();
                // A chunk's line ending is the one of its size: if the size is one too large, the carriage return is data.
                let end = if line.ends_with('\r') { &b"\r"[..] } else { b"" };
                let size = line.split(';').next().unwrap_or_default().trim_ascii_end();
                match digits(size, 16).ok_or(Fault::NotHttp("a chunk's size is no number"))? {
                    0 => break,
                    size => self.copy(&mut body, size)?,
                }
                let rest = self.line()?;
                if self.buffer.bytes[rest] != *end {
                    return Err(Fault::NotHttp("a chunk is longer than its size"));
                }
            },
        }
        body.bytes.truncate(body.filled);
        Ok(body.bytes)
    }

    fn copy(&mut self, body: &mut Buffer, length: u64) -> Result<(), Fault> {
        let mut left = length;
        while left > 0 {
            match self.copy_some(body, usize::try_from(left).unwrap_or(usize::MAX))? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => left -= count as u64,
            }
        }
        Ok(())
    }

    /// Reads at most `most` bytes of the body. Returns 0 at the end of the connection.
    fn copy_some(&mut self, body: &mut Buffer, most: usize) -> Result<usize, Fault> {
        // One byte more than the largest body: it shows that the body is too large.
        let room = body.room(MAX_BODY + 1);
        let most = room.len().min(most);
        let count = self.read(&mut room[..most])?;
        body.filled += count;
        if body.filled > MAX_BODY { Err(Fault::BodyTooLarge) } else { Ok(count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const BODY: &[u8] = br#"{"access_token":"t0ken"}"#;

    /// Gives at most this number of bytes at a time.
    struct Pieces<'b>(&'b [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len());
            let mut piece = &self.0[..count];
            let count = piece.read(into)?;
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn read_pieces(bytes: &[u8], size: usize) -> Result<Response, Fault> {
        read(&mut Pieces(bytes, size), &mut || {})
    }

    /// Framed answers, each with the length that makes it complete.
    fn framed() -> [(Vec<u8>, usize); 4] {
        let with_length = [b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\nx: y\r\n\r\n", BODY].concat();
        let after_others = [b"\r\nHTTP/1.1 103 Early\nlink: <a>\n b\n\n", &with_length[..]].concat();
        let chunks = [
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA;x\r\n"[..],
            &BODY[..10],
            b"\r\n0e \r\n",
            &BODY[10..],
            b"\r\n0\r\n",
        ]
        .concat();
        let with_trailers = [&chunks[..], b"x: y\r\n\r\n"].concat();
        let whole = [with_length.len(), after_others.len(), chunks.len(), chunks.len()];
        let answers = [with_length, after_others, chunks, with_trailers];
        core::array::from_fn(|at| (answers[at].clone(), whole[at]))
    }

    #[test]
    fn an_answer_is_the_same_in_pieces_of_any_size() {
        for (bytes, _) in framed() {
            for size in (1..=bytes.len()).chain([usize::MAX]) {
                let response = read_pieces(&bytes, size).unwrap();
                assert_eq!((response.status(), &response.body[..], response.framed), (200, BODY, true), "{size}");
            }
        }
    }

    #[test]
    fn another_protocol_is_named_the_same_in_pieces_of_any_size() {
        for (bytes, name) in [
            (&b"\x15\x03\x01\0\x02\x02\x46"[..], "Tls"),
            (b"SSH-2.0-x\r\n", "NotHttp(\"it is SSH\")"),
            (b"\0\0\x12\x04\0\0\0\0\0", "NotHttp(\"it is HTTP/2\")"),
            (b"CONNECT a:1", "NotHttp(\"it repeats the request\")"),
            (b"* OK", "NotHttp(\"it is IMAP\")"),
            (b"\r\n{\"", "NotHttp(\"it is JSON without a head\")"),
            (b"x", "NotHttp(\"it does not begin with HTTP/1.1\")"),
        ] {
            for size in [1, 2, 3, 7, 8, usize::MAX] {
                assert_eq!(format!("{:?}", read_pieces(bytes, size).unwrap_err()), name, "{size}");
            }
        }
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_an_error() {
        for (bytes, whole) in framed() {
            for end in 0..bytes.len() {
                match read_pieces(&bytes[..end], usize::MAX) {
                    Err(Fault::Io(error) | Fault::Nothing(error)) if end < whole => {
                        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{end}");
                    }
                    result => assert!(end >= whole && result.is_ok(), "{end}: {result:?}"),
                }
            }
        }
    }

    #[test]
    fn an_answer_that_is_changed_anywhere_has_no_longer_body_and_no_panic() {
        for (bytes, _) in framed() {
            for at in 0..bytes.len() {
                for byte in 0..=u8::MAX {
                    let mut changed = bytes.clone();
                    changed[at] = byte;
                    if let Ok(response) = read_pieces(&changed, usize::MAX) {
                        assert!(response.body.len() <= changed.len(), "{at} {byte}");
                        // A longer body is never framed.
                        assert!(!response.framed || response.body.len() <= BODY.len(), "{at} {byte}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_head_may_have_16_kib() {
        let head = |length: usize| {
            let start = "HTTP/1.1 200 OK\r\nx: ";
            let end = "\r\ncontent-length: 0\r\n\r\n";
            [start, &"y".repeat(length - start.len() - end.len()), end].concat().into_bytes()
        };
        for size in [1000, usize::MAX] {
            assert!(read_pieces(&head(MAX_HEAD), size).is_ok());
            assert!(matches!(read_pieces(&head(MAX_HEAD + 1), size), Err(Fault::HeadTooLarge)));
        }
    }
}
