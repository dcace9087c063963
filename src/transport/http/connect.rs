//! Looks up a name and connects to one of its addresses before a deadline.

use super::host_port::HostPort;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Enough for getaddrinfo and its plugins, several times over.
const RESOLVER_STACK: usize = 256 * 1024;
/// How long an address may take before the next one is tried. The time doubles with each round.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// Returns the addresses of a host, which may be an address itself. getaddrinfo has no time limit, so it runs in a thread of its
/// own, which may outlive the request. For an address no thread is started, nor for `localhost`: that is this machine whatever a
/// name server says (RFC 6761 section 6.3), and static programs on small devices have no `/etc/hosts` to find it in.
pub(super) fn look_up(place: &HostPort, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    let HostPort { host, port } = place.clone();
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(alloc::vec![SocketAddr::new(address, port)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(alloc::vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    // A channel would be larger.
    let answer = Arc::new((Mutex::new(None), Condvar::new()));
    let sender = answer.clone();
    let thread = std::thread::Builder::new().name("keyfob-names".into()).stack_size(RESOLVER_STACK);
    let started = thread.spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|addresses| addresses.collect::<Vec<_>>());
        // After the deadline nobody reads it.
        *sender.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        sender.1.notify_one();
    });
    started.map_err(|error| io::Error::other(format!("no thread can be started: {}", error.kind())))?;
    let found = answer.0.lock().unwrap_or_else(PoisonError::into_inner);
    let left = deadline.saturating_duration_since(Instant::now());
    let wait = answer.1.wait_timeout_while(found, left, |found| found.is_none());
    match wait.unwrap_or_else(PoisonError::into_inner).0.take() {
        // The resolver's text is in the system's language.
        Some(found) => found.map_err(|_| ErrorKind::NotFound.into()),
        None => Err(ErrorKind::TimedOut.into()),
    }
}

/// Connects to the first address that answers. The addresses are tried in turn, and the slow ones again in the next round with
/// twice the time: a dead address costs a second, and a slow one is still reached. The last one left has all the time.
fn dial(addresses: &[SocketAddr], deadline: Instant) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = alternating(addresses);
    let mut patience = FIRST_PATIENCE;
    let mut failure = None;
    while !waiting.is_empty() {
        let is_last = waiting.len() == 1;
        let mut slow = Vec::new();
        for address in waiting {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            match TcpStream::connect_timeout(&address, if is_last { left } else { patience.min(left) }) {
                Ok(stream) => return Ok((stream, address)),
                Err(error) if is_timeout(&error) => slow.push(address),
                // There is no route, or it refuses. Another address may not.
                Err(error) => failure = Some(error),
            }
        }
        waiting = slow;
        patience = patience.saturating_mul(2);
    }
    Err(failure.unwrap_or_else(|| ErrorKind::HostUnreachable.into()))
}

/// Alternates IPv6 and IPv4, starting with the system's first address (RFC 8305 section 4): if one of them does not work here,
/// the second address is of the other.
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let of_family = |is_ipv6: bool| addresses.iter().filter(move |address| address.is_ipv6() == is_ipv6);
    let (mut these, mut others) = (of_family(first.is_ipv6()), of_family(first.is_ipv4()));
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(these.next().into_iter().chain(others.next()));
    }
    order
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// A connection that carries a request.
pub(super) trait Wire: Read + Write {
    /// Returns the bytes sent and received over the TCP connection.
    fn traffic(&self) -> (usize, usize);
}

/// A TCP connection with one deadline for all reads and writes together.
pub(super) struct Tcp {
    stream: TcpStream,
    deadline: Instant,
    sent: usize,
    received: usize,
}

impl Tcp {
    /// Returns the connection and the address that answered.
    pub(super) fn connect(addresses: &[SocketAddr], deadline: Instant) -> io::Result<(Self, SocketAddr)> {
        let (stream, address) = dial(addresses, deadline)?;
        // Otherwise the last part of a message waits until the others are acknowledged.
        stream.set_nodelay(true)?;
        Ok((Self { stream, deadline, sent: 0, received: 0 }, address))
    }

    /// Calls `act` with the time left, and again if a signal interrupts it.
    fn within(
        &mut self,
        mut act: impl FnMut(&mut TcpStream, Option<Duration>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            match act(&mut self.stream, Some(left)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(ErrorKind::TimedOut.into()),
                result => return result,
            }
        }
    }
}

impl Wire for Tcp {
    fn traffic(&self) -> (usize, usize) {
        (self.sent, self.received)
    }
}

