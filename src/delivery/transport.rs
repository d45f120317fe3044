//! TCP under ureq: non-blocking sockets, each wait bounded by what is left of the attempt's time.
//!
//! ureq hands every call the time left until the attempt's one deadline; a call may need many reads
//! or writes, and none of them starts the clock again. So a peer that sends a byte now and then ends
//! when its time is up.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

use super::fiber::{self, Until};
use super::files::Open;
use crate::domain::failure::{ErrorClass, Failure};

/// Held-back output beyond this is written at once.
const WRITE_AT: usize = 16 * 1024;

/// Opens connections to the addresses that the resolver passed.
#[derive(Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    type Out = TcpTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<TcpTransport>, Error> {
        let deadline = Deadline::new(details.timeout);
        let stream = Arc::new(connect(&details.addrs, &deadline)?);
        let handle: Weak<TcpStream> = Arc::downgrade(&stream);
        (details.register_shutdown)(handle as Weak<dyn ShutdownHandle>)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let (held, answered, _open) = (Vec::new(), false, Open::count());
        Ok(Some(TcpTransport { stream, buffers, held, answered, _open }))
    }
}

/// Tries the addresses in turn, each with an equal share of the time that is left.
fn connect(addresses: &[SocketAddr], deadline: &Deadline) -> Result<TcpStream, Error> {
    let mut last = None;
    for (tried, address) in addresses.iter().enumerate() {
        let share = deadline.left()? / (addresses.len() - tried) as u32;
        match open(address, Instant::now().checked_add(share)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some((address, error)),
        }
    }
    match last {
        Some((_, error)) if error.kind() == ErrorKind::TimedOut => Err(deadline.expired()),
        Some((address, error)) => Err(refused(format!("{address}: {error}"))),
        None => Err(refused("no address".to_owned())),
    }
}

fn open(address: &SocketAddr, until: Option<Instant>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&(*address).into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            fiber::wait(socket.as_fd(), Until::Writable, until)?;
            match socket.take_error()? {
                Some(error) => Err(error),
                None => Ok(socket.into()),
            }
        }
        connected => connected.map(|()| socket.into()),
    }
}

fn refused(message: String) -> Error {
    Error::Other(Box::new(Failure::new(ErrorClass::Connect, message)))
}

/// One connection.
#[derive(Debug)]
pub struct TcpTransport {
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
    /// Output that waits for more, so that head and body leave in one write.
    held: Vec<u8>,
    /// An answer has been read, and nobody has asked since whether the connection is open.
    answered: bool,
    _open: Open,
}

impl TcpTransport {
    fn flush(&mut self, deadline: &Deadline) -> Result<(), Error> {
        let mut written = 0;
        while written < self.held.len() {
            match fiber::write(&*self.stream, &self.held[written..]) {
                Ok(n) => written += n,
                Err(error) => self.wait_after(error, Until::Writable, deadline)?,
            }
        }
        self.held.clear();
        Ok(())
    }

    /// Returns when the operation that ended with `error` may be tried again.
    fn wait_after(&self, error: io::Error, until: Until, deadline: &Deadline) -> Result<(), Error> {
        match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            ErrorKind::WouldBlock => deadline.wait(&self.stream, until),
            _ => Err(error.into()),
        }
    }
}

impl Transport for TcpTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.held.extend_from_slice(&self.buffers.output()[..amount]);
        if self.held.len() >= WRITE_AT {
            self.flush(&Deadline::new(timeout))?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::new(timeout);
        if self.held.is_empty() {
            // A stream without end never has to be waited for.
            deadline.left()?;
        } else {
            self.flush(&deadline)?;
            // The answer to what has just been sent cannot be there.
            deadline.wait(&self.stream, Until::Readable)?;
        }
        loop {
            match (&*self.stream).read(self.buffers.input_append_buf()) {
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    self.answered = true;
                    return Ok(amount > 0);
                }
                Err(error) => self.wait_after(error, Until::Readable, &deadline)?,
            }
        }
    }

    /// An idle connection is open as long as nothing can be read from it: neither an end nor bytes
    /// that nobody asked for. ureq asks when it puts one away and when it takes it out again; the second
    /// time is the one that counts.
    fn is_open(&mut self) -> bool {
        let is_silent = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
        mem::take(&mut self.answered) || self.stream.peek(&mut [0]).is_err_and(is_silent)
    }
}

struct Deadline {
    /// `None` would wait for ever; every agent of ours sets a time.
    at: Option<Instant>,
    reason: Timeout,
}

impl Deadline {
    fn new(timeout: NextTimeout) -> Self {
        Self { at: Instant::now().checked_add(*timeout.after), reason: timeout.reason }
    }

    fn expired(&self) -> Error {
        Error::Timeout(self.reason)
    }

    fn left(&self) -> Result<Duration, Error> {
        let left = self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        if left.is_zero() { Err(self.expired()) } else { Ok(left) }
    }

    fn wait(&self, stream: &TcpStream, until: Until) -> Result<(), Error> {
        match fiber::wait(stream.as_fd(), until, self.at) {
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(self.expired()),
            waited => Ok(waited?),
        }
    }
}
