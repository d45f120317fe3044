//! What is in memory: the lanes of all endpoints, and every message in them.
//!
//! The leader reads the ring in order; this decides what becomes of each event. An event goes into its
//! endpoint's lane, unless the endpoint is paused, broken, behind, or has older events waiting: then it
//! is spilled to the slow lane, from where it is claimed when the endpoint can take it. So a slow or
//! dead endpoint costs a row for each of its events and nothing for anybody else's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::delivery::attempt::{Exchange, Message};
use crate::delivery::client::{Client, Endpoint};
use crate::delivery::lane::Lane;
use crate::delivery::pool::Outcome;
use crate::delivery::route::Route;
use crate::domain::breaker::{Admission, Breaker};
use crate::domain::failure::{ErrorClass, Failure};
use crate::domain::snapshot::Xid8;
use crate::domain::time::Timestamp;
use crate::domain::verdict::{self, Answer, History, Verdict};

/// A lane whose oldest message has waited this long is behind: its new events go to the slow lane, and
/// nobody waits for it any more.
const BEHIND: Duration = Duration::from_millis(250);

/// The ring is not read on while lanes that are not behind hold this many messages, of which the oldest
/// has waited so long: then there is enough for the threads to do until the next look.
const ENOUGH: (usize, Duration) = (500, Duration::from_millis(20));

/// Nor while there are more messages than this in memory in lanes that are not behind.
const MOST_MESSAGES: usize = 10_000;

/// Nor while the bodies in memory are larger.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Messages of one endpoint that are claimed ahead from the slow lane.
const AHEAD: (usize, usize) = (256, 1024);

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The ring: slot of the row, and the window that waits for it.
    Ring {
        /// Of the row.
        slot: i16,
        /// See [`crate::domain::window`].
        window: u64,
    },
    /// The slow lane.
    Pending,
}

/// A message in memory.
#[derive(Debug, Clone)]
struct Flight {
    webhook: i32,
    xid: Xid8,
    origin: Origin,
    first_attempt_at: Option<Timestamp>,
    bytes: usize,
}

/// An event to be sent.
#[derive(Debug)]
pub struct Event {
    /// Its row.
    pub id: i64,
    /// Its transaction.
    pub xid: Xid8,
    /// Whose it is.
    pub webhook: i32,
    /// Where its row is.
    pub origin: Origin,
    /// Attempts made.
    pub attempts: u32,
    /// When the first of them began.
    pub first_attempt_at: Option<Timestamp>,
    /// The public id.
    pub event_id: String,
    /// The body; `None` where it was clear that it is not needed.
    pub body: Option<String>,
}

/// An event of the ring that must go to the slow lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spill {
    /// Of its row.
    pub slot: i16,
    /// Of its row.
    pub xid: Xid8,
    /// Of its row.
    pub id: i64,
    /// The window that waits for it.
    pub window: u64,
}

/// Events of the ring that have left their lanes unsent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recalled {
    /// To go to the slow lane.
    pub spilled: Vec<Spill>,
    /// Of deleted webhooks.
    pub cancelled: Vec<Spill>,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is in its lane.
    Taken,
    /// It must wait in the slow lane.
    Spilled(Spill),
    /// Its webhook has been deleted; nothing more happens.
    Cancelled,
}

/// A claim on the slow lane: up to `limit` due events of `webhook` after a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub webhook: i32,
    /// After this `next_at` and id.
    pub after: Option<(Timestamp, i64)>,
    /// Rows to read.
    pub limit: i64,
}

/// An attempt with its consequences, to be written to the database.
#[derive(Debug)]
pub struct Settlement {
    /// The event's row.
    pub delivery: i64,
    /// Of the event.
    pub xid: Xid8,
    /// Whose.
    pub webhook: i32,
    /// Where the event's row is.
    pub origin: Origin,
    /// Number of the attempt.
    pub attempt: u32,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// When the delivery's first attempt began.
    pub first_attempt_at: Timestamp,
    /// The answer, or why there is none.
    pub result: Result<Answer, Failure>,
    /// What follows.
    pub verdict: Verdict,
    /// When the delivery is due again; at infinity when it is dead.
    pub next_at: Option<Timestamp>,
    /// The answer asks that the webhook be disabled.
    pub gone: bool,
    /// The webhook has been deleted: nothing is kept for another attempt.
    pub orphan: bool,
}

/// How an endpoint has been answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whose.
    pub webhook: i32,
    /// Consecutive failures.
    pub fail_count: u32,
    /// The last success of this run.
    pub last_success_at: Option<Timestamp>,
    /// The last failure of this run.
    pub last_failure_at: Option<Timestamp>,
    /// What it was.
    pub last_error: Option<String>,
}

