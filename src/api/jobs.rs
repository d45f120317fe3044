//! `webhook_cancel_all`, `webhook_replay_all`, `webhook_erase`, `webhook_wait`, `webhook_cancel_job`

use std::time::Duration;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::notice;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::on_behalf;
use crate::host::state::State;
use crate::host::{board, wake};
use crate::pg::identity::{self, Caller};
use crate::pg::json::JsonPath;
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::{interrupt, server, snapshot};
use crate::queue::installation;
use crate::queue::jobs::{self, Request};
use crate::registry::managed;
use domain::job::Kind;
use domain::key::DeliveryId;
use domain::refusal::Refusal;
use domain::status::Status;
use domain::time::Timestamp;

/// How often it is looked whether a job has ended. Each look is a probe of an index; with more, a short job seems longer.
const LOOK: Duration = Duration::from_millis(20);

/// So many looks after it has woken the worker it does so again, where there is none: a second.
const LOOKS: u32 = 50;

#[pg_extern(sql = false)]
fn webhook_cancel_all(
    webhook: Option<&str>,
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
    status: Option<&str>,
) -> Result<i64, ErrorReport> {
    on_behalf(|caller| {
        let status = status.map(str::parse::<Status>).transpose()?;
        if let Some(status @ (Status::Delivered | Status::Cancelled)) = status {
            return Err(Refusal::StatusUnfit { status: status.name(), done: "cancelled" });
        }
        ask(caller, Kind::Cancel, webhook, (since, until), status, None)
    })
}

#[pg_extern(sql = false)]
fn webhook_replay_all(
    webhook: Option<&str>,
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
    status: Option<&str>,
) -> Result<i64, ErrorReport> {
    on_behalf(|caller| {
        let status = status.ok_or(Refusal::Null("status"))?.parse::<Status>()?;
        if matches!(status, Status::Pending | Status::Retrying | Status::Held) {
            return Err(Refusal::StatusUnfit { status: status.name(), done: "replayed" });
        }
        ask(caller, Kind::Replay, webhook, (since, until), Some(status), None)
    })
}

#[pg_extern(sql = false)]
fn webhook_erase(
    webhook: Option<&str>,
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
    path: Option<JsonPath>,
) -> Result<i64, ErrorReport> {
    on_behalf(|caller| {
        let path = path.map(|JsonPath(text)| text);
        ask(caller, Kind::Erase, webhook, (since, until), None, path)
    })
}

type Times = (Option<TimestampWithTimeZone>, Option<TimestampWithTimeZone>);

/// Leaves a job to the worker. Returns its id.
fn ask(
    caller: &Caller,
    kind: Kind,
    webhook: Option<&str>,
    (since, until): Times,
    status: Option<Status>,
    path: Option<String>,
) -> Result<i64, Refusal> {
    let time = |time: Option<TimestampWithTimeZone>| time.map(|time| Timestamp(time.into()));
    spi::connect(|session| {
        let see = |name| match kind {
            Kind::Erase => managed::name_any(session, caller, name),
            _ => managed::name(session, caller, name),
        };
        let webhook = webhook.map(see).transpose()?;
        let (since, until) = (time(since), time(until));
        let request = Request { kind, webhook, status, since, until, path };
        if kind == Kind::Replay {
            installation::note_arrival(session);
        }
        let job = jobs::ask(session, caller, &request)?;
        wake::cancelled_at_commit();
        if let Some(reason) = nobody_comes(session, kind) {
            notice!("job {job} waits for a worker, and {reason}");
        }
        Ok(job.0)
    })
}

