//! The board in shared memory: which databases have a worker, how to wake it, how it is.
//!
//! One entry per database with the extension, found by its oid. Everything is a plain number: no pointer of
//! one process means anything in another, and a process that dies leaves nothing to clean up but numbers.
//! Entries are claimed one at a time, by whoever knows that the database has the extension, and given back by
//! the launcher when the database or the extension is gone.

mod entry;
mod visits;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use pgrx::prelude::*;
use pgrx::{AssertPGRXSharedMemory, PgAtomic, pg_shmem_init};

pub use self::entry::Entry;
use self::visits::Visits;
use super::state::{Leave, Visit};
use crate::pg::{compat, server};
use domain::time::Timestamp;

/// Databases of one server that can have the extension and a worker. An entry takes some hundred bytes of shared memory, and to
/// find one is to compare up to so many numbers, once in a session. Fewer, and a server with more databases leaves some without
/// a worker.
pub const DATABASES: usize = 256;

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
    visits: Visits,
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
            visits: Visits::new(),
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
    board().entries.iter().find(|entry| entry.database.load(Ordering::SeqCst) == oid)
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
        claimed.begin();
        claimed.database.store(database.into(), Ordering::SeqCst);
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
    // While the launcher looks at the databases it may wait for something else, which resets the latch; the flag stays.
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

/// Whether a launcher has begun since the server started.
pub fn has_launcher() -> bool {
    board().launcher.load(Ordering::SeqCst) != 0
}

/// Databases wait for workers, so that whoever has nothing to do tells the launcher.
pub fn set_waiting(waiting: bool) {
    board().waiting.store(waiting, Ordering::SeqCst);
}

/// Whether they do.
fn are_waiting() -> bool {
    board().waiting.load(Ordering::SeqCst)
}

/// This process is to work in `database` or to visit it, and is not connected yet.
pub fn arrive(database: pg_sys::Oid) {
    match find(database) {
        Some(entry) => entry.arrive(),
        None => board().visits.begin(database),
    }
}

/// This process has not connected to `database`, which somebody needs without it. Another one is to come later.
pub fn turn_back(database: pg_sys::Oid) {
    match find(database) {
        Some(entry) => entry.rest(Timestamp(0)),
        None => note_visit(database, Visit::Barred),
    }
}

/// Asks the worker that is connected to `database` to leave; says whether there is one. To be asked again until there is
/// none: one that has not come onto the board yet does not hear of it.
pub fn send_away(database: pg_sys::Oid) -> bool {
    let entry = find(database).inspect(|entry| entry.ask_to_leave(Leave::AtOnce));
    board().visits.are_in(database) || entry.is_some_and(Entry::is_connected)
}

/// What this process has found in `database`, which has no entry.
pub fn note_visit(database: pg_sys::Oid, found: Visit) {
    board().visits.note(database, found);
}

/// The visit is over, or its worker is on the board.
pub fn end_visit() {
    board().visits.end();
}

/// What the last visit has found, if it was in `database` and came to its end.
pub fn take_visit(database: pg_sys::Oid) -> Option<Visit> {
    board().visits.take(database)
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