struct Track {
    route: Route,
    /// Or why nothing can be sent.
    lane: Result<Arc<Lane>, Failure>,
    client: Client,
    breaker: Breaker,
    /// Messages in the lane or under way.
    loaded: usize,
    /// Those of them that came from the slow lane.
    loaded_pending: usize,
    /// Rows that are due may wait in the slow lane.
    backlog: bool,
    /// Behind the last row claimed.
    position: Option<(Timestamp, i64)>,
    /// The earliest row that is not due yet, if known.
    next_due: Option<Timestamp>,
    /// Deleted, and kept only for what is under way.
    removed: bool,
    health: Health,
    health_changed: bool,
    health_turned: bool,
}

/// All endpoints and messages.
#[derive(Default)]
pub struct Schedule {
    tracks: HashMap<i32, Track>,
    flights: HashMap<i64, Flight>,
    bytes: usize,
    /// Outcomes of messages that could not even be tried.
    untried: Vec<Outcome>,
    /// Webhooks that have been deleted, so that their events ask for no second look.
    deleted: HashSet<i32>,
    health_changed: bool,
    /// One message at a time, of all webhooks.
    single: bool,
    /// Messages for lanes, to be handed over when the transaction that read them has ended.
    outbox: HashMap<i32, Vec<Message>>,
}

impl Schedule {
    /// Takes over the webhooks as they are now, and empties the lanes of those that do not send any
    /// more.
    pub fn set_routes(&mut self, routes: Vec<Route>, client: &Client, now: Instant) -> Recalled {
        for track in self.tracks.values_mut() {
            track.removed = true;
        }
        for route in routes {
            match self.tracks.get_mut(&route.webhook) {
                Some(track) => track.reconfigure(route, client),
                None => drop(self.tracks.insert(route.webhook, Track::new(route, client, now))),
            }
        }
        let stopped: Vec<(i32, bool)> = self
            .tracks
            .values()
            .filter(|track| !track.sends())
            .map(|track| (track.route.webhook, track.removed))
            .collect();
        let mut recalled = Recalled::default();
        for (webhook, removed) in stopped {
            let events = self.recall(webhook, now);
            if removed {
                recalled.cancelled.extend(events)
            } else {
                recalled.spilled.extend(events)
            }
        }
        self.tracks.retain(|_, track| !track.removed || track.loaded > 0);
        recalled
    }

    /// Whether this webhook is known, be it as deleted.
    pub fn knows(&self, webhook: i32) -> bool {
        self.tracks.contains_key(&webhook) || self.deleted.contains(&webhook)
    }

    /// The definitions have just been read: a webhook that is not among them has been deleted.
    pub fn learn(&mut self, webhook: i32) {
        if !self.tracks.contains_key(&webhook) {
            self.deleted.insert(webhook);
        }
    }

    /// One message at a time from now on, or any number.
    pub fn set_single(&mut self, single: bool) {
        self.single = single;
    }

    /// The message in memory, where there is one at a time and there is one.
    pub fn single(&self) -> Option<i64> {
        self.flights.keys().next().copied().filter(|_| self.single)
    }

    /// Events that may be taken of a page of `read`.
    pub fn page(&self, read: usize) -> usize {
        if self.single { read.min(1) } else { read }
    }

    /// Whether more of the ring may be read now.
    pub fn has_room(&self) -> bool {
        if self.single {
            return self.flights.is_empty();
        }
        let lanes = self.tracks.values().filter(|track| track.loaded > 0);
        let in_front =
            lanes.map(|track| (track.loaded, track.lag())).filter(|(_, lag)| *lag <= BEHIND);
        let (messages, lag) = in_front
            .fold((0, Duration::ZERO), |(messages, longest), (loaded, lag)| {
                (messages + loaded, longest.max(lag))
            });
        let enough = messages >= ENOUGH.0 && lag > ENOUGH.1;
        !enough && messages < MOST_MESSAGES && self.bytes < MOST_BYTES
    }

    /// The webhooks whose new events will be spilled, so that their bodies need not be read.
    pub fn spilling(&self, now: Instant) -> Vec<i32> {
        self.tracks
            .values()
            .filter(|track| !track.takes_fresh(now))
            .map(|track| track.route.webhook)
            .collect()
    }

