//! From a name to a connection, within the time that there is.
//!
//! ureq's own connector gives the first of two addresses two thirds of the time, and counts each read of a proxy's answer
//! anew.

use super::buffers::WipedBuffers;
use super::{CONNECTING, Progress, RESOLVING, TUNNELLED, mark};
use alloc::borrow::ToOwned;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport as Connection,
};

/// getaddrinfo and its plugins, with much room.
const RESOLVER_STACK: usize = 256 * 1024;
/// An address that does not answer within this gives way to the next, and has twice as long in the next round.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// Under TLS the answer is put together above; here a part of it is enough.
const RECORDS: usize = 4 * 1024;

/// Name look-up with a time limit, and without a thread where there is nothing to look up.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) progress: Arc<Progress>,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let mut addresses = self.empty();
        mark(&self.progress.looking_up);
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => addresses.push(SocketAddr::new(address, port)),
            Err(_) => {
                self.progress.stage.store(RESOLVING, Ordering::Relaxed);
                // What ureq's list has room for.
                for address in look_up(host, port, timeout)?.into_iter().take(16) {
                    addresses.push(address);
                }
            }
        }
        mark(&self.progress.looked_up);
        self.progress.stage.store(CONNECTING, Ordering::Relaxed);
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// getaddrinfo cannot be told a time limit, so it runs in a thread of its own that may outlive the request.
fn look_up(host: &str, port: u16, timeout: NextTimeout) -> Result<Vec<SocketAddr>, ureq::Error> {
    // Not by a channel, which is larger.
    let answer = Arc::new((Mutex::new(None), Condvar::new()));
    let (host, sender) = (host.to_owned(), answer.clone());
    std::thread::Builder::new().name("keyfob-names".into()).stack_size(RESOLVER_STACK).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|addresses| addresses.collect());
        // Nobody listens any more once the time is over.
        *sender.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        sender.1.notify_one();
    })?;
    let found = answer.0.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = answer.1.wait_timeout_while(found, *timeout.after, |found| found.is_none());
    match wait.unwrap_or_else(PoisonError::into_inner).0.take() {
        Some(found) => Ok(found?),
        None => Err(ureq::Error::Timeout(timeout.reason)),
    }
}

/// Connects to one of the addresses in turn; where several are slow, each has twice as long in each round, so that a
/// dead one costs a second and one that is only slow is reached as well. The last one that is left has all of the time.
/// `None` if that is over.
fn dial(addresses: &[SocketAddr], deadline: Instant) -> Result<(TcpStream, SocketAddr), Option<io::Error>> {
    let mut waiting = alternating(addresses);
    let mut patience = FIRST_PATIENCE;
    let mut failure = None;
    while !waiting.is_empty() {
        let is_last = waiting.len() == 1;
        let mut slow = Vec::new();
        for address in waiting {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(None);
            }
            match TcpStream::connect_timeout(&address, if is_last { left } else { patience.min(left) }) {
                Ok(stream) => return Ok((stream, address)),
                Err(error) if is_over(&error) => slow.push(address),
                // One without a route, or that refuses: another may not.
                Err(error) => failure = Some(error),
            }
        }
        waiting = slow;
        patience = patience.saturating_mul(2);
    }
    Err(Some(failure.unwrap_or_else(|| ErrorKind::HostUnreachable.into())))
}

/// IPv6 and IPv4 by turns, in the system's order and from its first (RFC 8305 section 4): where one of them is dead, the
/// second address is another.
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

fn is_over(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// Makes the connections: to the server, or to the proxy. None outlives the deadline, whatever ureq counts.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) deadline: Instant,
    pub(super) target: Uri,
    pub(super) progress: Arc<Progress>,
}

impl<In: Connection> Connector<In> for Dialler {
    type Out = Either<In, Tcp>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(through_a_proxy) = chained {
            self.progress.stage.store(TUNNELLED, Ordering::Relaxed);
            mark(&self.progress.connected);
            return Ok(Some(Either::A(through_a_proxy)));
        }
        let (stream, address) = dial(&details.addrs, self.deadline).map_err(|error| match error {
            Some(error) => ureq::Error::Io(error),
            None => ureq::Error::Timeout(ureq::Timeout::Global),
        })?;
        if details.uri == &self.target {
            let _ = self.progress.address.set(address);
            mark(&self.progress.connected);
        }
        // Head and body go out one after the other.
        stream.set_nodelay(true)?;
        let input = if details.needs_tls() { RECORDS } else { details.config.input_buffer_size() };
        let buffers = WipedBuffers::new(input, details.config.output_buffer_size());
        Ok(Some(Either::B(Tcp { stream, buffers, deadline: self.deadline, progress: self.progress.clone() })))
    }
}

#[derive(Debug)]
pub(super) struct Tcp {
    stream: TcpStream,
    buffers: WipedBuffers,
    deadline: Instant,
    progress: Arc<Progress>,
}

impl Tcp {
    /// Does this again if a signal interrupts it, with the time that is left.
    fn within<T>(
        &mut self,
        timeout: NextTimeout,
        act: impl Fn(&mut Self, Duration) -> io::Result<T>,
    ) -> Result<T, ureq::Error> {
        let deadline = Instant::now().checked_add(*timeout.after).map_or(self.deadline, |end| end.min(self.deadline));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            match act(self, left) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_over(&error) => return Err(ureq::Error::Timeout(timeout.reason)),
                result => return Ok(result?),
            }
        }
    }
}

impl Connection for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let mut sent = 0;
        while sent < amount {
            sent += self.within(timeout, |this, left| {
                this.stream.set_write_timeout(Some(left))?;
                match this.stream.write(&this.buffers.output()[sent..amount])? {
                    0 => Err(ErrorKind::WriteZero.into()),
                    count => Ok(count),
                }
            })?;
        }
        self.progress.bytes_out.fetch_add(sent, Ordering::Relaxed);
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let count = self.within(timeout, |this, left| {
            this.stream.set_read_timeout(Some(left))?;
            this.stream.read(this.buffers.input_append_buf())
        })?;
        self.buffers.input_appended(count);
        self.progress.bytes_in.fetch_add(count, Ordering::Relaxed);
        Ok(count > 0)
    }

    /// It serves one request, and is never used again.
    fn is_open(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    /// A port that lets no connection in and refuses none: the queue of those that wait there is full.
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
        // What is dialled, within which time, what comes of it, and when at the soonest.
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
            let result = dial(addresses, started + time);
            let took = started.elapsed();
            match (result, expected) {
                (Ok((_, address)), Some(expected)) => assert_eq!(address, expected),
                (Err(None), None) => {}
                (result, _) => panic!("{addresses:?}: {result:?}"),
            }
            assert!(took >= soonest && took < soonest + 900 * SECOND / 1000, "{addresses:?}: {took:?}");
        }
        match dial(&[refusing_address, refusing_address], Instant::now() + SECOND) {
            Err(Some(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            result => panic!("{result:?}"),
        }
        assert!(matches!(dial(&[living], Instant::now()), Err(None)));
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
        let (_, address) = dial(&[slow, dead], Instant::now() + Duration::from_secs(15)).unwrap();
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
