//! `webhook_grant`, `webhook_revoke`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::on_behalf;
use crate::pg::spi;
use crate::registry::level;
use domain::level::Level;
use domain::refusal::Refusal;

#[pg_extern(sql = false)]
fn webhook_grant(role: Option<pg_sys::Oid>, level: Option<&str>) -> Result<(), ErrorReport> {
    on_behalf(|caller| {
        let (role, wanted) = arguments(role, level)?;
        spi::connect(|session| level::grant(session, caller, role, wanted))
    })
}

#[pg_extern(sql = false)]
fn webhook_revoke(role: Option<pg_sys::Oid>, level: Option<&str>) -> Result<(), ErrorReport> {
    on_behalf(|caller| {
        let (role, unwanted) = arguments(role, level)?;
        spi::connect(|session| level::revoke(session, caller, role, unwanted))
    })
}

fn arguments(
    role: Option<pg_sys::Oid>,
    level: Option<&str>,
) -> Result<(pg_sys::Oid, Level), Refusal> {
    let level = level.ok_or(Refusal::Null("level"))?.parse()?;
    Ok((role.ok_or(Refusal::Null("role"))?, level))
}
