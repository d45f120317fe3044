//! What this server and this process are.

use pgrx::pg_sys;

use super::compat;
use domain::time::Timestamp;

/// The server's own number, which a physical copy of it shares.
pub fn system_identifier() -> u64 {
    // SAFETY: reads the control file's copy in shared memory.
    unsafe { pg_sys::GetSystemIdentifier() }
}

/// When the server started.
pub fn started() -> Timestamp {
    // SAFETY: a variable that is set before any process is forked.
    Timestamp(unsafe { pg_sys::PgStartTime })
}

/// The database that this process is connected to.
pub fn database() -> pg_sys::Oid {
    // SAFETY: reads an oid of this process.
    unsafe { pg_sys::MyDatabaseId }
}

/// Whether that database stores text as UTF-8.
pub fn is_utf8() -> bool {
    // SAFETY: reads an int of this process.
    unsafe { pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32 }
}

/// Whether the server follows another one, or recovers from a crash or a backup.
pub fn is_in_recovery() -> bool {
    // SAFETY: reads shared memory, and a variable of this process.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// This process.
pub fn pid() -> i32 {
    // SAFETY: reads an int of this process.
    unsafe { pg_sys::MyProcPid }
}

/// Whether a process of this server has that id and is connected to `database`. None has the id 0.
pub fn is_connected(pid: i32, database: pg_sys::Oid) -> bool {
    // SAFETY: looks through the shared list of processes, under its lock; an entry stays where it is, whoever has it.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        !process.is_null() && (&raw const (*process).databaseId).read_volatile() == database
    }
}

/// Connects a background worker to the shared catalogs only. To be called once.
pub fn connect_to_none() {
    // SAFETY: the first connection of this process.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
}

/// Connects a background worker to `database`, as the bootstrap superuser, whose rights each
/// transaction puts aside. To be called once.
pub fn connect_to(database: pg_sys::Oid) {
    // SAFETY: the first connection of this process.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0);
    }
}

/// Ends this process in a way that the postmaster does not take as final.
pub fn fail() -> ! {
    compat::exit(1)
}