impl Read for Tcp {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.within(|stream, left| {
            stream.set_read_timeout(left)?;
            stream.read(into)
        })?;
        self.received += count;
        Ok(count)
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// Sends several TLS records in one segment.
    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let count = self.within(|stream, left| {
            stream.set_write_timeout(left)?;
            stream.write_vectored(bytes)
        })?;
        self.sent += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    /// A port that neither accepts nor refuses a connection, because its queue is full.
    #[cfg(target_os = "linux")]
    fn swallowing(address: &str) -> (std::net::TcpListener, TcpStream, SocketAddr) {
        use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let address: SocketAddr = (address.parse::<std::net::Ipv4Addr>().unwrap(), 0).into();
        bind(&socket, &address).unwrap();
        listen(&socket, 0).unwrap();
        let listener = std::net::TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let first = TcpStream::connect(address).unwrap();
        (listener, first, address)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_does_not_answer_gives_way_to_the_next_and_is_tried_again() {
        let (dead, living) = (swallowing("127.0.0.2"), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let (dead, living, _guard) = (dead.2, living.local_addr().unwrap(), (dead.0, dead.1, living));
        let refusing = {
            let stream = TcpStream::connect(living).unwrap();
            (stream.local_addr().unwrap(), stream)
        };
        let refusing_address = refusing.0;
        const SECOND: Duration = Duration::from_secs(1);
        // The addresses, the time limit, the expected result, and its earliest time.
        for (addresses, time, expected, soonest) in [
            (&[living][..], 8 * SECOND, Some(living), Duration::ZERO),
            (&[dead, living], 8 * SECOND, Some(living), SECOND),
            (&[refusing_address, living], 8 * SECOND, Some(living), Duration::ZERO),
            (&[dead, dead, dead, living], 8 * SECOND, Some(living), 3 * SECOND),
            (&[dead, refusing_address], 2 * SECOND, None, 2 * SECOND),
            (&[dead], SECOND, None, SECOND),
            (&[dead, dead], 3 * SECOND, None, 3 * SECOND),
        ] {
            let started = Instant::now();
            let result = dial(addresses, started + time).map(|(stream, address)| {
                assert_eq!(stream.peer_addr().unwrap(), address);
                address
            });
            let took = started.elapsed();
            match (result, expected) {
                (Ok(address), Some(expected)) => assert_eq!(address, expected),
                (Err(error), None) if is_timeout(&error) => {}
                (result, _) => panic!("{addresses:?}: {result:?}"),
            }
            assert!(took >= soonest && took < soonest + 900 * SECOND / 1000, "{addresses:?}: {took:?}");
        }
        match dial(&[refusing_address, refusing_address], Instant::now() + SECOND) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            result => panic!("{result:?}"),
        }
        assert!(dial(&[living], Instant::now()).is_err_and(|error| is_timeout(&error)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_is_only_slow_is_reached_in_a_later_round() {
        let (listener, first, slow) = swallowing("127.0.0.2");
        let (_other, _second, dead) = swallowing("127.0.0.3");
        let opener = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(2500));
            let accepted = listener.accept().unwrap();
            (listener, accepted)
        });
        let (_stream, address) = dial(&[slow, dead], Instant::now() + Duration::from_secs(15)).unwrap();
        assert_eq!(address, slow);
        drop((opener.join().unwrap(), first));
    }

    #[test]
    fn families_take_turns_from_the_systems_first() {
        for (addresses, expected) in [
            ("", ""),
            ("a4", "a4"),
            ("a6 b6 c6 d4", "a6 d4 b6 c6"),
            ("a4 b4 c6 d6 e4", "a4 c6 b4 d6 e4"),
            ("a6 b4 c6 d4", "a6 b4 c6 d4"),
            ("a4 b4 c4", "a4 b4 c4"),
        ] {
            let parse = |name: &str| -> SocketAddr {
                let host = u16::from(name.as_bytes()[0]);
                match name.ends_with('6') {
                    true => ([0, 0, 0, 0, 0, 0, 0, host], 6).into(),
                    false => ([127, 0, 0, host as u8], 4).into(),
                }
            };
            let show = |address: &SocketAddr| {
                let host = match address {
                    SocketAddr::V4(address) => address.ip().octets()[3],
                    SocketAddr::V6(address) => address.ip().octets()[15],
                };
                [char::from(host), char::from(b'0' + address.port() as u8)].iter().collect::<String>()
            };
            let given: Vec<SocketAddr> = addresses.split_whitespace().map(parse).collect();
            let found: Vec<String> = alternating(&given).iter().map(show).collect();
            assert_eq!(found.join(" "), expected.to_string());
        }
    }
}
