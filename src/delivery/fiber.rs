//! Many blocking calls on one thread.
//!
//! ureq's calls block. So each runs on a stack of its own, a fiber, and where its socket would block,
//! [`wait`] gives the thread to another. A request that waits costs a stack, and an answer wakes no thread
//! where others are being served.

use std::cell::Cell;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::write_batch::WriteBatch;

/// Enough for a TLS handshake in a build without optimisation; only what is touched is ever mapped.
const STACK: usize = 512 * 1024;

/// Stacks that are kept for the next fibers: as many as there are requests in flight by default, so that a
/// busy endpoint's runners come and go without a page fault.
const SPARE: usize = 100;

/// Events that are fetched at once: more than there are fibers, of which there are as many as `pg_webhook.max_concurrency` allows, so
/// that each turn sees everything that is ready, and no flood of some keeps the deadlines of others from being looked at.
const EVENTS: usize = 4096;

/// What the wakeup's event carries instead of a fiber's.
const WAKEUP: u64 = u64::MAX;

/// A longer wait is cut into several.
const LONGEST: Duration = Duration::from_secs(3600);

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// There is something to read, or the end.
    Readable,
    /// There is room to write, or a connection has been made or refused.
    Writable,
}

struct Wait {
    file: RawFd,
    until: Until,
    deadline: Option<Instant>,
}

/// What a fiber gives way for.
enum Ask {
    Wait(Wait),
    Write { file: RawFd, bytes: *const [u8] },
}

/// It goes on with how many bytes have been written, if that is what it asked for.
type Waiter = Yielder<io::Result<usize>, Ask>;

thread_local! {
    /// The waiter of the fiber that runs on this thread.
    static CURRENT: Cell<Option<NonNull<Waiter>>> = const { Cell::new(None) };
}

/// Waits until `file` is ready. A fiber gives way to others meanwhile; elsewhere the thread waits.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] where `deadline` passes and the file is still not ready, or the reason why it is
/// none that can be waited for. A fiber that panics waits for nothing any more.
pub fn wait(file: BorrowedFd<'_>, until: Until, deadline: Option<Instant>) -> io::Result<()> {
    let Some(waiter) = CURRENT.get() else {
        return block(file, until, deadline);
    };
    refuse_while_unwinding()?;
    ask(waiter, Ask::Wait(Wait { file: file.as_raw_fd(), until, deadline })).map(drop)
}

/// A destructor that gave way in the middle of a panic would let others run on a thread that counts as panicking: a
/// lock that they give back would be poisoned. So this fiber does not give way, and no other is panicking then.
fn refuse_while_unwinding() -> io::Result<()> {
    if std::thread::panicking() { Err(io::Error::other("this fiber panics")) } else { Ok(()) }
}

/// Writes what there is room for, as [`Write::write`] does. Fibers of one thread write together, when all have
/// had their turn; `stream` must not block.
///
/// # Errors
///
/// Those of [`Write::write`]. A fiber that panics writes nothing any more.
pub fn write<S: AsFd>(stream: &S, bytes: &[u8]) -> io::Result<usize>
where
    for<'a> &'a S: Write,
{
    let Some(waiter) = CURRENT.get() else {
        let mut stream = stream;
        return stream.write(bytes);
    };
    refuse_while_unwinding()?;
    ask(waiter, Ask::Write { file: stream.as_fd().as_raw_fd(), bytes })
}

fn ask(waiter: NonNull<Waiter>, ask: Ask) -> io::Result<usize> {
    // SAFETY: the waiter lives as long as its fiber's body, and is asked on that fiber's own stack: `CURRENT` is set by
    // the body on its thread, which a fiber never leaves (neither it nor `Fibers` is `Send`), and cleared whenever the
    // fiber gives way or ends. It is never unwound from outside, see `Fibers::drop`, nor does it give way while it
    // unwinds itself, see `refuse_while_unwinding`.
    let outcome = unsafe { waiter.as_ref() }.suspend(ask);
    CURRENT.set(Some(waiter));
    outcome
}

