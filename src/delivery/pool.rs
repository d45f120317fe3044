//! The requests in flight, and the threads that carry them.
//!
//! Each runner that has a place ([`super::line`]) is a fiber ([`super::fiber`]) on one of few threads. One
//! thread is enough for most loads, and leaves the server more of its processors than many would; another is
//! started when all are busy and messages or runners have waited for long, and one that is idle for long
//! ends. A runner that has had its turn goes to the end of its line, so that lanes share the places.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::sys::epoll::Epoll;

use super::attempt;
use super::bell::Bell;
use super::fiber::{self, Fibers};
use super::lane::Lane;
use super::line::{Line, Turn};
use super::thread;
use domain::failure::{ErrorClass, Failure};
use domain::verdict;
use transit::sending::{EndpointQueue, Exchange, Message, Outcome};

/// A thread without work ends after this.
const IDLE: Duration = Duration::from_secs(30);

/// A runner's turn: many requests to a fast endpoint, one to a slow one.
const TURN: Duration = Duration::from_millis(5);

/// When a message or a runner has waited this long, there may be too few threads.
const LATE: Duration = Duration::from_millis(20);

/// Until it is tried again, when there is no memory for another runner.
const PAUSE: Duration = Duration::from_millis(100);

/// Outcomes that may wait to be collected while another attempt begins, which bounds what a crash can repeat. What is under
/// way then goes on: a thread that waited for room would let the time limits of its requests pass.
pub const OUTCOMES: usize = 512;

/// A pool of threads; dropping it lets them end when their attempts do.
pub struct Pool {
    shared: Arc<Shared>,
    outcomes: Receiver<Outcome>,
    /// More threads would only take them from each other.
    processors: usize,
}

struct Shared {
    line: Arc<Line>,
    /// Runners wait.
    work: Bell,
    outcomes: Sender<Outcome>,
    /// Outcomes wait.
    done: Bell,
    /// A runner has found that too many wait.
    held_up: AtomicBool,
    places: AtomicUsize,
    threads: AtomicUsize,
    /// Those of them that wait for something to do.
    idle: AtomicUsize,
    in_flight: AtomicUsize,
    /// Something has panicked, and what it held is lost to this process.
    broken: AtomicBool,
}

impl Pool {
    /// A pool without threads that will have at most `places` requests in flight.
    ///
    /// # Errors
    ///
    /// The operating system's limit on file descriptors.
    pub fn new(places: usize) -> io::Result<Self> {
        let (sender, outcomes) = unbounded();
        let shared = Shared {
            line: Arc::default(),
            work: Bell::new()?,
            outcomes: sender,
            done: Bell::new()?,
            held_up: AtomicBool::new(false),
            places: AtomicUsize::new(places),
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { shared: Arc::new(shared), outcomes, processors })
    }

    /// Changes how many requests may be in flight; runners beyond it end with their attempt.
    pub fn resize(&self, places: usize) {
        self.shared.places.store(places, Ordering::Relaxed);
        self.shared.work.ring();
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
        let runners = lane.push(messages);
        for _ in 0..runners {
            self.shared.line.join(Arc::clone(lane));
        }
        if runners > 0 {
            self.shared.work.ring();
        }
        let waiting = self.shared.line.lag(self.shared.places());
        let is_late = waiting.is_some_and(|lag| lag > LATE) || lane.lag() > LATE;
        let is_short = match self.shared.threads.load(Ordering::Relaxed) {
            0 => waiting.is_some(),
            threads => is_late && threads < self.processors && self.shared.is_busy(),
        };
        if is_short { self.start_thread() } else { Ok(()) }
    }

    fn start_thread(&self) -> io::Result<()> {
        let shared = &self.shared;
        let room = fiber::waiting_room(shared.work.as_fd());
        let others = shared.threads.fetch_add(1, Ordering::Relaxed);
        let own = Arc::clone(shared);
        let started = room.and_then(|room| {
            thread::spawn("webhook delivery", move || own.guard(|| own.serve(room)))
        });
        if let Err(error) = started {
            shared.threads.fetch_sub(1, Ordering::Relaxed);
            if others == 0 {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The outcomes that have come in, at most `most` of them.
    pub fn collect(&self, most: usize) -> Vec<Outcome> {
        self.shared.done.silence();
        let outcomes = self.outcomes.try_iter().take(most).collect();
        if self.uncollected() < OUTCOMES && self.shared.held_up.swap(false, Ordering::SeqCst) {
            self.shared.work.ring();
        }
        outcomes
    }

    /// Readable when outcomes wait.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }

    /// Whether something has panicked outside of an attempt. Messages may be left that never have an outcome.
    pub fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::Relaxed)
    }

    /// Threads, and attempts under way.
    pub fn load(&self) -> (usize, usize) {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (read(&self.shared.threads), read(&self.shared.in_flight))
    }

    /// Processors that this process may use.
    pub fn processors(&self) -> usize {
        self.processors
    }

    /// Outcomes that nobody has collected.
    pub fn uncollected(&self) -> usize {
        self.outcomes.len()
    }
}

impl Shared {
    fn places(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    /// Whether an attempt may begin. If not, the bell rings when it may.
    fn may_begin(&self) -> bool {
        let has_room = || self.outcomes.len() < OUTCOMES;
        has_room() || {
            self.held_up.store(true, Ordering::SeqCst);
            // Somebody may have collected them before that.
            has_room()
        }
    }

    /// Whether every thread has something to do.
    fn is_busy(&self) -> bool {
        self.idle.load(Ordering::Relaxed) == 0
    }

    /// Lets the leader know when `work` panics.
    fn guard(&self, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.broken.store(true, Ordering::Relaxed);
            self.done.ring();
        }
    }

