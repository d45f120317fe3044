//! The requests in flight, and the threads that carry them.
//!
//! Each runner that has a permit ([`super::admission`]) is a fiber ([`super::fiber`]) on one of few threads. One
//! thread is enough for most loads, and leaves the server more of its processors than many would; another is
//! started when all are busy and parcels or runners have waited for long, and one that is idle for long
//! ends. A runner gives its permit back after [`TURN`] and goes behind the others, so that endpoints share the permits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::sys::epoll::Epoll;

use super::admission::{Admission, Permit};
use super::attempt;
use super::endpoint_queue::EndpointQueue;
use super::fiber::{self, Fibers};
use super::thread;
use super::wakeup::Wakeup;
use domain::failure::{ErrorClass, Failure};
use domain::verdict;
use transit::sending::{Exchange, Outcome, Parcel, Queue};

/// A thread without work ends after this. It costs a stack that has been touched, and a new one is started in a tenth of a
/// millisecond.
const IDLE: Duration = Duration::from_secs(30);

/// How long a runner keeps its permit before it goes behind those that wait: many requests to a fast endpoint, one to a slow one.
/// Shorter, and connections are changed for each request; longer, and others wait longer.
const TURN: Duration = Duration::from_millis(5);

/// A parcel or a runner that has waited this long is late, and there may be too few threads. A thread that does TLS handshakes is
/// busy for some milliseconds with each.
const LATE: Duration = Duration::from_millis(20);

/// The time until it is tried again to start a runner for which there was no memory.
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
    admission: Arc<Admission>,
    /// Runners wait.
    work: Wakeup,
    outcomes: Sender<Outcome>,
    /// Outcomes wait.
    done: Wakeup,
    /// An attempt was to begin while [`OUTCOMES`] had not been collected: whoever collects wakes a thread.
    held_up: AtomicBool,
    permits: AtomicUsize,
    threads: AtomicUsize,
    /// Those of them that wait for something to do.
    idle: AtomicUsize,
    in_flight: AtomicUsize,
    /// Something has panicked, and what it held is lost to this process.
    broken: AtomicBool,
}

impl Pool {
    /// A pool without threads that will have at most `permits` requests in flight.
    ///
    /// # Errors
    ///
    /// The operating system's limit on file descriptors.
    pub fn new(permits: usize) -> io::Result<Self> {
        let (sender, outcomes) = unbounded();
        let shared = Shared {
            admission: Arc::default(),
            work: Wakeup::new()?,
            outcomes: sender,
            done: Wakeup::new()?,
            held_up: AtomicBool::new(false),
            permits: AtomicUsize::new(permits),
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { shared: Arc::new(shared), outcomes, processors })
    }

    /// Changes how many requests may be in flight; runners beyond it end with their attempt.
    pub fn resize(&self, permits: usize) {
        self.shared.permits.store(permits, Ordering::Relaxed);
        self.shared.work.wake();
    }

