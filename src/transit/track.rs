//! One endpoint: its queue, its breaker, and what of its events is in memory or in the backlog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batches::{Gathering, Item};
use super::health::Record;
use super::lines::Crowd;
use super::notice::Turn;
use super::route::Route;
use super::sending::{Queue, Queues, Waiting};
use domain::batch::Batching;
use domain::breaker::{Allowance, Breaker};
use domain::failure::Failure;
use domain::key::{DeliveryId, WebhookId};
use domain::time::Timestamp;
use domain::verdict::{self, Answer};

/// An endpoint queue whose oldest parcel has waited this long is behind: its new events go to the backlog, and
/// nobody waits for it any more. Shorter, and hiccups cost rows of the backlog; longer, and a slow endpoint holds up the reading
/// for others.
pub(super) const BEHIND: Duration = Duration::from_millis(250);

/// A queue with this many deliveries, of which the oldest has waited so long, is full: its runners have enough to do until the
/// next poll. Fewer, and a fast endpoint runs dry between two polls; more, and what is read ahead only waits in memory.
const FULL: (usize, Duration) = (500, Duration::from_millis(20));

/// A queue with this many deliveries is full regardless of age: the last ones would wait too long anyway.
const MOST: usize = 2000;

/// An endpoint that had an event of the ring so recently may have another one waiting there, so the first page of a new window is
/// read for it although other endpoints are full. Longer, and pages are read for endpoints that have nothing there.
const RECENT: Duration = Duration::from_secs(1);

/// The least and the most deliveries of one endpoint that are claimed ahead from the backlog. Fewer cost a claim more often; more
/// are in memory for nothing when the endpoint fails.
const AHEAD: (usize, usize) = (256, 2048);

/// Between them as many are claimed as the endpoint takes in this time. With fewer a fast one might never catch up with what
/// comes meanwhile.
const ENOUGH: Duration = Duration::from_millis(100);

/// Of an endpoint that takes batches so many are in memory, where that is more. Fewer, and it waits for the next poll; more, and they
/// are in memory for nothing.
const FULLEST: usize = 4;

/// An endpoint whose breaker is open is tried once in this time, however often somebody changes something about it. Shorter, and who does so
/// in a loop does to it what the breaker is there to prevent.
const HURRY: Duration = Duration::from_secs(1);

// A full queue is not behind yet, and the least claim does not fill one.
const _: () = assert!(FULL.0 < MOST && FULL.1.as_millis() < BEHIND.as_millis());
const _: () = assert!(AHEAD.0 <= AHEAD.1 && AHEAD.0 < FULL.0);

/// Whether due rows of an endpoint wait in the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backlog {
    /// None do.
    Gone,
    /// It has to be looked at; nothing has to wait for that.
    Possible,
    /// New events have to go behind them.
    Waiting,
}

/// A claim on the backlog: up to `limit` due events of `webhook` after a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub webhook: WebhookId,
    /// After this `next_at` and id.
    pub after: Option<(Timestamp, DeliveryId)>,
    /// Another claim has ended there: what has been written since then may lie before it.
    pub goes_on: bool,
    /// Up to this `next_at`.
    pub until: Timestamp,
    /// Whatever waits, though it is not due.
    pub any: bool,
    /// Rows to read.
    pub limit: i64,
    /// Of bodies, after which it ends.
    pub bytes: usize,
    /// Deliveries that there is room for. Asked once: the queue may be slower a moment later, and what a claim
    /// has read and cannot take has to be read again from the beginning.
    pub room: usize,
}

/// A queue, or why there is none.
pub(super) type MaybeQueue<Q> = Result<Arc<<Q as Queues>::Queue>, Failure>;

/// One endpoint.
pub(super) struct Track<Q: Queues> {
    pub(super) route: Route<Q::Destination>,
    /// When the route's webhook was taken over as it is now, its endpoint included.
    since: Instant,
    /// Or why nothing can be sent.
    pub(super) queue: MaybeQueue<Q>,
    queues: Q,
    pub(super) breaker: Breaker,
    /// What waits for others to be sent with.
    pub(super) gathering: Gathering,
    /// Batches in memory.
    pub(super) batches: usize,
    /// For how long what gathers has waited for a free place, as of the last survey.
    overdue: Duration,
    /// Deliveries that gather, or are in the queue or under way.
    pub(super) loaded: usize,
    /// Those of them that came from the backlog.
    pub(super) loaded_pending: usize,
    /// Those of them that stand in line behind others of their key, and are not in the queue.
    pub(super) lined: usize,
    /// Reading waits for room there.
    pub(super) crowd: Option<Crowd>,
    /// What waits in the queue, as of the last survey, and what has come since.
    pub(super) waiting: Waiting,
    /// When it last had a claim.
    pub(super) claimed_at: Option<Instant>,
    /// When the ring last had an event for it.
    pub(super) last_event: Option<Instant>,
    pub(super) backlog: Backlog,
    /// What has left the memory is not in the backlog yet: a claim finds nothing of it before.
    pub(super) gives_back: bool,
    /// Behind the last row claimed, while there are more.
    pub(super) position: Option<(Timestamp, DeliveryId)>,
    /// Whatever is due earlier has been claimed. Claims begin here, because what lies before may be dead rows
    /// without number: vacuum cannot remove them while somebody holds an old snapshot.
    pub(super) claimed_until: Option<Timestamp>,
    /// The earliest row that is not due yet, if known.
    pub(super) next_due: Option<Timestamp>,
    /// Somebody has changed something about it, or let it go on, while its breaker was open: it is tried with whatever waits, due or not.
    hurried: bool,
    /// When that was last so, or will be.
    hurried_at: Option<Instant>,
    /// Deleted, and kept only for what is under way.
    pub(super) removed: bool,
    pub(super) health: Record,
}

