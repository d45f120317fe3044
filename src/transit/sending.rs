//! What this room needs of whoever sends: a queue for each endpoint, to which parcels go, and the outcomes that come back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::event::Event;
use domain::failure::Failure;
use domain::key::{DeliveryId, WebhookId};
use domain::verdict::Answer;

/// Bytes that a parcel takes besides its body, in its queue and in the schedule's deliveries: measured as 300, and something for
/// the allocator. Less, and many small bodies would count as next to nothing.
const BESIDES: usize = 512;

/// What is sent in one request: one delivery, or a batch of them.
#[derive(Debug)]
pub struct Parcel {
    /// Whose outcome it will be; of a batch the first one.
    pub delivery: DeliveryId,
    /// The `webhook-id`: the same on every attempt and replay. Ours are of `[A-Za-z0-9_-]`; one that an import has brought
    /// is of 1 to 200 visible ASCII characters.
    pub event_id: String,
    /// Counted from 1.
    pub attempt: u32,
    /// How many events it carries, where it is a batch.
    pub batch: Option<u32>,
    /// It repeats another delivery, as somebody has asked for.
    pub replay: bool,
    /// The exact bytes.
    pub body: String,
}

impl Parcel {
    /// Of one event that is sent by itself.
    pub(crate) fn of(event: Event) -> Self {
        Self {
            delivery: event.id,
            event_id: event.event_id,
            attempt: event.attempts + 1,
            batch: None,
            replay: event.replay,
            body: event.body.unwrap_or_default(),
        }
    }

    /// What it takes of memory.
    pub fn bytes(&self) -> usize {
        self.body.len() + BESIDES
    }
}

/// What one attempt brought.
#[derive(Debug)]
pub struct Exchange {
    /// When it began.
    pub started: SystemTime,
    /// Until the answer was read, or was known not to come.
    pub took: Duration,
    /// An answer with any status, or the reason why there is none.
    pub result: Result<Answer, Failure>,
}

/// An attempt that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whose parcel it was.
    pub webhook: WebhookId,
    /// [`Parcel::delivery`].
    pub delivery: DeliveryId,
    /// [`Parcel::batch`].
    pub batch: Option<u32>,
    /// Before the queue was asked where it goes.
    pub began: Instant,
    /// How it went.
    pub exchange: Exchange,
}

/// What waits in the queue of an endpoint.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Of memory.
    pub bytes: usize,
    /// For how long no parcel has been taken although there were some, or will not be.
    pub still: Duration,
    /// The oldest parcel waits because of a limit on how many requests start.
    pub limited: bool,
}

/// The parcels that wait for one endpoint. Whoever sends takes them from there, at any time.
pub trait Queue {
    /// What waits in it.
    fn waiting(&self, now: Instant) -> Waiting;

    /// How long the oldest parcel that nobody has taken has waited.
    fn lag(&self) -> Duration;

    /// Deliveries that it takes in so long, so many in a parcel, if attempts go on as they do.
    fn takes_within(&self, time: Duration, size: usize) -> usize;

    /// How long until it needs a push, be it of nothing, that nothing else will give.
    fn due_in(&self, now: Instant) -> Option<Duration>;

    /// Whether nothing is taken until there is a push, because so many attempts have failed.
    fn holds(&self) -> bool;

    /// Parcels taken from now on go where those of `new` would, within its limits.
    fn take_over(&self, new: &Self);

    /// Removes and returns the newest of what nobody has taken, so that `bytes` are left of it at most.
    fn give_back(&self, bytes: usize) -> Vec<Parcel>;

    /// Removes a parcel that nobody has taken; says whether there was one.
    fn withdraw(&self, delivery: DeliveryId) -> bool;
}

/// What makes such queues.
pub trait Queues: Clone {
    /// Where and how the requests of one webhook go.
    type Destination: Clone + PartialEq;
    /// What it makes.
    type Queue: Queue;

    /// Whether `other` is a clone of this one.
    fn is(&self, other: &Self) -> bool;

    /// An empty one for the parcels of `webhook`.
    ///
    /// # Errors
    ///
    /// Why nothing can be sent there.
    fn queue(&self, webhook: WebhookId, to: Self::Destination)
    -> Result<Arc<Self::Queue>, Failure>;

    /// Requests that there may be at once.
    fn concurrency(to: &Self::Destination) -> usize;
}