/// Why no worker can come to a job, as far as that is known.
fn nobody_comes(session: &Session, kind: Kind) -> Option<&'static str> {
    if !board::preloaded() {
        return Some("the library is not in shared_preload_libraries");
    }
    if server::is_in_recovery() {
        return Some("there is none on a standby");
    }
    let is_copy = || installation::find(session).is_some_and(|held| !held.is_here);
    if kind == Kind::Replay && is_copy() {
        return Some("this database is a copy that nobody has armed");
    }
    match board::find(server::database()).map(|entry| entry.state()) {
        Some(State::VersionMismatch) => Some("the extension has another version than the library"),
        Some(State::NoSlot) => Some("no background worker slot is free"),
        _ if !board::has_launcher() => Some("the launcher of pg_webhook has not begun"),
        None if board::is_full() => Some("the server has no place for another one"),
        _ => None,
    }
}

/// Where a job stands.
struct Standing {
    kind: Kind,
    result: Option<String>,
    error: Option<String>,
    done: i64,
    skipped: i64,
    /// Of this transaction.
    own: bool,
}

fn find(session: &Session, caller: &Caller, job: DeliveryId) -> Result<Standing, Refusal> {
    // As it is by now, whatever the transaction sees.
    snapshot::with_latest(|| {
        let rows = session.look_up(sql!("api/job"), &[arg(job), arg(caller.role)]);
        let row = rows.first().ok_or(Refusal::UnknownJob(job))?;
        Ok(Standing {
            kind: row.value::<String>("kind").parse().map_err(|_| Refusal::UnknownJob(job))?,
            result: row.get("result"),
            error: row.get("error"),
            done: row.value("done"),
            skipped: row.value("skipped"),
            own: row.value("own"),
        })
    })
}

/// It has left some out.
fn say_skipped(job: DeliveryId, kind: Kind, skipped: i64) {
    let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
    let message = format!("job {job} has left out {skipped} deliveries");
    let hint = match kind {
        Kind::Erase => identity::qualified(
            "Their bodies cannot be read as jsonb. Without a path webhook_erase erases all of a time.",
        ),
        _ => identity::qualified(
            "Their transforms have failed, which webhook_replay calls again, or somebody else was replaying or cancelling them.",
        ),
    };
    ErrorReport::new(code, message, function_name!()).set_hint(hint).report(PgLogLevel::NOTICE);
}

/// Where there is none at the moment the launcher starts one, as soon as there is a place.
fn wake_worker() {
    let database = server::database();
    if board::find(database).is_none_or(|entry| entry.pid().is_none()) {
        board::announce(database);
    }
}

#[pg_extern(sql = false)]
fn webhook_wait(job: Option<i64>) -> Result<i64, ErrorReport> {
    on_behalf(|caller| {
        let job = DeliveryId(job.ok_or(Refusal::Null("job"))?);
        let mut looks = 0_u32;
        loop {
            let (standing, nobody) = spi::connect(|session| {
                let standing = find(session, caller, job)?;
                let nobody = nobody_comes(session, standing.kind);
                Ok::<_, Refusal>((standing, nobody))
            })?;
            match standing.result.as_deref() {
                None if standing.own => return Err(Refusal::JobOfThisTransaction(job)),
                None => {}
                Some("failed") => {
                    return Err(Refusal::JobFailed(job, standing.error.unwrap_or_default()));
                }
                Some(result) => {
                    if result == "stopped" {
                        notice!("job {job} has been stopped before its end");
                    }
                    if standing.skipped > 0 {
                        say_skipped(job, standing.kind, standing.skipped);
                    }
                    return Ok(standing.done);
                }
            }
            if let Some(reason) = nobody {
                return Err(Refusal::NoWorker(job, reason));
            }
            if looks.is_multiple_of(LOOKS) {
                wake_worker();
            }
            looks += 1;
            interrupt::sleep_in_session(LOOK);
        }
    })
}

#[pg_extern(sql = false)]
fn webhook_cancel_job(job: Option<i64>) -> Result<bool, ErrorReport> {
    on_behalf(|caller| {
        let job = DeliveryId(job.ok_or(Refusal::Null("job"))?);
        spi::connect(|session| {
            find(session, caller, job)?;
            let stopped =
                session.run(sql!("api/stop_job"), &[arg(job), arg(caller.role)]).count() > 0;
            wake::cancelled_at_commit();
            Ok(stopped)
        })
    })
}
