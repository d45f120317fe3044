//! The threads that serve all lanes.
//!
//! Threads are started when runners wait and none is idle, up to a maximum, and end after an idle
//! time. A runner that has had its turn goes to the end of its line ([`super::line`]) when others wait,
//! so that lanes share the threads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::attempt::{self, Exchange, Message};
use super::lane::Lane;
use super::line::Line;
use super::thread;
use crate::domain::failure::{ErrorClass, Failure};
use crate::domain::verdict;

/// A thread without work ends after this.
const IDLE: Duration = Duration::from_secs(30);

/// A runner's turn: many requests to a fast endpoint, one to a slow one.
const TURN: Duration = Duration::from_millis(5);

/// Outcomes that may wait to be collected. Threads that are further ahead wait, which bounds what a
/// crash can repeat.
pub const OUTCOMES: usize = 512;

/// An attempt that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// The lane's webhook.
    pub webhook: i32,
    /// [`Message::delivery`].
    pub delivery: i64,
    /// [`Message::attempt`].
    pub attempt: u32,
    /// How it went.
    pub exchange: Exchange,
}

/// A pool of threads; dropping it lets them end when their attempts do.
pub struct Pool {
    shared: Arc<Shared>,
    outcomes: Receiver<Outcome>,
}

struct Shared {
    line: Line,
    outcomes: Sender<Outcome>,
    bell: Bell,
    most: AtomicUsize,
    threads: AtomicUsize,
    in_flight: AtomicUsize,
}

/// Wakes the collector of outcomes through a file descriptor, once for any number of them.
struct Bell {
    event: EventFd,
    rung: AtomicBool,
}

impl Pool {
    /// A pool without threads that will have at most `most`.
    ///
    /// # Errors
    ///
    /// The operating system's limit on file descriptors.
    pub fn new(most: usize) -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let (sender, outcomes) = bounded(OUTCOMES);
        let shared = Shared {
            line: Line::default(),
            outcomes: sender,
            bell: Bell { event, rung: AtomicBool::new(false) },
            most: AtomicUsize::new(most),
            threads: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
        };
        Ok(Self { shared: Arc::new(shared), outcomes })
    }

    /// Changes the maximum; threads beyond it end after their attempt.
    pub fn resize(&self, most: usize) {
        self.shared.most.store(most, Ordering::Relaxed);
    }

    /// Hands `messages` to the threads through `lane`.
    ///
    /// # Errors
    ///
    /// Not a single thread could be started. The messages stay in the lane.
    pub fn send(
        &self,
        lane: &Arc<Lane>,
        messages: impl IntoIterator<Item = Message>,
    ) -> io::Result<()> {
        for _ in 0..lane.push(messages) {
            self.shared.line.join(Arc::clone(lane));
        }
        self.staff()
    }

    /// Starts threads for the runners that wait.
    fn staff(&self) -> io::Result<()> {
        let shared = &self.shared;
        let most = shared.most.load(Ordering::Relaxed);
        loop {
            let threads = shared.threads.load(Ordering::Relaxed);
            if threads >= most || !shared.line.is_short() {
                return Ok(());
            }
            shared.threads.fetch_add(1, Ordering::Relaxed);
            shared.line.expect();
            let own = Arc::clone(shared);
            if let Err(error) = thread::spawn("webhook delivery", move || own.work()) {
                shared.line.give_up();
                let others = shared.threads.fetch_sub(1, Ordering::Relaxed) - 1;
                return if others == 0 { Err(error) } else { Ok(()) };
            }
        }
    }

    /// The outcomes that have come in, at most `most` of them.
    pub fn collect(&self, most: usize) -> Vec<Outcome> {
        self.shared.bell.silence();
        self.outcomes.try_iter().take(most).collect()
    }

    /// Readable when outcomes wait.
    pub fn bell(&self) -> RawFd {
        self.shared.bell.event.as_raw_fd()
    }

    /// Threads, and attempts under way.
    pub fn load(&self) -> (usize, usize) {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (read(&self.shared.threads), read(&self.shared.in_flight))
    }

    /// Outcomes that nobody has collected.
    pub fn uncollected(&self) -> usize {
        self.outcomes.len()
    }
}

impl AsFd for Pool {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.bell.event.as_fd()
    }
}

impl Shared {
    fn work(&self) {
        while let Some(turn) = self.line.next(self.most.load(Ordering::Relaxed), IDLE) {
            self.run(&turn.lane);
            drop(turn);
            if self.retires() {
                return;
            }
            self.line.expect();
        }
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether this thread is one too many; not more of them leave than are.
    fn retires(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let less = |threads: usize| (threads > most).then(|| threads - 1);
        self.threads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn run(&self, lane: &Arc<Lane>) {
        let began = Instant::now();
        while let Some((endpoint, message)) = lane.next() {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            let exchange = catch_unwind(AssertUnwindSafe(|| attempt::perform(&endpoint, &message)))
                .unwrap_or_else(|_| panicked());
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            lane.note(verdict::failure_of(&exchange.result).is_some(), exchange.took);
            let Message { delivery, attempt, .. } = message;
            let outcome = Outcome { webhook: lane.webhook(), delivery, attempt, exchange };
            if self.outcomes.send(outcome).is_err() {
                return;
            }
            self.bell.ring();
            let over = began.elapsed() >= TURN && !self.line.is_empty();
            if over || self.threads.load(Ordering::Relaxed) > self.most.load(Ordering::Relaxed) {
                self.line.join(Arc::clone(lane));
                return;
            }
        }
    }
}

/// The time is lost with the panic; the log shows the moment when it was noticed.
fn panicked() -> Exchange {
    let failure = Failure::new(ErrorClass::Internal, "a delivery thread panicked");
    Exchange { started: SystemTime::now(), took: Duration::ZERO, result: Err(failure) }
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Fails only when the counter is full, which wakes as well.
            let _ = self.event.write(1);
        }
    }

    fn silence(&self) {
        // The flag goes down first: an outcome that comes in between rings again.
        let _ = self.event.read();
        self.rung.store(false, Ordering::Release);
    }
}
