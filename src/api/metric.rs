//! `webhook_stats_reset`, and what the views of numbers are made with

use pgrx::datum::AnyNumeric;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{milliseconds, on_behalf};
use crate::log::metric;
use crate::pg::spi;
use crate::registry::managed;
use domain::histogram::{self, BUCKETS};

#[pg_extern(sql = false)]
fn webhook_stats_reset(webhook: Option<&str>) -> Result<(), ErrorReport> {
    on_behalf(|caller| {
        spi::connect(|session| {
            let one = webhook.map(|webhook| managed::look(session, caller, Some(webhook)));
            let one = one.transpose()?.map(|webhook| webhook.id);
            metric::reset(session, caller.role, one);
            Ok(())
        })
    })
}

#[pg_extern(sql = false)]
fn webhook_bounds() -> Vec<f64> {
    (0..BUCKETS).map(histogram::bound).collect()
}

#[pg_extern(sql = false)]
fn webhook_percentile(counts: Array<'_, i64>, part: f64) -> Option<AnyNumeric> {
    let counts: Vec<i64> = counts.iter().map(Option::unwrap_or_default).collect();
    histogram::percentile(&counts, part).map(|millis| milliseconds((millis * 1000.0) as i64))
}
