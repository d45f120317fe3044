//! The SQL functions: take the arguments, check who asks, call a room, report.
//!
//! Their declarations, with defaults and documentation, are in `sql/api.sql`.

mod arm;
mod cancel;
mod create;
mod delivery;
mod elsewhere;
mod install;
mod level;
mod manage;
mod replay;
mod status;
mod test;
mod update;
mod watch;

use pgrx::pg_sys::panic::ErrorReport;

use crate::domain::refusal::Refusal;
use crate::pg::identity::{self, Caller};

/// Runs a function's body as the owner of our tables, after noting who called.
fn on_behalf<R>(body: impl FnOnce(&Caller) -> Result<R, Refusal>) -> Result<R, ErrorReport> {
    let caller = identity::caller();
    identity::as_owner(|| body(&caller)).map_err(ErrorReport::from)
}

/// A list argument without its nulls; a null in it is refused.
fn words(
    list: Option<Vec<Option<String>>>,
    name: &'static str,
) -> Result<Option<Vec<String>>, Refusal> {
    list.map(|list| list.into_iter().map(|word| word.ok_or(Refusal::Null(name))).collect())
        .transpose()
}
