//! `webhook_check`

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::on_behalf;
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
