//! `webhook_check`, and `webhook.told_to_reader`, by which webhook.webhooks knows of the same

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{for_anybody, on_behalf};
use crate::pg::guc::Local;
use crate::pg::spi::{self, arg, sql};
use crate::registry::managed;

#[pg_extern(sql = false)]
fn webhook_check(
    webhook: Option<&str>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(webhook, Option<String>),
            name!(severity, String),
            name!(problem, String),
            name!(hint, String),
        ),
    >,
    ErrorReport,
> {
    on_behalf(|caller| {
        spi::connect(|session| {
            let only = webhook.map(|name| managed::see(session, caller, name)).transpose()?;
            let rows = session.run(sql!("api/check"), &[arg(only), arg(caller.role)]);
            let problems: Vec<_> = rows
                .iter()
                .map(|row| {
                    (
                        row.get("name"),
                        row.value("severity"),
                        row.value("problem"),
                        row.value("hint"),
                    )
                })
                .collect();
            Ok(TableIterator::new(problems))
        })
    })
}

#[pg_extern(sql = false)]
fn webhook_told_to_reader() -> Result<
    TableIterator<
        'static,
        (
            name!(webhook, i32),
            name!(rank, i32),
            name!(disabled, Option<String>),
            name!(broken, Option<String>),
            name!(others, Option<String>),
            name!(failing, Option<String>),
        ),
    >,
    ErrorReport,
> {
    // A transform may read the view.
    for_anybody(|caller| {
        spi::connect(|session| {
            // A plan for any number of webhooks looks expensive.
            let _planner = Local::set_all(&[(c"jit", c"off")]);
            let rows = session.look_up(sql!("api/told"), &[arg(caller.role)]);
            let told: Vec<_> = rows
                .iter()
                .map(|row| {
                    (
                        row.value("webhook"),
                        row.value("rank"),
                        row.get("disabled"),
                        row.get("broken"),
                        row.get("others"),
                        row.get("failing"),
                    )
                })
                .collect();
            Ok(TableIterator::new(told))
        })
    })
}
