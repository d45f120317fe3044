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

/// A connection that is being made.
struct Connecting {
    address: SocketAddr,
    socket: Socket,
    open: Open,
}

impl Connecting {
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
    race(addresses, deadline, HEAD_START)
}

fn race(
    addresses: &[SocketAddr],
    deadline: Option<Instant>,
    head_start: Duration,
) -> Result<Connected, Lost> {
    let mut next = addresses.iter().copied();
    let mut under_way: Vec<Connecting> = Vec::new();
    let mut lost = Lost::NoAddress;
    loop {
        let at_once = if files::may_keep() { AT_ONCE } else { 1 };
        if let Some(address) = next.next() {
            under_way.drain(..(under_way.len() + 1).saturating_sub(at_once));
            let open = Open::count();
            let begun = match begin(address) {
                Err(error) if is_ours(&error) && !under_way.is_empty() => {
                    under_way.remove(0);
                    begin(address)
                }
                begun => begun,
            };
            match begun {
                Ok((socket, true)) => return Ok(Connecting { address, socket, open }.arrived()),
                Ok((socket, false)) => under_way.push(Connecting { address, socket, open }),
                Err(error) if is_ours(&error) => return Err(Lost::Broken(error)),
                Err(error) => {
                    lost = lost.and(address, error);
                    continue;
                }
            }
        } else if under_way.is_empty() {
            return Err(lost);
        }
        let turn = match (at_once, deadline) {
            // Where files are scarce, each address is alone, and has its share of the time that is left.
            (1, Some(deadline)) => {
                let left = deadline.saturating_duration_since(Instant::now());
                head_start.max(left / (next.len() as u32 + 1))
            }
            _ => head_start,
        };
        let turn = Instant::now().checked_add(turn).filter(|_| next.len() > 0);
        let until = [turn, deadline].into_iter().flatten().min();
        match ready(&mut under_way, until) {
            Ok(at) => {
                let found = under_way.remove(at);
                match found.socket.take_error() {
                    Ok(None) => return Ok(found.arrived()),
                    Ok(Some(error)) | Err(error) => lost = lost.and(found.address, error),
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
fn ready(connecting: &mut Vec<Connecting>, until: Option<Instant>) -> io::Result<usize> {
    let several = connecting.len() > 1;
    let epoll = several.then(|| Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)).and_then(Result::ok);
    let Some(epoll) = epoll else {
        // Without a file to wait for several with, the last one goes on.
        connecting.drain(..connecting.len().saturating_sub(1));
        let alone = connecting.first().ok_or(ErrorKind::NotFound)?;
        return fiber::wait(alone.socket.as_fd(), Until::Writable, until).map(|()| 0);
    };
    let _open = Open::count();
    for (at, connection) in connecting.iter().enumerate() {
        epoll.add(&connection.socket, EpollEvent::new(EpollFlags::EPOLLOUT, at as u64))?;
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
mod tests;
