//! What both floors do: the bytes that keyfob sends, and the answer read to its length. No more than this one server needs.

use std::io::{Read, Write};

/// The URL's authority and path, and the secret.
pub fn arguments() -> (String, String, String) {
    let mut words = std::env::args().skip(1);
    let url = words.next().expect("a URL");
    let secret = std::fs::read_to_string(words.next().expect("a file")).expect("the secret");
    let (authority, path) = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).expect("a whole URL");
    (authority.into(), path.into(), secret)
}

pub fn fetch(mut stream: impl Read + Write, authority: &str, path: &str, secret: &str) {
    let credentials = base64(format!("my-client:{secret}").as_bytes());
    let request = format!(
        "POST /{path} HTTP/1.1\r\ncontent-length: 29\r\nhost: {authority}\r\naccept: application/json\r\n\
         user-agent: keyfob/0.1.0\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         authorization: Basic {credentials}\r\n\r\ngrant_type=client_credentials"
    );
    stream.write_all(request.as_bytes()).expect("a server that reads");
    stream.flush().expect("a server that reads");
    let (mut answer, mut chunk) = (Vec::new(), [0; 2048]);
    let body = loop {
        let count = stream.read(&mut chunk).expect("an answer");
        assert!(count > 0, "the answer is cut");
        answer.extend_from_slice(&chunk[..count]);
        let text = std::str::from_utf8(&answer).expect("text");
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (_, rest) = head.split_once("Content-Length: ").expect("a length");
            let length: usize = rest.split("\r\n").next().expect("a line").parse().expect("a number");
            if body.len() >= length {
                assert!(head.starts_with("HTTP/1.1 200 "), "a refusal");
                break body;
            }
        }
    };
    let token = body.split_once("\"access_token\":\"").and_then(|(_, rest)| rest.split_once('"')).expect("a token").0;
    println!("{token}");
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, index| bits << 8 | usize::from(group.get(index).copied().unwrap_or(0)));
        for index in 0..4 {
            let digit = char::from(ALPHABET[bits >> (18 - 6 * index) & 63]);
            text.push(if index <= group.len() { digit } else { '=' });
        }
    }
    text
}
