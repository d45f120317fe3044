//! pg_webhook: committed row changes as signed HTTP requests.
//!
//! Data flows one way: `api` and `registry` define webhooks, `capture` has `compose` make events of changed rows and writes them
//! into the ring of `queue`, the leader in `worker` reads them and hands them to the threads of `delivery`, `log` keeps what
//! came of it. `domain` holds the rules, `transit` what is in memory of events, `host` how the extension lives in a server, `pg`
//! the adapters to it. `domain`, `transit` and `delivery` are packages that know no PostgreSQL; `tests/architecture.rs` says who
//! may use whom.

use std::sync::atomic::Ordering;

use pgrx::prelude::*;

mod api;
mod capture;
mod compose;
mod host;
mod log;
mod pg;
mod queue;
mod registry;
mod worker;

#[cfg(not(panic = "unwind"))]
compile_error!("pg_webhook needs panic = \"unwind\": an aborting panic would restart the server");

pg_module_magic!(name = c"pg_webhook", version = c"0.1.0");

extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
extension_sql_file!("../sql/queue.sql", name = "queue", requires = ["schema"]);
extension_sql_file!("../sql/capture.sql", name = "capture", requires = ["queue"]);
extension_sql_file!("../sql/api.sql", name = "api", requires = ["capture"]);
extension_sql_file!("../sql/levels.sql", name = "levels", requires = ["api"]);
extension_sql_file!("../sql/status.sql", name = "status", requires = ["levels"]);
extension_sql_file!("../sql/jobs.sql", name = "jobs", requires = ["status"]);
extension_sql_file!("../sql/check.sql", name = "check", requires = ["jobs"]);
extension_sql_file!("../sql/health.sql", name = "health", requires = ["check"]);
extension_sql_file!("../sql/views.sql", name = "views", requires = ["health"]);
extension_sql_file!("../sql/columns.sql", name = "columns", requires = ["views"]);
extension_sql_file!("../sql/dump.sql", name = "dump", requires = ["columns"]);
extension_sql_file!("../sql/replication.sql", name = "replication", requires = ["dump"]);
extension_sql_file!("../sql/close.sql", name = "close", requires = ["replication"]);
extension_sql_file!("../sql/grants.sql", name = "grants", requires = ["close"]);
extension_sql_file!("../sql/finish.sql", name = "finish", requires = ["grants"], finalize);

/// Called by PostgreSQL when it loads the library: by the postmaster where it is preloaded, by a
/// session at the first call of a function otherwise.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::backtrace::disable();
    pg::settings::define();
    pg::foreign::guard();
    host::utility::watch();
    // SAFETY: flags that the server has set before it loads libraries.
    let (preloading, upgrading) =
        unsafe { (pg_sys::process_shared_preload_libraries_in_progress, pg_sys::IsBinaryUpgrade) };
    if preloading && !upgrading {
        host::board::init();
        host::quit::init();
        host::board::PRELOADED.store(true, Ordering::Relaxed);
        worker::register_launcher();
    }
}