    /// Decides about an event of the ring.
    pub fn offer(&mut self, event: Event, now: Instant) -> Decision {
        let Origin::Ring { slot, window } = event.origin else {
            return Decision::Cancelled;
        };
        match self.tracks.get_mut(&event.webhook) {
            None => return Decision::Cancelled,
            Some(track) if track.removed => return Decision::Cancelled,
            Some(track) if event.body.is_none() || !track.takes_fresh(now) => {
                track.backlog = true;
                return Decision::Spilled(Spill { slot, xid: event.xid, id: event.id, window });
            }
            Some(_) => {}
        }
        self.load(event);
        Decision::Taken
    }

    /// What to claim from the slow lane now.
    pub fn claims(&self, now: Instant, clock: Timestamp) -> Vec<Claim> {
        if self.single {
            let one = self.tracks.values().find(|track| track.is_due(clock) && track.room(now) > 0);
            let one = one.filter(|_| self.flights.is_empty());
            let claim =
                |track: &Track| Claim { webhook: track.route.webhook, after: None, limit: 1 };
            return one.map(claim).into_iter().collect();
        }
        let claims = self.tracks.values().filter(|track| track.is_due(clock)).filter_map(|track| {
            let want = track.room(now);
            (want > 0).then(|| Claim {
                webhook: track.route.webhook,
                after: track.position,
                // From the beginning, the rows that are in memory already come first.
                limit: (want + if track.position.is_none() { track.loaded_pending } else { 0 })
                    as i64,
            })
        });
        claims.collect()
    }

    /// Takes what a claim found: events with their `next_at`. Returns whether the claim came to the end
    /// of what is due, so that the next due time should be looked up.
    pub fn claimed(&mut self, claim: &Claim, found: Vec<(Timestamp, Event)>, now: Instant) -> bool {
        let Some(track) = self.tracks.get_mut(&claim.webhook) else {
            return false;
        };
        let short = (found.len() as i64) < claim.limit;
        let from_start = claim.after.is_none();
        track.position =
            found.last().map(|(next_at, event)| (*next_at, event.id)).or(track.position);
        if short {
            track.position = None;
            // From a position, rows before it may have become due meanwhile: look again.
            track.backlog = !from_start;
        }
        let mut free = track.room(now);
        for (_, event) in found {
            if self.flights.contains_key(&event.id) {
                continue;
            }
            if free == 0 {
                // A probe takes one; the others stay where they are.
                if let Some(track) = self.tracks.get_mut(&claim.webhook) {
                    track.backlog = true;
                    track.position = None;
                }
                break;
            }
            free -= 1;
            let (webhook, id) = (event.webhook, event.id);
            self.load(event);
            if let Some(track) = self.tracks.get_mut(&webhook)
                && track.breaker.admits(now) == Admission::Probe
            {
                track.breaker.probe_sent(id);
            }
        }
        short && from_start
    }

