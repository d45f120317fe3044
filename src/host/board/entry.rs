//! What one database has on the board: its worker, how to wake it, how it is.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, Ordering, fence};
use std::time::SystemTime;

use pgrx::pg_sys;

use super::{are_waiting, exclusively, own_process, set_latch_of, wake_launcher};
use crate::host::state::{Leave, State};
use crate::pg::server;
use domain::brief::brief;
use domain::ids::Clock;
use domain::time::Timestamp;

/// Bytes kept of a worker's last error.
const ERROR: usize = 200;

/// One database.
pub struct Entry {
    pub(super) database: AtomicU32,
    /// Process number of the worker plus one; 0 where there is none.
    pub(super) process: AtomicI32,
    /// Set by whoever has something for the worker, cleared by the worker before it looks.
    wake: AtomicBool,
    /// Definitions have changed.
    changed: AtomicBool,
    /// Deliveries have been cancelled.
    cancelled: AtomicBool,
    /// Asks the launcher to look whether this database needs a worker.
    pub(super) announced: AtomicBool,
    state: AtomicU8,
    /// The worker has come so far as to work.
    worked: AtomicBool,
    pid: AtomicI32,
    /// The same of the last one, which may be on its way in or out.
    last_pid: AtomicI32,
    started: AtomicI64,
    /// Since when `state` is what it is.
    since: AtomicI64,
    /// How the worker is wanted to leave: a [`Leave`].
    leave: AtomicU8,
    /// Since when the worker has had nothing to do; 0 while it has.
    idle_since: AtomicI64,
    /// When a database whose worker has left needs one again, unless somebody wakes it before.
    due: AtomicI64,
    /// Its worker has left because there was nothing to do before `due`.
    resting: AtomicBool,
    /// Until then it has needed no worker since the last one has left; 0 where that is not known.
    needed_from: AtomicI64,
    in_flight: AtomicU32,
    threads: AtomicU32,
    /// Nothing that the worker does succeeds at the moment.
    failing: AtomicBool,
    /// A file of certificates could not be read.
    lacks_certificates: AtomicBool,
    /// Odd while `error` is being written.
    error_version: AtomicU32,
    error: [AtomicU8; ERROR],
    /// Of delivery ids.
    ids: Clock,
}

fn now() -> i64 {
    Timestamp::from(SystemTime::now()).0
}

impl Entry {
    pub(super) fn new() -> Self {
        Self {
            database: AtomicU32::new(0),
            process: AtomicI32::new(0),
            wake: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            state: AtomicU8::new(0),
            worked: AtomicBool::new(false),
            pid: AtomicI32::new(0),
            last_pid: AtomicI32::new(0),
            started: AtomicI64::new(0),
            since: AtomicI64::new(0),
            leave: AtomicU8::new(0),
            idle_since: AtomicI64::new(0),
            due: AtomicI64::new(Timestamp::INFINITY.0),
            resting: AtomicBool::new(false),
            needed_from: AtomicI64::new(0),
            in_flight: AtomicU32::new(0),
            threads: AtomicU32::new(0),
            failing: AtomicBool::new(false),
            lacks_certificates: AtomicBool::new(false),
            error_version: AtomicU32::new(0),
            error: std::array::from_fn(|_| AtomicU8::new(0)),
            ids: Clock::default(),
        }
    }

    /// Whose entry this is.
    pub fn database(&self) -> pg_sys::Oid {
        self.database.load(Ordering::Acquire).into()
    }

    /// The entry is a database's from now on.
    pub(super) fn begin(&self) {
        self.since.store(now(), Ordering::Relaxed);
    }

    /// Gives the entry back, unless the database has announced itself again.
    pub fn release(&self) {
        exclusively(|| {
            if self.announced.load(Ordering::SeqCst) {
                return;
            }
            self.forget_worker();
            self.set_state(State::Stopped);
            self.set_error("");
            self.set_lacks_certificates(false);
            for flag in [&self.wake, &self.changed, &self.cancelled, &self.worked, &self.resting] {
                flag.store(false, Ordering::SeqCst);
            }
            self.due.store(Timestamp::INFINITY.0, Ordering::SeqCst);
            self.set_needed_from(Timestamp(0));
            self.ids.forget();
            self.database.store(0, Ordering::SeqCst);
        });
    }

    /// The clock of its delivery ids.
    pub fn ids(&self) -> &Clock {
        &self.ids
    }

