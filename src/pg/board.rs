//! The board in shared memory: which databases have a worker, how to wake it, how it is.
//!
//! One entry per database with the extension, found by its oid. Everything is a plain number: no pointer of
//! one process means anything in another, and a process that dies leaves nothing to clean up but numbers.
//! Entries are claimed one at a time, by whoever knows that the database has the extension, and given back by
//! the launcher when the database or the extension is gone.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, Ordering, fence};
use std::time::SystemTime;

use pgrx::prelude::*;
use pgrx::{AssertPGRXSharedMemory, PgAtomic, pg_shmem_init};

use super::compat;
use super::server;
use super::state::{Leave, State, Visit};
use crate::domain::ids::Clock;
use crate::domain::time::Timestamp;

/// Databases of one server that can have the extension and a worker. An entry takes 512 bytes, and to find one
/// is to compare so many numbers, once in a session.
pub const DATABASES: usize = 256;

/// Bytes kept of a worker's last error.
const ERROR: usize = 200;

/// One database.
pub struct Entry {
    database: AtomicU32,
    /// Process number of the worker plus one; 0 where there is none.
    process: AtomicI32,
    /// Set by whoever has something for the worker, cleared by the worker before it looks.
    wake: AtomicBool,
    /// Definitions have changed.
    changed: AtomicBool,
    /// Deliveries have been cancelled.
    cancelled: AtomicBool,
    /// Asks the launcher to look whether this database needs a worker.
    announced: AtomicBool,
    state: AtomicU8,
    /// The worker has come so far as to work.
    worked: AtomicBool,
    pid: AtomicI32,
    /// The same of the last one, which may be on its way out.
    last_pid: AtomicI32,
    started: AtomicI64,
    /// Since when `state` is what it is.
    since: AtomicI64,
    /// How the launcher, or who changes the database, wants the worker to leave: a [`Leave`].
    leave: AtomicU8,
    /// Since when the worker has had nothing to do; 0 while it has.
    idle_since: AtomicI64,
    /// When a database whose worker has left needs one again, unless somebody wakes it before.
    due: AtomicI64,
    /// Its worker has left because there was nothing to do before `due`.
    resting: AtomicBool,
    /// The process whose statement needs the database without a worker; 0 where there is none.
    holder: AtomicI32,
    in_flight: AtomicU32,
    threads: AtomicU32,
    /// Odd while `error` is being written.
    error_version: AtomicU32,
    error: [AtomicU8; ERROR],
    /// Of delivery ids.
    ids: Clock,
}

const _: () = assert!(!std::mem::needs_drop::<Board>());

struct Board {
    /// Somebody is claiming an entry.
    claiming: AtomicBool,
    /// Process number of the launcher plus one.
    launcher: AtomicI32,
    /// Somebody has woken the launcher since it last looked.
    launcher_woken: AtomicBool,
    /// Databases wait for a worker that has no slot.
    waiting: AtomicBool,
    /// The database that was visited last, and what was found there: a [`Visit`].
    visited: AtomicU32,
    visit: AtomicU8,
    entries: [Entry; DATABASES],
}

static BOARD: PgAtomic<AssertPGRXSharedMemory<Board>> =
    // SAFETY: the name is ours.
    unsafe { PgAtomic::new(c"pg_webhook board") };

/// Asks for the shared memory; called while the postmaster preloads the library.
pub fn init() {
    pg_shmem_init!(
        BOARD =
            // SAFETY: the board holds atomics only: no address of this process, and nothing to be dropped.
            unsafe { AssertPGRXSharedMemory::new(Board::new()) }
    );
}

/// Whether the library was preloaded, so that there is a board.
pub fn preloaded() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

/// Set by `_PG_init` in the postmaster and inherited by every process.
pub static PRELOADED: AtomicBool = AtomicBool::new(false);

impl Board {
    fn new() -> Self {
        Self {
            claiming: AtomicBool::new(false),
            launcher: AtomicI32::new(0),
            launcher_woken: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            visited: AtomicU32::new(0),
            visit: AtomicU8::new(0),
            entries: std::array::from_fn(|_| Entry::new()),
        }
    }
}

fn board() -> &'static Board {
    BOARD.get()
}

/// The entry of `database`, if it has one.
pub fn find(database: pg_sys::Oid) -> Option<&'static Entry> {
    if !preloaded() {
        return None;
    }
    let oid = u32::from(database);
    board().entries.iter().find(|entry| entry.database.load(Ordering::Acquire) == oid)
}

/// The entry of `database`, a free one if need be; `None` where the board is full or absent.
pub fn find_or_claim(database: pg_sys::Oid) -> Option<&'static Entry> {
    if !preloaded() {
        return None;
    }
    find(database).or_else(|| claim(database))
}