fn block(file: BorrowedFd<'_>, until: Until, deadline: Option<Instant>) -> io::Result<()> {
    let flags = match until {
        Until::Readable => PollFlags::POLLIN,
        Until::Writable => PollFlags::POLLOUT,
    };
    loop {
        let left = left(deadline, LONGEST);
        let timeout = PollTimeout::try_from(millis(left)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(file, flags)], timeout) {
            Ok(0) if left.is_zero() => return Err(ErrorKind::TimedOut.into()),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn left(deadline: Option<Instant>, most: Duration) -> Duration {
    deadline.map_or(most, |at| at.saturating_duration_since(Instant::now()).min(most))
}

/// Rounded up: a wait of 0 ms would spin through the last millisecond.
fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

/// Makes what [`Fibers`] wait with, and has `wakeup` wake one thread of those that share it.
///
/// # Errors
///
/// The operating system's limit on file descriptors.
pub fn waiting_room(wakeup: BorrowedFd<'_>) -> io::Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
    epoll.add(wakeup, EpollEvent::new(flags, WAKEUP))?;
    Ok(epoll)
}

/// The fibers of one thread.
pub struct Fibers {
    epoll: Epoll,
    slots: Vec<Slot>,
    free: Vec<usize>,
    stacks: Vec<DefaultStack>,
    /// No deadline is earlier.
    soonest: Option<Instant>,
    /// Keyed by slot.
    writes: WriteBatch,
    events: Box<[EpollEvent]>,
    fetched: usize,
}

#[derive(Default)]
struct Slot {
    fiber: Option<Coroutine<io::Result<usize>, Ask, ()>>,
    /// Counts the waits, so that an event of an earlier one wakes nobody.
    wait: u32,
    deadline: Option<Instant>,
    /// Its bytes are among those that are to be written: only the end of that lets it go on.
    writes: bool,
}

impl Fibers {
    /// None yet.
    pub fn new(epoll: Epoll) -> Self {
        Self {
            epoll,
            slots: Vec::new(),
            free: Vec::new(),
            stacks: Vec::new(),
            soonest: None,
            writes: WriteBatch::new(),
            events: vec![EpollEvent::empty(); EVENTS].into(),
            fetched: 0,
        }
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Makes sure that there is a stack for one more.
    ///
    /// # Errors
    ///
    /// The operating system's limit on memory.
    pub fn prepare(&mut self) -> io::Result<()> {
        if self.stacks.is_empty() {
            self.stacks.push(DefaultStack::new(STACK)?);
        }
        Ok(())
    }

    /// Runs `job` until it waits, and on as what it waits for comes. If it panics, it ends, and no other does.
    ///
    /// # Panics
    ///
    /// Without [`Self::prepare`].
    pub fn start(&mut self, job: impl FnOnce() + 'static) {
        let stack = self.stacks.pop().expect("prepared");
        let fiber = Coroutine::with_stack(stack, move |waiter: &Waiter, _| {
            CURRENT.set(Some(NonNull::from(waiter)));
            if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
                // Its destructor could panic as well.
                mem::forget(payload);
            }
        });
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        self.slots[at].fiber = Some(fiber);
        self.resume(at, Ok(0));
    }

    /// Writes what fibers have asked for, and lets them go on.
    pub fn flush(&mut self) {
        while !self.writes.is_empty() {
            for (at, outcome) in self.writes.flush() {
                self.slots[at].writes = false;
                self.resume(at, outcome);
            }
        }
    }

    /// After [`Self::flush`]: waits for at most `patience` until the wakeup is used or a fiber can go on.
    pub fn wait(&mut self, patience: Duration) {
        let timeout = EpollTimeout::try_from(millis(left(self.soonest, patience)));
        // An open epoll fails only when it is interrupted.
        self.fetched =
            self.epoll.wait(&mut self.events, timeout.unwrap_or(EpollTimeout::MAX)).unwrap_or(0);
    }

    /// Lets every fiber go on that can; says whether the last wait was for anything.
    pub fn go_on(&mut self) -> bool {
        let mut was_ready = self.serve_ready();
        if self.soonest.is_some_and(|at| at <= Instant::now()) {
            // Whatever is ready goes first: this thread, or the process, may have been held up since it looked.
            self.wait(Duration::ZERO);
            was_ready |= self.serve_ready();
        }
        let expired = self.expired();
        for at in &expired {
            self.resume(*at, Err(ErrorKind::TimedOut.into()));
        }
        was_ready || !expired.is_empty()
    }

    /// Lets those go on that the last wait was for; says whether there were any.
    fn serve_ready(&mut self) -> bool {
        let fetched = mem::take(&mut self.fetched);
        for at in 0..fetched {
            let data = self.events[at].data();
            let (at, wait) = (data as u32 as usize, (data >> 32) as u32);
            let waits = |slot: &Slot| slot.wait == wait && !slot.writes;
            if data != WAKEUP && self.slots.get(at).is_some_and(waits) {
                self.resume(at, Ok(0));
            }
        }
        fetched > 0
    }

    fn expired(&mut self) -> Vec<usize> {
        let now = Instant::now();
        if self.soonest.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let deadlines = |slot: &Slot| slot.deadline.filter(|_| slot.fiber.is_some());
        let (late, others): (Vec<_>, Vec<_>) = (self.slots.iter().enumerate())
            .filter_map(|(at, slot)| Some((at, deadlines(slot)?)))
            .partition(|(_, deadline)| *deadline <= now);
        self.soonest = others.into_iter().map(|(_, deadline)| deadline).min();
        late.into_iter().map(|(at, _)| at).collect()
    }

    fn resume(&mut self, at: usize, mut outcome: io::Result<usize>) {
        loop {
            let slot = &mut self.slots[at];
            let Some(fiber) = &mut slot.fiber else {
                return;
            };
            slot.wait = slot.wait.wrapping_add(1);
            let result = fiber.resume(outcome);
            CURRENT.set(None);
            match result {
                CoroutineResult::Yield(Ask::Write { file, bytes }) => {
                    (slot.deadline, slot.writes) = (None, true);
                    // SAFETY: the fiber has borrowed both until it goes on. While `writes` is set nothing but `flush`
                    // lets it: no event does, and it has no deadline. One that never goes on has them for ever, because
                    // it is never dropped, and its stack neither.
                    return unsafe { self.writes.add(at, file, bytes) };
                }
                CoroutineResult::Yield(Ask::Wait(wait)) => match self.wait_for(at, &wait) {
                    Ok(()) => return,
                    Err(error) => outcome = Err(error),
                },
                CoroutineResult::Return(()) => return self.end(at),
            }
        }
    }

    fn wait_for(&mut self, at: usize, wait: &Wait) -> io::Result<()> {
        let slot = &mut self.slots[at];
        slot.deadline = wait.deadline;
        self.soonest = [self.soonest, wait.deadline].into_iter().flatten().min();
        let flags = match wait.until {
            Until::Readable => EpollFlags::EPOLLIN,
            Until::Writable => EpollFlags::EPOLLOUT,
        };
        let data = u64::from(slot.wait) << 32 | at as u64;
        let mut event = EpollEvent::new(flags | EpollFlags::EPOLLONESHOT, data);
        // SAFETY: the fiber has borrowed the file until it goes on, which is not before this returns.
        let file = unsafe { BorrowedFd::borrow_raw(wait.file) };
        match self.epoll.modify(file, &mut event) {
            Err(Errno::ENOENT) => Ok(self.epoll.add(file, event)?),
            done => Ok(done?),
        }
    }

    fn end(&mut self, at: usize) {
        let ended = self.slots[at].fiber.take();
        self.free.push(at);
        if self.is_empty() {
            self.soonest = None;
        }
        if let Some(fiber) = ended.filter(|_| self.stacks.len() < SPARE) {
            self.stacks.push(fiber.into_stack());
        }
    }
}

/// Fibers that have not ended, as when a panic ends their thread, stay where they are for the life of the process:
/// others may hold addresses of what is on their stacks. To drop them would unwind them, and each would take that for
/// a panic of its request and go on with the next one.
impl Drop for Fibers {
    fn drop(&mut self) {
        self.slots.iter_mut().filter_map(|slot| slot.fiber.take()).for_each(mem::forget);
    }
}

#[cfg(test)]
mod tests;