    /// The earliest `next_at` of a webhook's rows that are not due.
    pub fn set_next_due(&mut self, webhook: i32, next_due: Option<Timestamp>) {
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.next_due = next_due;
        }
    }

    /// How long until something is due that nothing else will announce.
    pub fn next_wake(&self, now: Instant, clock: Timestamp) -> Option<Duration> {
        self.tracks.values().filter_map(|track| track.next_wake(now, clock)).min()
    }

    /// The messages that were taken, with their lanes.
    pub fn take_outbox(&mut self) -> Vec<(Arc<Lane>, Vec<Message>)> {
        let mut sent = Vec::with_capacity(self.outbox.len());
        for (webhook, messages) in self.outbox.drain() {
            let Some(track) = self.tracks.get(&webhook) else {
                continue;
            };
            match &track.lane {
                Ok(lane) => sent.push((Arc::clone(lane), messages)),
                Err(failure) => {
                    let untried =
                        messages.into_iter().map(|message| untried(webhook, &message, failure));
                    self.untried.extend(untried);
                }
            }
        }
        sent
    }

    /// Whether there are outcomes of messages that could not be tried.
    pub fn has_untried(&self) -> bool {
        !self.untried.is_empty()
    }

    /// Outcomes of messages that could not be tried.
    pub fn take_untried(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.untried)
    }

    /// Judges an outcome. The message stays in memory until [`Self::settled`]. Also returns what must
    /// leave the lane because the breaker opened.
    pub fn judge(
        &mut self,
        outcome: Outcome,
        now: Instant,
        jitter: f64,
    ) -> Option<(Settlement, Vec<Spill>)> {
        let flight = self.flights.get(&outcome.delivery)?.clone();
        let track = self.tracks.get_mut(&outcome.webhook)?;
        let Exchange { started, took, result } = outcome.exchange;
        let wall = SystemTime::now();
        let started = Timestamp::from(started);
        let first_attempt_at = flight.first_attempt_at.unwrap_or(started);
        let elapsed = started.after(took).since(first_attempt_at);
        let history = History { attempts: outcome.attempt, elapsed };
        let verdict = verdict::judge(&result, history, &track.route.policy, wall, jitter);
        self.health_changed = true;
        let trips = track.note(outcome.delivery, &result, started.after(took), now, jitter);
        let orphan = track.removed;
        let free = track.breaker.admits(now) == Admission::Free;
        if free && track.lane.as_ref().is_ok_and(|lane| lane.holds()) {
            // It held for nothing: let it go on.
            self.outbox.entry(outcome.webhook).or_default();
        }
        let spills = if trips { self.recall(outcome.webhook, now) } else { Vec::new() };
        let settlement = Settlement {
            delivery: outcome.delivery,
            xid: flight.xid,
            webhook: outcome.webhook,
            origin: flight.origin,
            attempt: outcome.attempt,
            started,
            took,
            first_attempt_at,
            gone: result.as_ref().is_ok_and(verdict::gone),
            result,
            verdict,
            next_at: match verdict {
                Verdict::Delivered => None,
                Verdict::Retry(wait) => Some(Timestamp::from(wall).after(wait)),
                Verdict::Dead => Some(Timestamp::INFINITY),
            },
            orphan,
        };
        Some((settlement, spills))
    }

    /// The settlement is in the database.
    pub fn settled(&mut self, settlement: &Settlement) {
        self.unload(settlement.delivery);
        if let Some(track) = self.tracks.get_mut(&settlement.webhook) {
            if let Some(at) = settlement.next_at.filter(|at| *at < Timestamp::INFINITY) {
                track.next_due = Some(track.next_due.map_or(at, |due| due.min(at)));
            }
            if track.removed && track.loaded == 0 {
                self.tracks.remove(&settlement.webhook);
            }
        }
    }

    /// Whether [`Self::take_health`] has something to return.
    pub fn health_changed(&self) -> bool {
        self.health_changed
    }

    /// What changed about the endpoints since the last call. Only turns between healthy and failing,
    /// unless `all`.
    pub fn take_health(&mut self, all: bool) -> Vec<Health> {
        self.health_changed &= !all;
        let changed = self
            .tracks
            .values_mut()
            .filter(|track| !track.removed && track.health_changed && (all || track.health_turned));
        changed
            .map(|track| {
                track.health_changed = false;
                track.health_turned = false;
                track.health.clone()
            })
            .collect()
    }

    /// Puts back what could not be written.
    pub fn return_health(&mut self, healths: &[Health]) {
        self.health_changed |= !healths.is_empty();
        for health in healths {
            if let Some(track) = self.tracks.get_mut(&health.webhook) {
                track.health_changed = true;
                track.health_turned = true;
            }
        }
    }

    /// Messages in memory.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    fn load(&mut self, event: Event) {
        let body = event.body.unwrap_or_default();
        let bytes = body.len();
        let Some(track) = self.tracks.get_mut(&event.webhook) else {
            return;
        };
        track.loaded += 1;
        track.loaded_pending += usize::from(event.origin == Origin::Pending);
        self.bytes += bytes;
        let flight = Flight {
            webhook: event.webhook,
            xid: event.xid,
            origin: event.origin,
            first_attempt_at: event.first_attempt_at,
            bytes,
        };
        self.flights.insert(event.id, flight);
        self.outbox.entry(event.webhook).or_default().push(Message {
            delivery: event.id,
            event_id: event.event_id,
            attempt: event.attempts + 1,
            body,
        });
    }

    fn unload(&mut self, delivery: i64) -> Option<Flight> {
        let flight = self.flights.remove(&delivery)?;
        self.bytes -= flight.bytes;
        if let Some(track) = self.tracks.get_mut(&flight.webhook) {
            track.loaded -= 1;
            track.loaded_pending -= usize::from(flight.origin == Origin::Pending);
        }
        Some(flight)
    }

    /// Empties the lane of `webhook`. What came from the ring must be spilled, or is cancelled with the
    /// webhook; what came from the slow lane is still there.
    fn recall(&mut self, webhook: i32, now: Instant) -> Vec<Spill> {
        let Some(track) = self.tracks.get_mut(&webhook) else {
            return Vec::new();
        };
        track.backlog = true;
        track.position = None;
        let mut messages = track.lane.as_ref().map_or_else(|_| Vec::new(), |lane| lane.take_back());
        messages.extend(self.outbox.remove(&webhook).unwrap_or_default());
        for message in &messages {
            track.breaker.unsent(message.delivery, now);
        }
        let unloaded = messages.into_iter().filter_map(|message| {
            let flight = self.unload(message.delivery)?;
            match flight.origin {
                Origin::Ring { slot, window } => {
                    Some(Spill { slot, xid: flight.xid, id: message.delivery, window })
                }
                Origin::Pending => None,
            }
        });
        unloaded.collect()
    }
}

