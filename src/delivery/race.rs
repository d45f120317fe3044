//! Connecting to the first of a name's addresses that answers (RFC 8305, "Happy Eyeballs").
//!
//! Each address has a head start before the next one; one that refuses hands over at once. What is under way goes on
//! meanwhile, and the first connection that is made counts.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use super::fiber::{self, Until};
use super::files::{self, Open};

/// How long one address is alone before the next one is tried as well: the value that RFC 8305 recommends. A shorter one
/// opens connections that nobody needs to endpoints that are far away; a longer one is what each dead address costs.
pub const HEAD_START: Duration = Duration::from_millis(250);

/// Addresses that are tried at the same time; for a further one the oldest gives up. More would cost files and open
/// connections that nobody needs, fewer would give up one that takes longer than the head starts of those after it.
const AT_ONCE: usize = 3;

/// Why there is no connection.
#[derive(Debug)]
pub enum Lost {
    /// The time was over while an address had neither accepted nor refused.
    Late,
    /// All have refused; this is what one of them said.
    Refused(SocketAddr, io::Error),
    /// There is none.
    NoAddress,
    /// This process cannot open a connection.
    Broken(io::Error),
}

impl Lost {
    /// After one more failure. What an address says itself is more than that the network has no way to it.
    fn and(self, address: SocketAddr, error: io::Error) -> Self {
        match self {
            Self::Refused(before, said) if said.kind() == ErrorKind::ConnectionRefused => {
                Self::Refused(before, said)
            }
            _ => Self::Refused(address, error),
        }
    }
}

/// A connection that has been made.
#[derive(Debug)]
pub struct Connected {
    /// To where.
    pub address: SocketAddr,
    /// Itself.
    pub stream: TcpStream,
    /// Counts it.
    pub open: Open,
}

/// One that is under way.
struct Runner {
    address: SocketAddr,
    socket: Socket,
    open: Open,
}

impl Runner {
    fn arrived(self) -> Connected {
        Connected { address: self.address, stream: self.socket.into(), open: self.open }
    }
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
pub fn connect(addresses: &[SocketAddr], deadline: Option<Instant>) -> Result<Connected, Lost> {
    let mut next = addresses.iter().copied().peekable();
    let mut under_way: Vec<Runner> = Vec::new();
    let mut lost = Lost::NoAddress;
    loop {
        // Where files are scarce, each address is alone.
        let may_begin = under_way.is_empty() || files::may_keep();
        if let Some(address) = next.next_if(|_| may_begin) {
            if under_way.len() == AT_ONCE {
                under_way.remove(0);
            }
            let open = Open::count();
            match begin(address) {
                Ok((socket, true)) => return Ok(Runner { address, socket, open }.arrived()),
                Ok((socket, false)) => under_way.push(Runner { address, socket, open }),
                Err(error) if is_ours(&error) => return Err(Lost::Broken(error)),
                Err(error) => {
                    lost = lost.and(address, error);
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
                let runner = under_way.remove(at);
                match runner.socket.take_error() {
                    Ok(None) => return Ok(runner.arrived()),
                    Ok(Some(error)) | Err(error) => lost = lost.and(runner.address, error),
                }
            }
            Err(_) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                return Err(Lost::Late);
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => return Err(Lost::Broken(error)),
        }
    }
}

/// Whether it is this process that has no room, whatever the address is.
fn is_ours(error: &io::Error) -> bool {
    let ours = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| ours.contains(&code))
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

/// Waits for one of them to be connected or refused.
fn ready(runners: &[Runner], until: Option<Instant>) -> io::Result<usize> {
    if let [alone] = runners {
        return fiber::wait(alone.socket.as_fd(), Until::Writable, until).map(|()| 0);
    }
    let _open = Open::count();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (at, runner) in runners.iter().enumerate() {
        epoll.add(&runner.socket, EpollEvent::new(EpollFlags::EPOLLOUT, at as u64))?;
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
        let connected = connect(&[first, second, good], soon()).unwrap();
        assert_eq!(connected.address, good);
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
        assert_eq!(connect(&[refusing(), good], soon()).unwrap().address, good);
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
    fn what_is_told_is_what_an_address_said_itself() {
        let [a, b] = ["1.1.1.1:1", "[::1]:1"].map(|address| address.parse().unwrap());
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let unreachable = || io::Error::from_raw_os_error(libc::ENETUNREACH);
        let lost = Lost::NoAddress.and(a, refused()).and(b, unreachable());
        assert!(matches!(lost, Lost::Refused(address, _) if address == a));
        let lost = Lost::NoAddress.and(b, unreachable()).and(a, refused());
        assert!(matches!(lost, Lost::Refused(address, _) if address == a));
        assert!(is_ours(&io::Error::from_raw_os_error(libc::EMFILE)) && !is_ours(&refused()));
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
