//! `webhook_delete`, `webhook_pause`, `webhook_resume`

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{on_behalf, skip_missing};
use crate::pg::spi;
use crate::registry::{self, bringing, emitter, managed, webhook};

#[pg_extern(sql = false)]
fn webhook_delete(webhook: Option<&str>, missing_ok: Option<bool>) -> Result<(), ErrorReport> {
    on_behalf(|caller| {
        skip_missing(missing_ok, || {
            spi::connect(|session| {
                let own = emitter::find(session, caller, webhook)?;
                bringing::end(session, caller, &own)?;
                registry::changed();
                Ok(())
            })
        })
    })
}

#[pg_extern(sql = false)]
fn webhook_pause(webhook: Option<&str>) -> Result<(), ErrorReport> {
    set_paused(webhook, true)
}

#[pg_extern(sql = false)]
fn webhook_resume(webhook: Option<&str>) -> Result<(), ErrorReport> {
    set_paused(webhook, false)
}

fn set_paused(webhook: Option<&str>, paused: bool) -> Result<(), ErrorReport> {
    on_behalf(|caller| {
        spi::connect(|session| {
            let own = managed::find(session, caller, webhook)?;
            webhook::pause(session, caller, &own, paused);
            registry::changed();
            Ok(())
        })
    })
}
