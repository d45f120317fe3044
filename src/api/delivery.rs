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
}

/// Finds a delivery of any age.
///
/// # Errors
///
/// [`Refusal::UnknownDelivery`], also where its webhook is not the caller's.
pub fn find(session: &Session, caller: &Caller, id: Option<i64>) -> Result<Delivery, Refusal> {
    let id = DeliveryId(id.ok_or(Refusal::Null("delivery_id"))?);
    let rows = session.run(sql!("api/delivery"), &[arg(id), arg(caller.role)]);
    let row = rows.first().ok_or(Refusal::UnknownDelivery(id))?;
    Ok(Delivery {
        id,
        webhook: row.value("name"),
        orphan: row.value("orphan"),
        transaction: row.value("transaction"),
        test: row.value("test"),
    })
}
