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

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

use super::fiber::{self, Until};
use super::files::Open;
use super::race::{self, Connected, Lost};
use super::standing::{Standings, Trial};
use domain::failure::{ErrorClass, Failure};

/// Held-back output beyond this is written at once.
const WRITE_AT: usize = 16 * 1024;

/// A connection that has lived this long serves no further request, so that a change of the name's addresses is seen
/// under a steady flow too. A shorter life would cost busy endpoints more handshakes, a longer one keeps the old address longer.
const LIFE: Duration = Duration::from_secs(300);

/// The beginning of a TLS alert, which is what a TLS server says to a request without TLS.
const ALERT: &[u8] = &[0x15, 0x03];

/// The largest head of an answer, in bytes, as docs/guarantees.md has it. A connection holds that much input: a whole head
/// is read before anything is taken from it.
pub(super) const LARGEST_HEAD: usize = 32 * 1024;

/// Where further input goes. Without room the head that has begun is larger than the largest.
pub(super) fn room(buffers: &mut LazyBuffers) -> Result<&mut [u8], Error> {
    let held = buffers.input().len();
    let room = buffers.input_append_buf();
    if room.is_empty() { Err(Error::LargeResponseHeader(held, LARGEST_HEAD)) } else { Ok(room) }
}

/// Opens connections to the addresses that the resolver passed.
#[derive(Debug, Default)]
pub struct TcpConnector {
    standings: Standings,
}

impl TcpConnector {
    fn race(&self, addresses: &[SocketAddr], deadline: &Deadline) -> Result<Connected, Error> {
        race::connect(&self.standings.order(addresses), deadline.at).map_err(|lost| match lost {
            Lost::Late => deadline.expired(),
            Lost::Refused(address, error) => {
                failed(ErrorClass::Connect, format!("{address}: {error}"))
            }
            Lost::NoAddress => failed(ErrorClass::Connect, "no address"),
            Lost::Broken(error) => {
                failed(ErrorClass::Internal, format!("no connection can be opened here: {error}"))
            }
        })
    }
}

impl Connector for TcpConnector {
    type Out = TcpTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<TcpTransport>, Error> {
        let deadline = Deadline::new(details.timeout, Timeout::Connect);
        let Connected { address, stream, open } = self.race(&details.addrs, &deadline)?;
        let stream = Arc::new(stream);
        let handle: Weak<TcpStream> = Arc::downgrade(&stream);
        (details.register_shutdown)(handle as Weak<dyn ShutdownHandle>)?;
        let config = details.config;
        Ok(Some(TcpTransport {
            stream,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            held: Vec::new(),
            answered: false,
            trial: Some(self.standings.try_out(address)),
            until: Instant::now() + LIFE,
            deadline,
            _open: open,
        }))
    }
}

fn failed(class: ErrorClass, message: impl Into<String>) -> Error {
    Error::Other(Box::new(Failure::new(class, message)))
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
    /// Until something has been read. TLS takes it, for what comes first then is no answer.
    pub(super) trial: Option<Trial>,
    /// The end of its life.
    until: Instant,
    /// When it must have been made, TLS and all.
    deadline: Deadline,
    _open: Open,
}

impl TcpTransport {
    /// What is left of the attempt's time for the rest of the connecting.
    pub(super) fn left_to_connect(&self) -> Duration {
        self.deadline.left().unwrap_or_default()
    }

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

    /// Whether what a plain connection brings first can be an answer: a port for TLS sends an alert or hangs up.
    fn check_first(&self) -> Result<(), Error> {
        match self.buffers.input() {
            [] => Err(failed(
                ErrorClass::Reset,
                "the connection ended before an answer; a port for https does that to http",
            )),
            input if input.starts_with(ALERT) => Err(failed(
                ErrorClass::Tls,
                "the endpoint speaks TLS at this port: its URL needs https",
            )),
            _ => Ok(()),
        }
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
            self.flush(&Deadline::new(timeout, Timeout::SendBody))?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::new(timeout, Timeout::RecvResponse);
        if self.held.is_empty() {
            // What never ends never makes us wait, so the time is looked at here.
            deadline.left()?;
        } else {
            self.flush(&Deadline { reason: Timeout::SendBody, ..deadline })?;
            // The answer to what has just been sent cannot be there.
            deadline.wait(&self.stream, Until::Readable)?;
        }
        loop {
            match (&*self.stream).read(room(&mut self.buffers)?) {
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    if let Some(trial) = self.trial.take() {
                        self.check_first()?;
                        trial.answered();
                    }
                    self.answered = true;
                    return Ok(amount > 0);
                }
                Err(error) => self.wait_after(error, Until::Readable, &deadline)?,
            }
        }
    }

    /// An idle connection is open as long as nothing can be read from it, neither an end nor bytes
    /// that nobody asked for, and nothing is left of what has been. ureq asks when it puts one away and when it takes it
    /// out again; the second time is the one that counts, and the only one that asks the system.
    fn is_open(&mut self) -> bool {
        let is_silent = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
        let is_clean = self.buffers.input().is_empty() && self.held.is_empty();
        let has_answered = mem::take(&mut self.answered);
        is_clean
            && Instant::now() < self.until
            && (has_answered || self.stream.peek(&mut [0]).is_err_and(is_silent))
    }
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    /// `None` would wait for ever; every agent of ours sets a time.
    at: Option<Instant>,
    reason: Timeout,
}

impl Deadline {
    /// ureq has one reason for all, because there is one time for all; ours says what it ends.
    fn new(timeout: NextTimeout, reason: Timeout) -> Self {
        Self { at: Instant::now().checked_add(*timeout.after), reason }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connection_is_used_until_the_end_of_its_life() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = |until| {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (buffers, held, _open) = (LazyBuffers::new(1, 1), Vec::new(), Open::count());
            let stream = Arc::new(stream);
            let deadline = Deadline { at: None, reason: Timeout::Connect };
            let (answered, trial) = (true, None);
            TcpTransport { stream, buffers, held, answered, trial, until, deadline, _open }
        };
        assert!(connection(Instant::now() + LIFE).is_open());
        assert!(!connection(Instant::now()).is_open());
        let mut kept = connection(Instant::now() + LIFE);
        assert!(kept.is_open());
        kept.until = Instant::now();
        assert!(!kept.is_open(), "asked again when it is taken");
        let mut left = connection(Instant::now() + LIFE);
        left.buffers.input_append_buf();
        left.buffers.input_appended(1);
        assert!(!left.is_open(), "bytes that nobody asked for");
    }
}