impl<Q: Queues> Track<Q> {
    pub(super) fn new(route: Route<Q::Destination>, queues: &Q, now: Instant) -> Self {
        Self {
            breaker: Breaker::with_failures(route.unwell, now),
            health: Record::new(
                route.webhook,
                route.fail_count,
                route.unwell,
                route.failing_since,
                route.throttled,
            ),
            queue: queue(&route, queues),
            queues: queues.clone(),
            since: now,
            route,
            gathering: Gathering::default(),
            batches: 0,
            overdue: Duration::ZERO,
            loaded: 0,
            loaded_pending: 0,
            lined: 0,
            crowd: None,
            waiting: Waiting::default(),
            claimed_at: None,
            last_event: None,
            backlog: Backlog::Possible,
            gives_back: false,
            position: None,
            claimed_until: None,
            next_due: None,
            hurried: false,
            hurried_at: None,
            removed: false,
        }
    }

    /// The queue for `route`, where it is another one.
    pub(super) fn other_queue(
        &self,
        route: &Route<Q::Destination>,
        queues: &Q,
    ) -> Option<MaybeQueue<Q>> {
        let same = self.queues.is(queues) && self.route.destination == route.destination;
        (!same).then(|| queue(route, queues))
    }

    /// What is in its queue could not be sent from `other`, or not as requests are put together by `route`, and has to leave it
    /// first.
    pub(super) fn loses_its_queue(
        &self,
        route: &Route<Q::Destination>,
        other: Option<&MaybeQueue<Q>>,
    ) -> bool {
        self.route.batching != route.batching
            || self.queue.is_ok() && other.is_some_and(Result::is_err)
    }

    /// Where there is an `other` queue, this one keeps its parcels, and sends them where that does; without one the connections
    /// stay as well.
    pub(super) fn reconfigure(
        &mut self,
        route: Route<Q::Destination>,
        queues: &Q,
        other: Option<MaybeQueue<Q>>,
        clock: &impl Fn() -> Instant,
    ) {
        if let Some(other) = other {
            match (other, &self.queue) {
                (Ok(new), Ok(old)) => old.take_over(&new),
                (new, _) => self.queue = new,
            }
            self.queues = queues.clone();
        }
        if self.route.updated_at != route.updated_at {
            // By then nobody is given the one before any more.
            self.since = clock();
            self.health.begin_anew();
            let at = self.hurried_at.map_or(self.since, |before| self.since.max(before + HURRY));
            self.hurried = self.breaker.try_at(at);
            self.hurried_at = Some(at);
        }
        self.route = route;
        self.removed = false;
        // Perhaps it was paused, and now is not.
        if self.backlog == Backlog::Gone {
            self.backlog = Backlog::Possible;
        }
        self.rewind();
    }

    /// Since when its webhook has been as it is, if a request that began at `began` was one of that.
    pub(super) fn unchanged_since(&self, began: Instant) -> Option<Timestamp> {
        (began >= self.since).then_some(self.route.updated_at)
    }

    pub(super) fn sends(&self) -> bool {
        self.route.sending && !self.removed
    }

    /// Looks at what waits in the queue. Where there is hurry others need the memory that it takes.
    pub(super) fn survey(&mut self, now: Instant, hurry: bool) {
        let queue =
            self.queue.as_ref().ok().filter(|_| self.loaded > 0 || self.backlog != Backlog::Gone);
        self.waiting = queue.map_or_else(Waiting::default, |queue| queue.waiting(now));
        self.waiting.bytes += self.gathering.bytes();
        // What cannot go because no request may begin waits as in the queue.
        let held = self.rules(now, hurry).filter(|_| !self.may_begin());
        self.overdue = held.map_or(Duration::ZERO, |rules| self.gathering.overdue(&rules, now));
        self.waiting.still = self.waiting.still.max(self.overdue);
        self.health.throttle(self.is_throttled(now));
    }