    /// Hands `parcels` to the threads through `queue`.
    ///
    /// # Errors
    ///
    /// Not a single thread could be started. The parcels stay in the queue.
    pub fn send(
        &self,
        queue: &Arc<EndpointQueue>,
        parcels: impl IntoIterator<Item = Parcel>,
    ) -> io::Result<()> {
        let runners = queue.push(parcels);
        for _ in 0..runners {
            self.shared.admission.join(Arc::clone(queue));
        }
        if runners > 0 {
            self.shared.work.wake();
        }
        let waiting = self.shared.admission.lag(self.shared.permits());
        let is_late = waiting.is_some_and(|lag| lag > LATE) || queue.lag() > LATE;
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

    /// The outcomes that have come in, until they are those of `most` deliveries; the last batch may go beyond.
    pub fn collect(&self, most: usize) -> Vec<Outcome> {
        self.shared.done.clear();
        let (mut outcomes, mut deliveries) = (Vec::new(), 0);
        while deliveries < most
            && let Ok(outcome) = self.outcomes.try_recv()
        {
            deliveries += outcome.batch.unwrap_or(1) as usize;
            outcomes.push(outcome);
        }
        if self.uncollected() < OUTCOMES && self.shared.held_up.swap(false, Ordering::SeqCst) {
            self.shared.work.wake();
        }
        outcomes
    }

    /// Readable when outcomes wait.
    pub fn wakeup(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }

    /// Whether something has panicked outside of an attempt. Parcels may be left that never have an outcome.
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
    fn permits(&self) -> usize {
        self.permits.load(Ordering::Relaxed)
    }

    /// Whether an attempt may begin. If not, the thread is woken when one may.
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
            self.done.wake();
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

    /// Starts the runners that have a permit; says whether there was memory for all of them.
    fn take_on(self: &Arc<Self>, fibers: &mut Fibers) -> bool {
        self.work.clear();
        // Half of them, so that other threads find some. Those that join meanwhile come after what is ready.
        for _ in 0..self.admission.len().div_ceil(2) {
            if fibers.prepare().is_err() {
                return false;
            }
            let permit = if self.may_begin() { self.admission.next(self.permits()) } else { None };
            let Some(permit) = permit else {
                break;
            };
            let own = Arc::clone(self);
            fibers.start(move || own.guard(|| own.run(permit)));
        }
        if self.admission.lag(self.permits()).is_some() && self.may_begin() {
            self.work.wake();
        }
        true
    }

    /// Ends this thread, unless somebody has counted on it meanwhile.
    fn leaves(&self) -> bool {
        self.threads.fetch_sub(1, Ordering::Relaxed);
        // Whoever joins after this look finds one thread less.
        let leaves = self.admission.lag(self.permits()).is_none();
        if !leaves {
            self.threads.fetch_add(1, Ordering::Relaxed);
        }
        leaves
    }

    fn run(&self, permit: Permit) {
        let began = Instant::now();
        let queue = &permit.queue;
        loop {
            if !self.may_begin() {
                self.admission.join(Arc::clone(queue));
                return;
            }
            let asked = Instant::now();
            let Some((endpoint, parcel)) = queue.next() else {
                return;
            };
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            let exchange = catch_unwind(AssertUnwindSafe(|| attempt::perform(&endpoint, &parcel)))
                .unwrap_or_else(|_| panicked());
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            queue.note(verdict::blames_endpoint(&exchange.result), exchange.took);
            let Parcel { delivery, batch, .. } = parcel;
            let webhook = queue.webhook();
            let outcome = Outcome { webhook, delivery, batch, began: asked, exchange };
            if self.outcomes.send(outcome).is_err() {
                return;
            }
            self.done.wake();
            if began.elapsed() >= TURN || self.admission.is_crowded(self.permits()) {
                self.admission.join(Arc::clone(queue));
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
    use domain::key::{DeliveryId, WebhookId};

    fn queue() -> Arc<EndpointQueue> {
        let endpoint = Endpoint::new(&example::client(), example::destination()).unwrap();
        Arc::new(EndpointQueue::new(WebhookId(1), Arc::new(endpoint)))
    }

    #[test]
    fn no_attempt_begins_while_too_many_outcomes_wait() {
        let pool = Pool::new(1).unwrap();
        let outcome = |delivery| Outcome {
            webhook: WebhookId(1),
            delivery: DeliveryId(delivery),
            batch: None,
            began: Instant::now(),
            exchange: panicked(),
        };
        for delivery in 0..OUTCOMES as i64 {
            pool.shared.outcomes.send(outcome(delivery)).unwrap();
        }
        let parcel = Parcel {
            delivery: DeliveryId(-1),
            event_id: String::new(),
            attempt: 1,
            batch: None,
            replay: false,
            body: String::new(),
        };
        pool.send(&queue(), [parcel]).unwrap();
        let is_held_up = || pool.shared.held_up.load(Ordering::SeqCst);
        while !is_held_up() {
            std::thread::yield_now();
        }
        assert_eq!((pool.uncollected(), pool.load().1), (OUTCOMES, 0));
        pool.collect(1);
        let mut wakeup = [PollFd::new(pool.shared.done.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut wakeup, 10_000u16), Ok(1), "it goes on when there is room");
        assert!(pool.collect(OUTCOMES).iter().any(|outcome| outcome.delivery == DeliveryId(-1)));
    }

    #[test]
    fn a_panic_outside_of_attempts_is_noticed() {
        let pool = Pool::new(1).unwrap();
        assert!(!pool.is_broken());
        // A runner that its queue has not asked for ends in an overflow.
        pool.shared.admission.join(queue());
        pool.start_thread().unwrap();
        let mut wakeup = [PollFd::new(pool.shared.done.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut wakeup, 10_000u16), Ok(1));
        assert!(pool.is_broken());
    }
}