/// Whether no further database can have an entry.
pub fn is_full() -> bool {
    find(pg_sys::InvalidOid).is_none()
}

/// One process at a time, so that no database gets two entries: ids would be drawn from two clocks.
fn claim(database: pg_sys::Oid) -> Option<&'static Entry> {
    if is_full() {
        return None;
    }
    exclusively(|| {
        let claimed = find(database).or_else(|| find(pg_sys::InvalidOid))?;
        claimed.database.store(database.into(), Ordering::Release);
        Some(claimed)
    })
}

/// Runs `work` while nobody else claims or gives back an entry. It neither ends the process nor waits, unless the
/// whole server does.
fn exclusively<R>(work: impl FnOnce() -> R) -> R {
    let claiming = &board().claiming;
    while claiming.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
    let result = work();
    claiming.store(false, Ordering::Release);
    result
}

/// The entry of the database that this process is connected to, if it has one; remembered, because it is
/// asked for with every row.
pub fn own() -> Option<&'static Entry> {
    thread_local! {
        static OWN: Cell<Option<&'static Entry>> = const { Cell::new(None) };
    }
    let database = server::database();
    let kept = OWN.get().filter(|entry| entry.database() == database);
    kept.or_else(|| {
        let found = find(database);
        OWN.set(found);
        found
    })
}

/// All entries in use.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    board().entries.iter().filter(|entry| entry.database.load(Ordering::Acquire) != 0)
}

/// Asks the launcher to look at `database`, which has the extension. Safe after commit: cannot fail.
pub fn announce(database: pg_sys::Oid) {
    if let Some(entry) = find_or_claim(database) {
        // The launcher may have been giving it back: then the other one is claimed.
        let kept = exclusively(|| {
            let kept = entry.database() == database;
            entry.announced.fetch_or(kept, Ordering::SeqCst);
            kept
        });
        if !kept {
            return announce(database);
        }
        set_latch_of(entry.process.load(Ordering::SeqCst));
        wake_launcher();
    }
}

/// Wakes the launcher.
pub fn wake_launcher() {
    let board = board();
    // Waiting for something else within its look would take the latch's signal with it; the flag stays.
    board.launcher_woken.store(true, Ordering::SeqCst);
    set_latch_of(board.launcher.load(Ordering::SeqCst));
}

/// Whether somebody has woken the launcher. To be asked before it looks.
pub fn take_launcher_wake() -> bool {
    board().launcher_woken.swap(false, Ordering::SeqCst)
}

/// Whether somebody has woken the launcher since it last took the wake.
pub fn is_launcher_woken() -> bool {
    board().launcher_woken.load(Ordering::SeqCst)
}

/// This process is the launcher.
pub fn enter_launcher() {
    board().launcher.store(own_process(), Ordering::SeqCst);
}

/// Databases wait for workers, so that whoever has nothing to do tells the launcher.
pub fn set_waiting(waiting: bool) {
    board().waiting.store(waiting, Ordering::SeqCst);
}

/// What this process has found in `database`, which has no entry.
pub fn note_visit(database: pg_sys::Oid, found: Visit) {
    board().visit.store(found as u8, Ordering::SeqCst);
    board().visited.store(database.into(), Ordering::SeqCst);
}

/// What the last visit has found, if it was in `database` and came to its end.
pub fn take_visit(database: pg_sys::Oid) -> Option<Visit> {
    let visited = board().visited.swap(0, Ordering::SeqCst);
    (visited == u32::from(database)).then(|| Visit::from_u8(board().visit.load(Ordering::SeqCst)))
}

/// This process is the worker of `entry`, until it ends.
pub fn enter_worker(entry: &'static Entry, now: i64) {
    entry.enter(now);
    let address = pg_sys::Datum::from(std::ptr::from_ref(entry));
    // SAFETY: the callback gets the address of an entry in shared memory, which is mapped until after it has run.
    unsafe { pg_sys::before_shmem_exit(Some(leave), address) };
    // The server says that it has begun before it is on the board, and whoever else is to be visited waits for that.
    wake_launcher();
}

unsafe extern "C-unwind" fn leave(_code: i32, entry: pg_sys::Datum) {
    // SAFETY: the address that `enter_worker` passed, of an entry that others change as well, through its atomics.
    let entry = unsafe { &*entry.cast_mut_ptr::<Entry>() };
    entry.forget_worker();
    wake_launcher();
}

fn now() -> i64 {
    Timestamp::from(SystemTime::now()).0
}

fn own_process() -> i32 {
    compat::process_number() + 1
}