    /// Its events wait because of its rate, and not because it fails or sends nothing. Once it is so, between two requests as well.
    fn is_throttled(&self, now: Instant) -> bool {
        let goes_on = self.health.is_throttled();
        (goes_on || self.waiting.limited)
            && self.sends()
            && self.breaker.allows(now) == Allowance::Any
            && (goes_on && self.backlog == Backlog::Waiting || self.is_behind())
    }

    /// It takes nothing at the moment.
    pub(super) fn is_still(&self) -> bool {
        self.waiting.still > BEHIND
    }

    /// New events go into the queue, and it takes what comes.
    pub(super) fn keeps_up(&self) -> bool {
        self.loaded > 0 && self.backlog != Backlog::Waiting && self.lag() <= BEHIND
    }

    /// How long the oldest parcel has waited in the queue.
    pub(super) fn lag(&self) -> Duration {
        self.queue.as_ref().map_or(Duration::ZERO, |queue| queue.lag()).max(self.overdue)
    }

    /// How long until the queue needs a push.
    pub(super) fn push_due_in(&self, now: Instant) -> Option<Duration> {
        let queue = self.queue.as_ref().ok().filter(|_| self.loaded > 0)?;
        queue.due_in(now)
    }

    pub(super) fn is_behind(&self) -> bool {
        self.loaded > 0 && self.lag() > BEHIND
    }

    /// Deliveries that gather, or are in the queue or under way, and not in a line.
    pub(super) fn in_queue(&self) -> usize {
        self.loaded.saturating_sub(self.lined)
    }

    /// Reading on would fill the queue further. One that is behind, or works off the backlog, takes
    /// nothing from the ring.
    pub(super) fn is_full(&self) -> bool {
        let size = self.batch_size();
        if self.in_queue() < FULL.0.max(2 * size) || self.backlog == Backlog::Waiting {
            return false;
        }
        let lag = self.lag();
        lag <= BEHIND && (self.in_queue() >= MOST.max(FULLEST * size) || lag >= FULL.1)
    }

    /// It has room, and may be waiting for what has not been read.
    pub(super) fn is_hungry(&self, now: Instant) -> bool {
        let recent = self.last_event.is_some_and(|at| now.duration_since(at) < RECENT);
        recent && self.sends() && !self.is_full()
    }

    /// New events go into the queue, rather than to the backlog.
    pub(super) fn takes_fresh(&self, now: Instant) -> bool {
        self.sends()
            && self.backlog != Backlog::Waiting
            && self.breaker.allows(now) == Allowance::Any
            && !self.is_behind()
    }

    pub(super) fn is_due(&self, clock: Timestamp) -> bool {
        self.sends()
            && (self.backlog != Backlog::Gone || self.next_due.is_some_and(|due| due <= clock))
    }

    /// Events in one request, at most.
    pub(super) fn batch_size(&self) -> usize {
        self.route.batching.map_or(1, |rules| rules.size)
    }

    /// How batches are made now: where there is hurry nothing waits for others, nor where nothing else is sent.
    fn rules(&self, now: Instant, hurry: bool) -> Option<Batching> {
        let rules = self.route.batching?;
        let hurry = hurry || self.breaker.allows(now) != Allowance::Any;
        Some(if hurry { Batching { wait: Duration::ZERO, ..rules } } else { rules })
    }

    /// How long until what gathers is a batch.
    pub(super) fn forms_in(&self, now: Instant, hurry: bool) -> Option<Duration> {
        self.gathering.due_in(&self.rules(now, hurry)?, self.goes_along(), self.may_begin(), now)
    }

    /// The next batch of what gathers, and how it is made, if it is time.
    pub(super) fn next_batch(
        &mut self,
        now: Instant,
        hurry: bool,
    ) -> Option<(Batching, Vec<Item>)> {
        let (rules, may_begin) = (self.rules(now, hurry)?, self.may_begin());
        let items = self.gathering.take(&rules, self.goes_along(), may_begin, now);
        (!items.is_empty()).then_some((rules, items))
    }

    /// How many stand in line behind what gathers: all of them, where nothing of it is under way.
    fn goes_along(&self) -> usize {
        if self.batches == 0 { self.lined } else { 0 }
    }

    /// One more request could be under way.
    fn may_begin(&self) -> bool {
        self.batches < self.route.destination.as_ref().map_or(1, Q::concurrency)
    }

