//! `webhook_arm`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::on_behalf;
use crate::host::wake;
use crate::log::metric;
use crate::pg::snapshot;
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::trigger::{self, Firing};
use crate::queue::installation;
use crate::registry::{self, level, transform};
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_arm(keep: Option<bool>, new: Option<bool>) -> Result<bool, ErrorReport> {
    on_behalf(|caller| {
        let keep = keep.ok_or(Refusal::Null("keep"))?;
        let new = new.ok_or(Refusal::Null("new"))?;
        if keep && new {
            return Err(Refusal::KeepAndNew);
        }
        spi::connect(|session| {
            level::administers(session, caller, "arm this database")?;
            if snapshot::is_kept() {
                return Err(Refusal::InSnapshot("armed"));
            }
            // Whoever changes a webhook's emitters locks levels first, too.
            level::hold(session)?;
            transform::adopt_all(session);
            // In the latest snapshot: whoever armed it a moment ago, for whom the lock has waited, has changed it.
            let held = snapshot::with_latest(|| installation::find(session));
            let copy = new || held.as_ref().is_none_or(|held| !held.is_here);
            if copy {
                if let Some(held) = held.as_ref().filter(|_| !keep) {
                    installation::forget_what_came(session, held);
                    metric::reset(session, caller.role, None);
                }
                let id = held.as_ref().filter(|_| keep).map(|held| held.id.clone());
                installation::claim(session, id)?;
            }
            let webhooks = session.run(sql!("api/arm"), &[]).count();
            // A restored database has nothing recorded. Where only the server is called otherwise, what is recorded is this
            // database's own.
            record(session, held.is_none_or(|held| !held.is_database));
            registry::changed();
            wake::launcher_at_commit();
            Ok::<_, Refusal>(copy || webhooks > 0)
        })
    })
}

/// What was found by name counts by its number from now on; and in a `copy` triggers count as they are.
fn record(session: &Session, copy: bool) {
    for row in session.run(sql!("api/restore_triggers"), &[]).iter() {
        trigger::set_firing(row.value("oid"), Firing::of(row.value("firing")));
    }
    session.run(sql!("api/record_tables"), &[]);
    session.run(sql!("api/record_levels"), &[]);
    session.run(sql!("api/record_triggers"), &[arg(copy)]);
    session.run(sql!("api/record_payloads"), &[]);
    session.run(sql!("api/record_emitters"), &[]);
}
