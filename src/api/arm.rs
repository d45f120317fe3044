//! `webhook_arm`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{install, on_behalf};
use crate::domain::refusal::Refusal;
use crate::log::retention;
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::trigger::{self, Firing};
use crate::pg::wake;
use crate::queue::cursor;
use crate::registry::{self, level, transform};

#[pg_extern(sql = false)]
fn webhook_arm() -> Result<bool, ErrorReport> {
    on_behalf(|caller| {
        spi::connect(|session| {
            level::administers(session, caller, "arm this database")?;
            transform::adopt_all(session);
            if cursor::installation(session).is_some_and(|(_, armed)| armed) {
                // A restored one is, and has nothing recorded.
                record(session, false);
                registry::changed();
                return Ok(false);
            }
            session.run(sql!("api/forget_installation"), &[]);
            // Events and attempts are those of the database that this one was copied from, which sends them.
            retention::forget(session);
            session.run(sql!("api/restart_cursor"), &[]);
            install::claim(session)?;
            record(session, true);
            registry::changed();
            wake::launcher_at_commit();
            Ok::<_, Refusal>(true)
        })
    })
}

/// What was found by name counts by its number from now on; and in a `copy` triggers count as they are.
fn record(session: &Session, copy: bool) {
    for row in session.run(sql!("api/restore_triggers"), &[]).iter() {
        trigger::set_firing(row.value(1), Firing::ALWAYS);
    }
    session.run(sql!("api/record_tables"), &[]);
    session.run(sql!("api/record_levels"), &[]);
    session.run(sql!("api/record_triggers"), &[arg(copy)]);
    session.run(sql!("api/record_payloads"), &[]);
    session.run(sql!("api/record_emitters"), &[]);
}