    /// Deliveries that may be claimed now.
    pub(super) fn room(&self, now: Instant) -> usize {
        let concurrency = self.route.destination.as_ref().map_or(1, Q::concurrency);
        let size = self.batch_size();
        let taken = self.queue.as_ref().map_or(0, |queue| queue.takes_within(ENOUGH, size));
        let (least, most) = (AHEAD.0.max(size), AHEAD.1.max(FULLEST * size));
        let ahead = taken.max(2 * concurrency * size).clamp(least, most);
        match self.breaker.allows(now) {
            Allowance::Any if self.in_queue() <= ahead / 2 => ahead - self.in_queue(),
            Allowance::Probe if self.loaded == 0 => 1,
            _ => 0,
        }
    }

    /// What to claim for it from the backlog now.
    pub(super) fn claim(&self, now: Instant, clock: Timestamp) -> Option<Claim> {
        let want = self.room(now);
        let after = self.position.or_else(|| Some((self.claimed_until?, DeliveryId::FIRST)));
        // From the beginning, the rows that are in memory already come first.
        let known = if after.is_none() { self.loaded_pending } else { 0 };
        let any = self.hurried && self.breaker.allows(now) == Allowance::Probe;
        (want > 0).then_some(Claim {
            webhook: self.route.webhook,
            after,
            goes_on: self.position.is_some(),
            until: clock,
            any,
            limit: (want + known) as i64,
            bytes: usize::MAX,
            room: want,
        })
    }

    /// Remembers how far a claim came; `last` is the last row it found. Returns whether it came to the
    /// end of what is due, so that the next due time should be looked up.
    pub(super) fn claimed(
        &mut self,
        claim: &Claim,
        last: Option<(Timestamp, DeliveryId)>,
        found: usize,
    ) -> bool {
        if claim.any {
            // What it has found says nothing of what is due.
            self.hurried = false;
            self.rewind();
            self.backlog = Backlog::Possible;
            return false;
        }
        let short = (found as i64) < claim.limit;
        self.position = last.or(self.position).filter(|_| !short);
        self.backlog = match (short, claim.goes_on) {
            (false, _) => Backlog::Waiting,
            // Once more, without going on.
            (true, true) => Backlog::Possible,
            (true, false) => Backlog::Gone,
        };
        let at_end = self.backlog == Backlog::Gone;
        if at_end {
            self.claimed_until = Some(claim.until);
        }
        at_end
    }

    /// A claim of whatever waits has found nothing that could be sent at once.
    pub(super) fn hurry_again(&mut self) {
        self.hurried = true;
    }

    /// Rows that are due may wait, from the first one on.
    pub(super) fn look_again(&mut self) {
        self.backlog = Backlog::Waiting;
        self.rewind();
    }

    /// The next claim leaves nothing out.
    fn rewind(&mut self) {
        self.position = None;
        self.claimed_until = None;
    }

    /// A row has been written that is due then: not always later than what has been claimed, because it may
    /// have been long in writing, and clocks are set back.
    pub(super) fn waits_from(&mut self, next_at: Timestamp) {
        self.claimed_until = self.claimed_until.map(|until| until.min(next_at));
    }

    pub(super) fn next_wake(&self, now: Instant, clock: Timestamp) -> Option<Duration> {
        if !self.sends() {
            return None;
        }
        if !self.is_due(clock) {
            return self.next_due.map(|due| due.since(clock));
        }
        match self.breaker.allows(now) {
            Allowance::NoneBefore(at) => Some(at - now),
            // Otherwise an outcome will announce room.
            _ => (self.room(now) > 0).then_some(Duration::ZERO),
        }
    }

    /// It has failed for as long as it may.
    pub(super) fn fails_for_too_long(&self, now: Instant) -> bool {
        self.route.disable_after.is_some_and(|after| self.health.fails_for(after, now))
    }

    /// Counts an outcome; says whether the breaker opened by it, and how the endpoint has turned.
    pub(super) fn note(
        &mut self,
        delivery: DeliveryId,
        result: &Result<Answer, Failure>,
        at: Timestamp,
        now: Instant,
        jitter: f64,
    ) -> (bool, Option<Turn>) {
        let failures = self.health.fail_count();
        let was_free = self.breaker.allows(now) == Allowance::Any;
        if verdict::blames_endpoint(result) {
            self.breaker.failed(delivery, now, self.route.policy.base, jitter);
        } else {
            self.breaker.succeeded();
        }
        match verdict::failure_of(result) {
            None => self.health.succeeded(at),
            Some(failure) => {
                let held_until = match self.breaker.allows(now) {
                    Allowance::NoneBefore(until) => Some(at.after(until - now)),
                    _ => None,
                };
                let unwell = self.breaker.failures();
                self.health.failed(at, failure.to_string(), unwell, held_until, now);
            }
        }
        let trips = was_free && self.breaker.allows(now) != Allowance::Any;
        (trips, Turn::between(failures, self.health.fail_count()))
    }
}

fn queue<Q: Queues>(route: &Route<Q::Destination>, queues: &Q) -> MaybeQueue<Q> {
    queues.queue(route.webhook, route.destination.clone()?)
}
