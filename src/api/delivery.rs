//! Finding the delivery that a user names.

use crate::pg::identity::Caller;
use crate::pg::spi::{Session, arg, sql};
use domain::key::DeliveryId;
use domain::refusal::Refusal;

/// A delivery that the caller may manage.
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The name of its webhook.
    pub webhook: String,
    /// The webhook has been deleted.
    pub orphan: bool,
    /// The transaction that wrote the event.
    pub transaction: i64,
    /// It was sent by `webhook_test`.
    pub test: bool,
    /// It is in the backlog.
    pub waits: bool,
    /// Its body is as it was to be, and not what a transform failed to make another one of.
    pub transformed: bool,
}

/// Finds a delivery of any age.
///
/// # Errors
///
/// [`Refusal::UnknownDelivery`], also where its webhook is not the caller's.
pub fn find(session: &Session, caller: &Caller, id: Option<i64>) -> Result<Delivery, Refusal> {
    let id = DeliveryId(id.ok_or(Refusal::Null("delivery_id"))?);
    // One after the other: to plan the last takes ten times as long as to run the first. From the backlog it gets into the log, or, where
    // that leaves it out, to its place before the cursor, and from the ring into all; so what was not there yet when that was looked at
    // is found in a second round.
    let places = [
        (true, sql!("api/delivery_waiting")),
        (false, sql!("api/delivery_logged")),
        (false, sql!("api/delivery_fresh")),
    ];
    for (waits, place) in places.into_iter().chain(places) {
        let rows = session.run_generic(place, &[arg(id), arg(caller.role)]);
        if let Some(row) = rows.first() {
            return Ok(Delivery {
                id,
                webhook: row.value("name"),
                orphan: row.value("orphan"),
                transaction: row.value("transaction"),
                test: row.value("test"),
                waits,
                transformed: row.value("transformed"),
            });
        }
    }
    Err(Refusal::UnknownDelivery(id))
}
