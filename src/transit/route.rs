//! A webhook as its parcels need it: where they go, and how they are retried.

use std::time::Duration;

use domain::batch::Batching;
use domain::failure::Failure;
use domain::key::WebhookId;
use domain::time::Timestamp;
use domain::verdict::RetryPolicy;

/// One webhook, whose requests go to a `D`.
#[derive(Clone)]
pub struct Route<D> {
    /// The key of its rows.
    pub webhook: WebhookId,
    /// Enabled, not paused, and not unarmed.
    pub sending: bool,
    /// How it retries.
    pub policy: RetryPolicy,
    /// When it was last made, changed, paused or resumed: another one is another webhook to its endpoint.
    pub updated_at: Timestamp,
    /// Consecutive failures so far.
    pub fail_count: u32,
    /// Those since the endpoint last showed itself alive.
    pub unwell: u32,
    /// Since when it has failed without a success and without a change.
    pub failing_since: Option<Timestamp>,
    /// When it has failed for so long it is paused.
    pub disable_after: Option<Duration>,
    /// It is written down that its events wait because of its rate.
    pub throttled: bool,
    /// Where one request carries many events.
    pub batching: Option<Batching>,
    /// It has had an order, so that there may be events that are delivered in it.
    pub ordered: bool,
    /// Those behind a dead letter are held.
    pub holds: bool,
    /// Where requests go, or why none can: a definition that was good once may be refused now.
    pub destination: Result<D, Failure>,
}
