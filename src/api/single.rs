//! The body of a request that carries one event, as `webhook_test` and `webhook_preview` have it.

use crate::pg::memory;
use domain::batch::Batching;

/// What is sent of the event: its body, or a batch of it alone where the webhook sends batches. Raises an error where there is no
/// memory for it.
pub(super) fn body(batching: Option<&Batching>, event_id: &str, body: &str) -> String {
    match batching {
        None => memory::owned(body.into()),
        Some(rules) => {
            // As it grows, and a copy where it is written in one line.
            memory::ensure(4 * (body.len() + event_id.len()));
            rules.body(std::iter::once((event_id, body)))
        }
    }
}
