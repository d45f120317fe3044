//! The SQL functions: take the arguments, check who asks, call a room, report.
//!
//! PostgreSQL calls them, nobody else. What always holds: who asks is looked up before anything is read as the owner of our
//! tables, what a user may not see does not exist for that user, and what is refused leaves nothing half done, as it ends the
//! statement. A rule of what is allowed belongs into the room that it is about.
//!
//! Their declarations, with defaults and documentation, are in `sql/api.sql`.

mod apply;
mod arm;
mod backlog;
mod cancel;
mod check;
mod config;
mod create;
mod delivery;
mod elsewhere;
mod emit;
mod install;
mod jobs;
mod level;
mod log;
mod manage;
mod metric;
mod obstacles;
mod preview;
mod prospect;
mod replay;
mod rows;
mod secret;
mod single;
mod status;
mod stop;
mod test;
mod update;
mod watch;
mod why;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{AnyNumeric, Array, notice, pg_sys};

use crate::host::lock;
use crate::pg::arguments::Arguments;
use crate::pg::identity::{self, Caller};
use crate::pg::memory::{self, ROOM};
use crate::pg::spi::{self, Session};
use crate::pg::{foreign, random, report, reserve, rights};
use crate::registry::definition::bounded;
use crate::registry::making::Making;
use crate::registry::trigger::LockWait;
use crate::registry::watch::Given;
use domain::event::{Events, Operation};
use domain::refusal::Refusal;
use domain::secret::{GENERATED_BYTES, Secret};

/// Runs what needs a webhook, or a table that it watches. Where there is none and that is all right, it says so, as DROP .. IF
/// EXISTS does.
fn skip_missing(
    missing_ok: Option<bool>,
    work: impl FnOnce() -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let missing_ok = missing_ok.ok_or(Refusal::Null("missing_ok"))?;
    match work() {
        Err(missing @ (Refusal::UnknownWebhook(_) | Refusal::NotWatched { .. })) if missing_ok => {
            notice!("{missing}, skipping");
            Ok(())
        }
        done => done,
    }
}

/// Microseconds in the unit that users see.
fn milliseconds(micros: i64) -> AnyNumeric {
    let millis = format!("{}.{:03}", micros / 1000, micros % 1000);
    AnyNumeric::try_from(millis.as_str()).unwrap_or_default()
}

/// Runs a function's body as the owner of our tables, after noting who called. Not for code of others: what it changed
/// would stay locked until the transaction of whoever writes ends. DROP EXTENSION waits for the end of this transaction, or this for DROP
/// EXTENSION.
fn on_behalf<R>(body: impl FnOnce(&Caller) -> Result<R, Refusal>) -> Result<R, ErrorReport> {
    if foreign::is_running() {
        return Err(report::of(Refusal::ByForeignCode));
    }
    if let Some(extension) = identity::extension()
        && !lock::hold_extension(extension)
    {
        return Err(report::of(Refusal::Dropped));
    }
    for_anybody(body)
}

/// As [`on_behalf`], for what makes events only, which code of others may do as well.
fn for_anybody<R>(body: impl FnOnce(&Caller) -> Result<R, Refusal>) -> Result<R, ErrorReport> {
    let caller = identity::caller();
    memory::ensure(ROOM);
    reserve::with_reserve(|| rights::as_owner(|| body(&caller))).map_err(report::of)
}

/// As [`on_behalf`], for what also makes triggers: those the caller makes itself, with its own rights and settings, after
/// `body` has planned them. Whatever that runs, nothing of ours is in force meanwhile.
fn with_triggers<R, M: IntoIterator<Item = Making>>(
    body: impl FnOnce(&Caller, &Session) -> Result<(R, M), Refusal>,
) -> Result<R, ErrorReport> {
    let (result, makings) = on_behalf(|caller| spi::connect(|session| body(caller, session)))?;
    let mut wait = LockWait::First;
    for making in makings {
        making.carry_out(wait).map_err(report::of)?;
        wait = LockWait::Further;
        on_behalf(|_| spi::connect(|session| making.record(session)))?;
    }
    Ok(result)
}

/// Elements of a list. Each emitted event is compared with all patterns; a table has at most 1,600 columns.
const MOST_ELEMENTS: usize = 1_600;

/// The longest element of a list, in bytes: more than any that is accepted has, so that one which is merely too long is refused with
/// the message of its own rule. More, and what is copied to be refused takes memory.
const LONGEST_WORD: usize = 10_000;

/// Bytes of a condition. PostgreSQL's own limit is how deep an expression may be.
const LONGEST_CONDITION: usize = 1024 * 1024;

/// The list argument `events`.
fn events_of(list: Option<Array<'_, &str>>, with_table: bool) -> Result<Option<Events>, Refusal> {
    let words = words(list, "events")?;
    let read = |words: Vec<String>| Events::parse(words.iter().map(String::as_str), with_table);
    let events = words.map(read).transpose()?;
    match events {
        Some(events) if events == Events::default() => Err(Refusal::NoEvents),
        events => Ok(events),
    }
}

/// A secret of our own.
fn generated_secret() -> Result<Secret, Refusal> {
    Ok(Secret::generate(&random::bytes::<GENERATED_BYTES>()?))
}

/// The list argument `emitters`.
fn roles(list: Option<Array<'_, pg_sys::Oid>>) -> Result<Option<Vec<pg_sys::Oid>>, Refusal> {
    let Some(list) = list else {
        return Ok(None);
    };
    check_length(list.len(), "emitters")?;
    let role = |role: Option<pg_sys::Oid>| role.ok_or(Refusal::Null("emitters"));
    list.iter().map(role).collect::<Result<_, _>>().map(Some)
}

/// The elements of a list argument; a null among them is refused.
fn words(
    list: Option<Array<'_, &str>>,
    argument: &'static str,
) -> Result<Option<Vec<String>>, Refusal> {
    let Some(list) = list else {
        return Ok(None);
    };
    check_length(list.len(), argument)?;
    memory::ensure(ROOM);
    let word = |word: Option<&str>| {
        let word = word.ok_or(Refusal::Null(argument))?;
        bounded(argument, word, LONGEST_WORD).map(str::to_owned)
    };
    list.iter().map(word).collect::<Result<_, _>>().map(Some)
}

/// Passes a list argument of so many elements.
fn check_length(elements: usize, argument: &'static str) -> Result<(), Refusal> {
    if elements > MOST_ELEMENTS {
        return Err(Refusal::TooManyWords { argument, most: MOST_ELEMENTS });
    }
    Ok(())
}

/// What is to be captured of a table, with these `events`.
fn watched(given: &Arguments<'_>, events: Option<Vec<Operation>>) -> Result<Given, Refusal> {
    Ok(Given {
        events,
        columns: words(given.get("columns"), "columns")?,
        condition: condition(given.get("condition"))?,
        payload_columns: words(given.get("payload_columns"), "payload_columns")?,
    })
}

/// The argument `condition`.
fn condition(text: Option<&str>) -> Result<Option<String>, Refusal> {
    let condition = |text| bounded("condition", text, LONGEST_CONDITION).map(str::to_owned);
    text.map(condition).transpose()
}
