//! Batches as rows: which deliveries go in one request, written down before they do.
//!
//! A batch that is tried again is the same one: its deliveries wait in the backlog with its id, and are sent together. Where one of
//! them does not wait any more, because somebody has cancelled it for instance, the others are put into another batch, of another
//! id.

use std::collections::HashMap;

use super::pending;
use crate::host::ids;
use crate::pg::spi::{Session, arg, sql};
use domain::batch::MOST_BYTES;
use domain::key::{BatchId, DeliveryId, WebhookId};
use domain::snapshot::Xid8;
use domain::time::Timestamp;
use domain::timeline::Timeline;
use transit::batches::{Composition, Drawn, Whole};

/// Bytes of memory that are there before batches are put together: a body and its parts, which are freed before the next one is made.
pub const ROOM: usize = 4 * MOST_BYTES;

/// The ids of the next batch, or of a known one that is sent again.
pub fn draw(installation: &str, known: Option<BatchId>) -> Drawn {
    let next = || BatchId(ids::next_here().0);
    let batch = known.unwrap_or_else(next);
    Drawn { batch, name: name(installation, batch), halves: [next(), next()] }
}

/// The id by which receivers know a batch.
fn name(installation: &str, batch: BatchId) -> String {
    format!("bat_{installation}_{batch}")
}

/// Writes down what goes together.
pub fn compose<'a>(session: &Session, made: impl Iterator<Item = &'a Composition> + Clone) {
    let ids: Vec<BatchId> = made.clone().map(|it| it.batch).collect();
    if ids.is_empty() {
        return;
    }
    let webhooks: Vec<WebhookId> = made.clone().map(|it| it.webhook).collect();
    let counts: Vec<i32> = made.clone().map(|it| it.deliveries.len() as i32).collect();
    let shapes: Vec<&str> = made.clone().map(|it| it.shape).collect();
    let (deliveries, xids): (Vec<DeliveryId>, Vec<Xid8>) =
        made.flat_map(|it| it.deliveries.iter().copied()).unzip();
    let args = [arg(ids), arg(webhooks), arg(deliveries), arg(xids), arg(counts), arg(shapes)];
    session.run(sql!("queue/compose"), &args);
}

/// Forgets batches that are not sent any more.
pub fn decompose(session: &Session, ended: &[BatchId]) {
    if !ended.is_empty() {
        session.run(sql!("queue/decompose"), &[arg(ended.to_vec())]);
    }
}

/// Of these batches, which have been sent before, those of which all deliveries wait.
pub fn whole(
    session: &Session,
    timeline: &Timeline,
    batches: Vec<BatchId>,
    installation: &str,
) -> HashMap<BatchId, Whole> {
    let mut whole: HashMap<BatchId, Whole> = HashMap::new();
    if batches.is_empty() {
        return whole;
    }
    let rows = session.read(sql!("queue/whole"), &[arg(batches)]);
    for row in rows.iter() {
        let event = pending::event(row, timeline, row.value("next_at"), installation);
        let begin = || Whole { shape: row.value("shape"), events: Vec::new() };
        whole.entry(row.value("batch")).or_insert_with(begin).events.push(event);
    }
    whole
}

/// At the start of a run: what may have been under way waits in the backlog, to be sent again as it was. `now` in the time of the
/// queue.
pub fn recover(session: &Session, now: Timestamp) {
    session.run(sql!("queue/recover"), &[arg(now)]);
    session.run(sql!("queue/forget_batches"), &[]);
}
