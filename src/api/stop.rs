//! `webhook_stop`, `webhook_start`: the switch of the database, beside `pg_webhook.enabled` for the server.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::on_behalf;
use crate::pg::spi::{self, arg, sql};
use crate::pg::{identity, snapshot};
use crate::registry::{self, level};
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_stop() -> Result<bool, ErrorReport> {
    on_behalf(|caller| {
        let role = identity::name_of(caller.role);
        spi::connect(|session| {
            level::administers(session, caller, "stop this database")?;
            switch(|| session.run(sql!("api/stop"), &[arg(role)]).count())
        })
    })
}

#[pg_extern(sql = false)]
fn webhook_start() -> Result<bool, ErrorReport> {
    on_behalf(|caller| {
        spi::connect(|session| {
            level::administers(session, caller, "start this database")?;
            switch(|| session.run(sql!("api/start"), &[]).count())
        })
    })
}

/// Whether anything has been changed, which the worker is told then.
fn switch(change: impl FnOnce() -> usize) -> Result<bool, Refusal> {
    // What others have switched meanwhile would be left as it is.
    if snapshot::is_kept() {
        return Err(Refusal::InSnapshot("stopped or started"));
    }
    let changed = change() > 0;
    if changed {
        registry::changed();
    }
    Ok(changed)
}