    fn serve(self: &Arc<Self>, room: Epoll) {
        let mut fibers = Fibers::new(room);
        loop {
            let patience = if self.take_on(&mut fibers) { IDLE } else { PAUSE };
            fibers.flush();
            self.idle.fetch_add(1, Ordering::Relaxed);
            fibers.wait(patience);
            self.idle.fetch_sub(1, Ordering::Relaxed);
            let is_over = !fibers.go_on() && patience == IDLE && fibers.is_empty();
            if is_over && self.leaves() {
                return;
            }
        }
    }

    /// Starts the runners that have a place; says whether there was memory for all of them.
    fn take_on(self: &Arc<Self>, fibers: &mut Fibers) -> bool {
        self.work.silence();
        // Half of them, so that other threads find some. Those that join meanwhile come after what is ready.
        for _ in 0..self.line.len().div_ceil(2) {
            if fibers.prepare().is_err() {
                return false;
            }
            let turn = if self.may_begin() { self.line.next(self.places()) } else { None };
            let Some(turn) = turn else {
                break;
            };
            let own = Arc::clone(self);
            fibers.start(move || own.guard(|| own.run(turn)));
        }
        if self.line.lag(self.places()).is_some() && self.may_begin() {
            self.work.ring();
        }
        true
    }

    /// Ends this thread, unless somebody has counted on it meanwhile.
    fn leaves(&self) -> bool {
        self.threads.fetch_sub(1, Ordering::Relaxed);
        // Whoever joins after this look finds one thread less.
        let leaves = self.line.lag(self.places()).is_none();
        if !leaves {
            self.threads.fetch_add(1, Ordering::Relaxed);
        }
        leaves
    }

    fn run(&self, turn: Turn) {
        let began = Instant::now();
        let lane = &turn.lane;
        loop {
            if !self.may_begin() {
                self.line.join(Arc::clone(lane));
                return;
            }
            let asked = Instant::now();
            let Some((endpoint, message)) = lane.next() else {
                return;
            };
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            let exchange = catch_unwind(AssertUnwindSafe(|| attempt::perform(&endpoint, &message)))
                .unwrap_or_else(|_| panicked());
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            lane.note(verdict::blames_endpoint(&exchange.result), exchange.took);
            let Message { delivery, attempt, .. } = message;
            let outcome =
                Outcome { webhook: lane.webhook(), delivery, attempt, began: asked, exchange };
            if self.outcomes.send(outcome).is_err() {
                return;
            }
            self.done.ring();
            if began.elapsed() >= TURN || self.line.is_crowded(self.places()) {
                self.line.join(Arc::clone(lane));
                return;
            }
        }
    }
}

/// The time is lost with the panic; the log shows the moment when it was noticed.
fn panicked() -> Exchange {
    let failure = Failure::new(ErrorClass::Internal, "an attempt panicked");
    Exchange { started: SystemTime::now(), took: Duration::ZERO, result: Err(failure) }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, poll};

    use super::*;
    use crate::client::{Endpoint, example};

    fn lane() -> Arc<Lane> {
        let endpoint = Endpoint::new(&example::client(), example::destination()).unwrap();
        Arc::new(Lane::new(1, Arc::new(endpoint)))
    }

    #[test]
    fn no_attempt_begins_while_too_many_outcomes_wait() {
        let pool = Pool::new(1).unwrap();
        let outcome = |delivery| Outcome {
            webhook: 1,
            delivery,
            attempt: 1,
            began: Instant::now(),
            exchange: panicked(),
        };
        for delivery in 0..OUTCOMES as i64 {
            pool.shared.outcomes.send(outcome(delivery)).unwrap();
        }
        let message =
            Message { delivery: -1, event_id: String::new(), attempt: 1, body: String::new() };
        pool.send(&lane(), [message]).unwrap();
        let is_held_up = || pool.shared.held_up.load(Ordering::SeqCst);
        while !is_held_up() {
            std::thread::yield_now();
        }
        assert_eq!((pool.uncollected(), pool.load().1), (OUTCOMES, 0));
        pool.collect(1);
        let mut bell = [PollFd::new(pool.shared.done.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut bell, 10_000u16), Ok(1), "it goes on when there is room");
        assert!(pool.collect(OUTCOMES).iter().any(|outcome| outcome.delivery == -1));
    }

    #[test]
    fn a_panic_outside_of_attempts_is_noticed() {
        let pool = Pool::new(1).unwrap();
        assert!(!pool.is_broken());
        // A runner that its lane has not asked for ends in an overflow.
        pool.shared.line.join(lane());
        pool.start_thread().unwrap();
        let mut bell = [PollFd::new(pool.shared.done.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut bell, 10_000u16), Ok(1));
        assert!(pool.is_broken());
    }
}