impl Track {
    fn new(route: Route, client: &Client, now: Instant) -> Self {
        let health = Health {
            webhook: route.webhook,
            fail_count: route.fail_count,
            last_success_at: None,
            last_failure_at: None,
            last_error: None,
        };
        Self {
            breaker: Breaker::with_failures(route.fail_count, now),
            lane: lane(&route, client),
            client: client.clone(),
            route,
            loaded: 0,
            loaded_pending: 0,
            backlog: true,
            position: None,
            next_due: None,
            removed: false,
            health,
            health_changed: false,
            health_turned: false,
        }
    }

    /// Keeps the connections where the destination is the same. What is in the lane goes to the new one.
    fn reconfigure(&mut self, route: Route, client: &Client) {
        let same = self.client.is(client) && self.route.destination == route.destination;
        if !same {
            match (lane(&route, client), &self.lane) {
                (Ok(new), Ok(old)) => old.take_over(&new),
                (new, _) => self.lane = new,
            }
            self.client = client.clone();
        }
        self.route = route;
        self.removed = false;
        self.backlog = true;
        self.position = None;
    }

    fn sends(&self) -> bool {
        self.route.sending && !self.removed
    }

    /// How long the oldest message has waited in the lane.
    fn lag(&self) -> Duration {
        self.lane.as_ref().map_or(Duration::ZERO, |lane| lane.lag())
    }

    fn is_behind(&self) -> bool {
        self.loaded > 0 && self.lag() > BEHIND
    }

    /// New events go into the lane, rather than to the slow lane.
    fn takes_fresh(&self, now: Instant) -> bool {
        self.sends()
            && !self.backlog
            && self.breaker.admits(now) == Admission::Free
            && !self.is_behind()
    }

    fn is_due(&self, clock: Timestamp) -> bool {
        self.sends() && (self.backlog || self.next_due.is_some_and(|due| due <= clock))
    }

    /// Messages that may be claimed now.
    fn room(&self, now: Instant) -> usize {
        let concurrency = self.route.destination.as_ref().map_or(1, |to| to.concurrency);
        let ahead = (2 * concurrency).clamp(AHEAD.0, AHEAD.1);
        match self.breaker.admits(now) {
            Admission::Free if self.loaded <= ahead / 2 => ahead - self.loaded,
            Admission::Probe if self.loaded == 0 => 1,
            _ => 0,
        }
    }

    fn next_wake(&self, now: Instant, clock: Timestamp) -> Option<Duration> {
        if !self.sends() {
            return None;
        }
        if !self.is_due(clock) {
            return self.next_due.map(|due| due.since(clock));
        }
        match self.breaker.admits(now) {
            Admission::Closed(at) => Some(at - now),
            // Otherwise an outcome will announce room.
            _ => (self.room(now) > 0).then_some(Duration::ZERO),
        }
    }

    /// Counts an outcome; says whether the breaker opened by it.
    fn note(
        &mut self,
        delivery: i64,
        result: &Result<Answer, Failure>,
        at: Timestamp,
        now: Instant,
        jitter: f64,
    ) -> bool {
        let was_free = self.breaker.admits(now) == Admission::Free;
        self.health_changed = true;
        match verdict::failure_of(result) {
            None => {
                self.health_turned |= self.health.fail_count > 0;
                self.health.last_success_at = Some(at);
                self.breaker.succeeded();
            }
            Some(failure) => {
                self.health_turned |= self.health.fail_count == 0;
                self.health.last_failure_at = Some(at);
                self.health.last_error = Some(failure.to_string());
                self.breaker.failed(delivery, now, self.route.policy.base, jitter);
            }
        }
        self.health.fail_count = self.breaker.failures();
        was_free && self.breaker.admits(now) != Admission::Free
    }
}

fn lane(route: &Route, client: &Client) -> Result<Arc<Lane>, Failure> {
    let destination = route.destination.clone()?;
    let concurrency = destination.concurrency;
    let endpoint = Endpoint::new(client, destination)
        .map_err(|error| Failure::new(ErrorClass::Internal, error.to_string()))?;
    Ok(Arc::new(Lane::new(route.webhook, Arc::new(endpoint), concurrency)))
}

fn untried(webhook: i32, message: &Message, failure: &Failure) -> Outcome {
    let exchange =
        Exchange { started: SystemTime::now(), took: Duration::ZERO, result: Err(failure.clone()) };
    Outcome { webhook, delivery: message.delivery, attempt: message.attempt, exchange }
}
