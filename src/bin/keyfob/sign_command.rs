//! Signs assertions with a command: for keys in a TPM, a PKCS #11 token or a key management service.

use crate::members::config;
use crate::output;
use keyfob::{Error, Secret, Signer};
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

/// The time limit of the command, unless there is a timeout.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The longest signature: that of RSA with 32768 bits.
const MAX_SIGNATURE: u64 = 4096;

pub(crate) struct SignCommand {
    words: Vec<String>,
    algorithm: String,
    /// The length of r and of s, if the algorithm is ECDSA.
    half: Option<usize>,
    timeout: Duration,
    /// The variables that the command does not inherit.
    secret_variables: Vec<String>,
}

impl SignCommand {
    pub(crate) fn new(
        words: Vec<String>,
        algorithm: String,
        timeout: Duration,
        secret_variables: Vec<String>,
    ) -> Result<Self, Error> {
        if words.is_empty() {
            return Err(config("`sign_command`: must not be empty"));
        }
        let half = match algorithm.as_str() {
            "ES256" => Some(32),
            "ES384" => Some(48),
            "ES512" => Some(66),
            _ => None,
        };
        Ok(Self { words, algorithm, half, timeout, secret_variables })
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(crate::stderr::for_child());
        for variable in self.secret_variables.iter().map(String::as_str).chain(["NOTIFY_SOCKET"]) {
            command.env_remove(variable);
        }
        command.spawn()
    }

    /// Runs the command to its end. Abandons a child process that holds its output open.
    fn run(&self, message: &[u8]) -> Result<(ExitStatus, Vec<u8>), String> {
        let mut child = self.start().map_err(|error| output::reason(&error))?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("it has no pipes".into());
        };
        let message = message.to_vec();
        let (send, result) = sync_channel(1);
        let work = move || {
            // A command that does not read its whole input may still sign; its exit status decides.
            let _ = stdin.write_all(&message);
            drop(stdin);
            let mut signature = Vec::new();
            let read = stdout.take(MAX_SIGNATURE + 1).read_to_end(&mut signature);
            let _ = send.send(read.map(|_| signature));
        };
        let started = Instant::now();
        let ended = thread::Builder::new()
            .name("keyfob-sign".into())
            .spawn(work)
            .and_then(|_| result.recv_timeout(self.timeout).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
        let late = || format!("no signature within {} s", self.timeout.as_secs_f32());
        let signature = match ended {
            Ok(signature) => signature,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(if error.kind() == io::ErrorKind::TimedOut { late() } else { output::reason(&error) });
            }
        };
        // Its output has ended, so the command should end too.
        loop {
            match child.try_wait().map_err(|error| output::reason(&error))? {
                Some(status) => return Ok((status, signature)),
                None if started.elapsed() < self.timeout => thread::sleep(Duration::from_millis(1)),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(late());
                }
            }
        }
    }
}

impl Signer for SignCommand {
    fn algorithm(&self) -> &str {
        &self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let fail = |why: &str| config(format!("--sign-command: {}: {why}", self.words[0]));
        let (status, signature) = self.run(message).map_err(|why| fail(&why))?;
        if !status.success() {
            return Err(fail(&status.to_string()));
        }
        let signature = match self.half {
            Some(half) if signature.len() != 2 * half => joined(&signature, half),
            None if signature.is_empty() || signature.len() as u64 > MAX_SIGNATURE => None,
            _ => Some(signature),
        };
        signature.ok_or_else(|| {
            fail(&format!("its output is no signature of {}", self.algorithm))
                .with_hint("it must print the signature alone, in bytes, not in Base64 or hexadecimal")
        })
    }

    fn identity(&self) -> Result<Secret, Error> {
        Ok(Secret::from(format!("{} {:?}", self.algorithm, self.words)))
    }
}

/// Converts DER, a sequence of two numbers (RFC 3279 section 2.2.3), into r and s of the same length.
fn joined(der: &[u8], half: usize) -> Option<Vec<u8>> {
    let sequence = match der {
        [0x30, length, rest @ ..] if *length < 0x80 && usize::from(*length) == rest.len() => rest,
        [0x30, 0x81, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        _ => return None,
    };
    let mut joined = vec![0; 2 * half];
    let mut rest = sequence;
    for target in joined.chunks_mut(half) {
        let [0x02, length, after @ ..] = rest else { return None };
        let (number, after) = after.split_at_checked(usize::from(*length))?;
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros..];
        let start = half.checked_sub(number.len())?;
        target[start..].copy_from_slice(number);
        rest = after;
    }
    rest.is_empty().then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_becomes_r_and_s() {
        for (der, expected) in [
            (&b"\x30\x06\x02\x01\x01\x02\x01\x02"[..], Some(&[0, 1, 0, 2][..])),
            (b"\x30\x81\x06\x02\x01\x01\x02\x01\x02", Some(&[0, 1, 0, 2])),
            (b"\x30\x09\x02\x03\x00\xFF\x01\x02\x02\x7F\x02", Some(&[0xFF, 1, 0x7F, 2])),
            (b"\x30\x06\x02\x01\x01\x02\x01", None),
            (b"\x30\x07\x02\x01\x01\x02\x01\x02\x00", None),
            (b"\x30\x08\x02\x03\x01\x01\x01\x02\x01\x02", None),
            (b"\x31\x06\x02\x01\x01\x02\x01\x02", None),
            (b"\x30\x03\x02\x01\x01", None),
            (b"\x30\x03\x02\x7F\x01", None),
            (b"\x30", None),
            (b"", None),
        ] {
            assert_eq!(joined(der, 2).as_deref(), expected, "{der:?}");
        }
    }
}
