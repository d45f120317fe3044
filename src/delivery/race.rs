//! Connecting to the first of a name's addresses that answers (RFC 8305, "Happy Eyeballs").
//!
//! Each address has a head start before the next one; one that refuses hands over at once. What is under way goes on
//! meanwhile, and the first connection that is made counts.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use super::fiber::{self, Until};

/// How long one address is alone before the next one is tried as well: the value that RFC 8305 recommends. A shorter one
/// opens connections that nobody needs to endpoints that are far away; a longer one is what each dead address costs.
pub const HEAD_START: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug)]
pub enum Lost {
    /// The time was over while an address had neither accepted nor refused.
    Late,
    /// All have refused; this is what the last one said.
    Refused(SocketAddr, io::Error),
    /// There is none.
    NoAddress,
}

/// The order in which addresses are tried: the one that answered last, then families in turn.
pub fn order(addresses: &[SocketAddr], answered: Option<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.iter().find(|address| Some(**address) == answered);
    let others = || addresses.iter().filter(|address| Some(*address) != first);
    let leads = first.or(addresses.first()).is_some_and(SocketAddr::is_ipv6);
    // After an address that goes first it is the other family's turn.
    let leads = leads != first.is_some();
    let (mut one, mut other) = (
        others().filter(|address| address.is_ipv6() == leads),
        others().filter(|address| address.is_ipv6() != leads),
    );
    let mut ordered: Vec<SocketAddr> = first.into_iter().copied().collect();
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// Connects to one of `addresses`, each of which has been judged.
///
/// # Errors
///
/// No address has accepted until `deadline`.
pub fn connect(
    addresses: &[SocketAddr],
    deadline: Option<Instant>,
) -> Result<(SocketAddr, TcpStream), Lost> {
    let mut next = addresses.iter().copied().peekable();
    let mut under_way: Vec<(SocketAddr, Socket)> = Vec::new();
    let mut lost = Lost::NoAddress;
    loop {
        if let Some(address) = next.next() {
            match begin(address) {
                Ok((socket, true)) => return Ok((address, socket.into())),
                Ok((socket, false)) => under_way.push((address, socket)),
                Err(error) => {
                    lost = Lost::Refused(address, error);
                    continue;
                }
            }
        } else if under_way.is_empty() {
            return Err(lost);
        }
        let head_start = next.peek().and_then(|_| Instant::now().checked_add(HEAD_START));
        let until = [head_start, deadline].into_iter().flatten().min();
        match ready(&under_way, until) {
            Ok(at) => {
                let (address, socket) = under_way.swap_remove(at);
                match socket.take_error() {
                    Ok(None) => return Ok((address, socket.into())),
                    Ok(Some(error)) | Err(error) => lost = Lost::Refused(address, error),
                }
            }
            Err(_) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                return Err(Lost::Late);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => return Err(Lost::Refused(addresses[0], error)),
        }
    }
}

/// A socket that connects, and whether it already has.
fn begin(address: SocketAddr) -> io::Result<(Socket, bool)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok((socket, false)),
        connected => connected.map(|()| (socket, true)),
    }
}

/// Waits for one of the sockets to be connected or refused.
fn ready(sockets: &[(SocketAddr, Socket)], until: Option<Instant>) -> io::Result<usize> {
    if let [(_, alone)] = sockets {
        return fiber::wait(alone.as_fd(), Until::Writable, until).map(|()| 0);
    }
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (at, (_, socket)) in sockets.iter().enumerate() {
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLOUT, at as u64))?;
    }
    loop {
        fiber::wait(epoll.0.as_fd(), Until::Readable, until)?;
        let mut events = [EpollEvent::empty()];
        if epoll.wait(&mut events, EpollTimeout::ZERO)? > 0 {
            return Ok(events[0].data() as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    /// An address that neither accepts nor refuses, and what keeps it so: its queue is full.
    fn silent() -> (SocketAddr, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut kept = vec![listener];
        for _ in 0..3 {
            kept.push(begin(address).unwrap().0);
        }
        std::thread::sleep(Duration::from_millis(20));
        (address, kept)
    }

    fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(5))
    }

    #[test]
    fn dead_addresses_cost_a_head_start_each() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let ((first, _first), (second, _second)) = (silent(), silent());
        let began = Instant::now();
        let (address, _) = connect(&[first, second, good], soon()).unwrap();
        assert_eq!(address, good);
        let took = began.elapsed();
        assert!(
            took >= 2 * HEAD_START && took < 2 * HEAD_START + Duration::from_millis(400),
            "{took:?}"
        );
    }

    #[test]
    fn one_that_refuses_hands_over_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let began = Instant::now();
        assert_eq!(connect(&[refusing(), good], soon()).unwrap().0, good);
        assert!(began.elapsed() < HEAD_START);
        assert!(matches!(connect(&[refusing(), refusing()], soon()), Err(Lost::Refused(..))));
        assert!(matches!(connect(&[], soon()), Err(Lost::NoAddress)));
    }

    #[test]
    fn a_race_that_nobody_wins_ends_in_time() {
        let (silent, _kept) = silent();
        let deadline = Some(Instant::now() + Duration::from_millis(300));
        assert!(matches!(connect(&[silent, silent], deadline), Err(Lost::Late)));
    }

    #[test]
    fn families_take_turns_after_the_one_that_answered() {
        let [a, b, c, d] = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "1.1.1.2:1"]
            .map(|address| address.parse::<SocketAddr>().unwrap());
        assert_eq!(order(&[a, b, c, d], None), [a, c, b, d]);
        assert_eq!(order(&[a, b, c, d], Some(d)), [d, a, c, b]);
        assert_eq!(order(&[a, b], Some(c)), [a, b]);
    }
}