    /// Wakes the worker, once for any number of calls until it looks; where there is none, the launcher.
    ///
    /// A worker that leaves at this moment does not look any more. But it is off the board before it wakes the
    /// launcher, which finds the wake then.
    pub fn wake(&self) {
        // A look first, so that many who commit do not take the cache line from each other; the fence keeps
        // it behind what the worker is to find.
        fence(Ordering::SeqCst);
        if !self.wake.load(Ordering::Relaxed) && !self.wake.swap(true, Ordering::SeqCst) {
            match self.process.load(Ordering::SeqCst) {
                0 => wake_launcher(),
                process => set_latch_of(process),
            }
        }
    }

    /// Whether somebody has woken the worker. To be asked before it looks for work: whoever comes later
    /// wakes it again.
    pub fn take_wake(&self) -> bool {
        self.wake.swap(false, Ordering::SeqCst)
    }

    /// Whether somebody has woken the worker since it last took the wake.
    pub fn is_woken(&self) -> bool {
        self.wake.load(Ordering::SeqCst)
    }

    /// Has the worker read the definitions at its next poll.
    pub fn set_changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// Whether they have changed since the last call.
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::SeqCst)
    }

    /// Has the worker look for cancelled deliveries.
    pub fn set_cancelled(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether there have been any since the last call.
    pub fn take_cancelled(&self) -> bool {
        self.cancelled.swap(false, Ordering::SeqCst)
    }

    /// Whether the worker has been told anything else than that there may be events. It may have taken the
    /// wake before.
    pub fn is_asked(&self) -> bool {
        self.changed.load(Ordering::SeqCst) || self.cancelled.load(Ordering::SeqCst)
    }

    /// Takes the announcement.
    pub fn take_announcement(&self) -> bool {
        self.announced.swap(false, Ordering::SeqCst)
    }

    /// Whether there is one.
    pub fn is_announced(&self) -> bool {
        self.announced.load(Ordering::SeqCst)
    }

    /// This process is about to connect.
    pub(super) fn arrive(&self) {
        self.last_pid.store(server::pid(), Ordering::SeqCst);
    }

    /// This process is the worker.
    pub(super) fn enter(&self, now: i64) {
        self.started.store(now, Ordering::Relaxed);
        self.idle_since.store(0, Ordering::SeqCst);
        self.leave.store(Leave::Stay as u8, Ordering::SeqCst);
        self.due.store(Timestamp::INFINITY.0, Ordering::SeqCst);
        self.process.store(own_process(), Ordering::SeqCst);
        self.last_pid.store(server::pid(), Ordering::SeqCst);
        self.pid.store(server::pid(), Ordering::SeqCst);
        self.set_state(State::Starting);
    }

    /// A worker is asked for. Until it says what it does, it has failed if it ends. Returns whether it had been announced.
    pub fn begin_start(&self) -> bool {
        let announced = self.take_announcement();
        self.resting.store(false, Ordering::SeqCst);
        if self.state() != State::VersionMismatch {
            self.set_state(State::Starting);
        }
        announced
    }

    /// As [`super::announce`], by the launcher, which looks anyway.
    pub fn announce(&self) {
        self.announced.store(true, Ordering::SeqCst);
    }

    /// A worker is needed and has no slot.
    pub fn want_slot(&self) {
        self.needed_from.fetch_min(now(), Ordering::SeqCst);
        if self.state() != State::VersionMismatch {
            self.set_state(State::NoSlot);
        }
    }

    /// It needs no worker before `time`: a time without one counts as an absence only from then on.
    pub fn set_needed_from(&self, time: Timestamp) {
        self.needed_from.store(time.0, Ordering::SeqCst);
    }

    /// From when on it has needed a worker; 0, which is before any absence, where that is not known.
    pub fn needed_from(&self) -> Timestamp {
        Timestamp(self.needed_from.load(Ordering::SeqCst))
    }

    /// The worker is gone; its state says why.
    pub fn forget_worker(&self) {
        self.process.store(0, Ordering::SeqCst);
        self.pid.store(0, Ordering::SeqCst);
        self.set_load(0, 0);
        self.set_failing(false);
        if matches!(self.state(), State::Starting | State::Running) {
            self.set_state(State::Stopped);
        }
    }

    /// The worker's process is gone. Its number can be another one's from now on.
    pub fn forget_process(&self) {
        self.last_pid.store(0, Ordering::SeqCst);
    }

    /// Whether a process of a worker is connected to the database.
    pub(super) fn is_connected(&self) -> bool {
        server::is_connected(self.last_pid.load(Ordering::SeqCst), self.database())
    }

    /// Asks the worker to leave.
    pub fn ask_to_leave(&self, how: Leave) {
        if self.leave.fetch_max(how as u8, Ordering::SeqCst) < how as u8 {
            set_latch_of(self.process.load(Ordering::SeqCst));
        }
    }

    /// Whether and how the worker has been asked to leave.
    pub fn leave(&self) -> Leave {
        Leave::from_u8(self.leave.load(Ordering::SeqCst))
    }

    /// The worker has something to do and does not leave, unless it has to.
    pub fn stay(&self) {
        let (idle, stay) = (Leave::IfIdle as u8, Leave::Stay as u8);
        let _ = self.leave.compare_exchange(idle, stay, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The worker is about to leave; there is nothing to do before `due`, unless somebody wakes it.
    pub fn rest(&self, due: Timestamp) {
        self.due.store(due.0, Ordering::SeqCst);
        self.resting.store(true, Ordering::SeqCst);
        if self.state() != State::Unarmed {
            self.set_state(State::Resting);
        }
    }

    /// Whether it needs a worker only when it is due or woken.
    pub fn is_resting(&self) -> bool {
        self.resting.load(Ordering::SeqCst)
    }

    /// When the database needs a worker again.
    pub fn due(&self) -> Timestamp {
        Timestamp(self.due.load(Ordering::SeqCst))
    }

    /// It may need one at once.
    pub fn set_due_now(&self) {
        self.due.store(0, Ordering::SeqCst);
    }

    /// Says whether the worker has nothing to do. The launcher hears of it where others wait.
    pub fn set_idle(&self, idle: bool) {
        let was = self.idle_since.load(Ordering::Relaxed) != 0;
        if was != idle {
            self.idle_since.store(if idle { now() } else { 0 }, Ordering::SeqCst);
            if idle && are_waiting() {
                wake_launcher();
            }
        }
    }

    /// Since when it has had nothing to do, in microseconds of `timestamptz`; `None` while it has.
    pub fn idle_since(&self) -> Option<i64> {
        Some(self.idle_since.load(Ordering::SeqCst)).filter(|since| *since != 0)
    }

    /// Process id of the worker, if it runs.
    pub fn pid(&self) -> Option<i32> {
        Some(self.pid.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    /// Since when, in microseconds of `timestamptz`.
    pub fn started(&self) -> i64 {
        self.started.load(Ordering::Relaxed)
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        State::from_u8(self.state.load(Ordering::Acquire))
    }

    /// Whether a worker has been running since the last call.
    pub fn take_worked(&self) -> bool {
        self.worked.swap(false, Ordering::AcqRel)
    }

    /// What it is doing from now on.
    pub fn set_state(&self, state: State) {
        if state == State::Running {
            self.worked.store(true, Ordering::Release);
        }
        if self.state.swap(state as u8, Ordering::SeqCst) != state as u8 {
            self.since.store(now(), Ordering::Relaxed);
        }
    }

    /// Since when it has been doing that, in microseconds of `timestamptz`.
    pub fn since(&self) -> i64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Threads, and requests in flight.
    pub fn load(&self) -> (u32, u32) {
        (self.threads.load(Ordering::Relaxed), self.in_flight.load(Ordering::Relaxed))
    }

    /// Publishes the same.
    pub fn set_load(&self, threads: usize, in_flight: usize) {
        self.threads.store(threads as u32, Ordering::Relaxed);
        self.in_flight.store(in_flight as u32, Ordering::Relaxed);
    }

    /// Whether nothing that the worker does succeeds at the moment; then its last error says why.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Publishes the same.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// Whether a file of certificates could not be read.
    pub fn lacks_certificates(&self) -> bool {
        self.lacks_certificates.load(Ordering::Relaxed)
    }

    /// Publishes the same.
    pub fn set_lacks_certificates(&self, lacks: bool) {
        self.lacks_certificates.store(lacks, Ordering::Relaxed);
    }

    /// The worker's last error, empty where there was none.
    pub fn error(&self) -> String {
        for _ in 0..1000 {
            let before = self.error_version.load(Ordering::Acquire);
            let bytes: Vec<u8> = self
                .error
                .iter()
                .map(|byte| byte.load(Ordering::Acquire))
                .take_while(|b| *b != 0)
                .collect();
            if before.is_multiple_of(2) && before == self.error_version.load(Ordering::Acquire) {
                return String::from_utf8_lossy(&bytes).into_owned();
            }
        }
        String::new()
    }

    /// Publishes it, cut to what fits.
    pub fn set_error(&self, message: &str) {
        let message = brief(message, ERROR);
        self.error_version.fetch_add(1, Ordering::AcqRel);
        let bytes = message.bytes().chain(std::iter::repeat(0));
        for (slot, byte) in self.error.iter().zip(bytes) {
            slot.store(byte, Ordering::Release);
        }
        self.error_version.fetch_add(1, Ordering::AcqRel);
    }
}