/// Sets the latch of process number `process` - 1. One that has died meanwhile, or been replaced, is
/// woken for nothing.
fn set_latch_of(process: i32) {
    if process > 0 {
        // SAFETY: an array in shared memory that lives as long as the server and has so many entries, each with a
        // latch that is initialised once; SetLatch may be called on any of them at any time.
        unsafe {
            if process as u32 > (*pg_sys::ProcGlobal).allProcCount {
                return;
            }
            let proc = (*pg_sys::ProcGlobal).allProcs.add(process as usize - 1);
            pg_sys::SetLatch(&raw mut (*proc).procLatch);
        }
    }
}

impl Entry {
    fn new() -> Self {
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
            holder: AtomicI32::new(0),
            in_flight: AtomicU32::new(0),
            threads: AtomicU32::new(0),
            error_version: AtomicU32::new(0),
            error: std::array::from_fn(|_| AtomicU8::new(0)),
            ids: Clock::default(),
        }
    }

    /// Whose entry this is.
    pub fn database(&self) -> pg_sys::Oid {
        self.database.load(Ordering::Acquire).into()
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
            for flag in [&self.wake, &self.changed, &self.cancelled, &self.worked, &self.resting] {
                flag.store(false, Ordering::SeqCst);
            }
            self.due.store(Timestamp::INFINITY.0, Ordering::SeqCst);
            self.holder.store(0, Ordering::SeqCst);
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

    /// Has the worker read the definitions at its next look.
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

    fn enter(&self, now: i64) {
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
    pub fn starts(&self) -> bool {
        let announced = self.take_announcement();
        self.resting.store(false, Ordering::SeqCst);
        if self.state() != State::VersionMismatch {
            self.set_state(State::Starting);
        }
        announced
    }

    /// As [`announce`], by the launcher, which looks anyway.
    pub fn announce(&self) {
        self.announced.store(true, Ordering::SeqCst);
    }

    /// A worker is needed and has no slot.
    pub fn want_slot(&self) {
        if self.state() != State::VersionMismatch {
            self.set_state(State::NoSlot);
        }
    }

    /// The worker is gone; its state says why.
    pub fn forget_worker(&self) {
        self.process.store(0, Ordering::SeqCst);
        self.pid.store(0, Ordering::SeqCst);
        self.set_load(0, 0);
        if matches!(self.state(), State::Starting | State::Running) {
            self.set_state(State::Stopped);
        }
    }

    /// The worker's process is gone. Its number can be another one's from now on.
    pub fn forget_process(&self) {
        self.last_pid.store(0, Ordering::SeqCst);
    }

    /// Whether a process of a worker is still among the server's.
    pub fn has_process(&self) -> bool {
        let pid = self.last_pid.load(Ordering::SeqCst);
        pid != 0 && server::has_process(pid)
    }

    /// Asks the worker to leave.
    pub fn ask_to_leave(&self, how: Leave) {
        self.leave.fetch_max(how as u8, Ordering::SeqCst);
        set_latch_of(self.process.load(Ordering::SeqCst));
    }

    /// Whether and how the worker has been asked to leave.
    pub fn leave(&self) -> Leave {
        let asked = Leave::from_u8(self.leave.load(Ordering::SeqCst));
        if self.is_held() { Leave::AtOnce } else { asked }
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
            if idle && board().waiting.load(Ordering::SeqCst) {
                wake_launcher();
            }
        }
    }

    /// Since when it has had nothing to do, in microseconds of `timestamptz`; `None` while it has.
    pub fn idle_since(&self) -> Option<i64> {
        Some(self.idle_since.load(Ordering::SeqCst)).filter(|since| *since != 0)
    }

    /// Keeps workers out of the database until [`Self::end_hold`] or the end of this process. `false` where somebody
    /// else does already.
    pub fn hold(&self) -> bool {
        let pid = server::pid();
        self.is_held();
        self.holder.compare_exchange(0, pid, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Ends what [`Self::hold`] began.
    pub fn end_hold(&self) {
        // Where the database has been dropped meanwhile, the entry may be another one's.
        let _ = self.holder.compare_exchange(server::pid(), 0, Ordering::SeqCst, Ordering::SeqCst);
        wake_launcher();
    }

    /// Whether somebody who is alive holds the database.
    pub fn is_held(&self) -> bool {
        let holder = self.holder.load(Ordering::SeqCst);
        if holder == 0 {
            return false;
        }
        let lives = server::has_process(holder);
        if !lives {
            let _ = self.holder.compare_exchange(holder, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
        lives
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
        let mut end = message.len().min(ERROR);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        self.error_version.fetch_add(1, Ordering::AcqRel);
        let bytes = message.as_bytes()[..end].iter().copied().chain(std::iter::repeat(0));
        for (slot, byte) in self.error.iter().zip(bytes) {
            slot.store(byte, Ordering::Release);
        }
        self.error_version.fetch_add(1, Ordering::AcqRel);
    }
}
