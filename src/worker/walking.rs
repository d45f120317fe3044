//! When the backlog is walked to keep it within its bounds: a page at a time, and then a long rest.
//!
//! Where databases take turns, a walk is no reason to stay: a worker that leaves writes down where it is, and its database is
//! due again for the rest of it. The time without a worker counts for the pace: so much may be made up for before
//! the next leaving. A database whose walk is at its end is due when the first row will be too old.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::backlog::Backlog;
use super::overdue::{Found, News, Overdue};
use super::time::Time;
use crate::host::txn::{self, TxnError};
use crate::pg::identity::Extension;
use crate::pg::settings;
use crate::pg::spi::Session;
use crate::queue::bounds::{self, Delivery};
use crate::queue::order::{self, Passed};
use crate::queue::walk::{self, Place};
use crate::registry::health::{self, Reached};
use delivery::client::Client;
use domain::bounds::Walk;
use domain::key::{DeliveryId, WebhookId};
use domain::reminder::Reminder;
use domain::time::Timestamp;
use domain::timeline::Timeline;
use transit::schedule::Schedule;

/// Rows that one transaction looks at: some milliseconds, for which everything else waits.
const PAGE: i64 = 2_000;

/// The most bytes of bodies that one transaction writes anew, because their events become dead letters: some tenths of a second,
/// for which everything else waits.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// So many times as long as a page has taken passes before the next one, so a walk takes three hundredths of the worker's
/// time at most, and some minutes for a million rows. With less it takes more from deliveries; with more, what is beyond a
/// bound stays longer.
const SPACING: u32 = 30;

/// A walk begins this long after the one before at the earliest, and a database rests for so long before it goes on with one.
/// Many webhooks have a bound of an hour, none one of a second.
const EVERY: Duration = Duration::from_secs(10);

/// How long it pauses after an error. A bound that is reached a minute late does no harm.
const PAUSE: Duration = Duration::from_secs(60);

/// Webhooks of which it is remembered what has been said. With more than that, it is said again.
const MOST_SAID: usize = 1_000;

/// The walk, and where it is.
pub(super) struct Walking {
    walk: Walk,
    /// Behind this id; `None` between two walks.
    before: Option<DeliveryId>,
    /// There has to be another one: rows or bounds have changed since it began, where it has been perhaps.
    again: bool,
    began: Instant,
    due: Instant,
    /// Not before, whatever comes.
    earliest: Instant,
    /// The bounds may have changed.
    stale: bool,
    /// How long pages have taken in this run, and for how long they may without a rest, because there was no worker.
    walked: Duration,
    allowed: Duration,
    names: HashMap<WebhookId, String>,
    said: HashMap<WebhookId, Reminder>,
    /// What nobody has asked for yet.
    reached: Vec<Reached>,
    passed: Passed,
    overdue: Overdue,
    /// Of what keeps it from working.
    failing: Reminder,
}

impl Walking {
    /// The first walk begins at once, or goes on where the run before has left it. `clock`: in the time of the queue.
    pub(super) fn new(now: Instant, place: Option<Place>, clock: Timestamp) -> Self {
        let rested = place.as_ref().map_or(Duration::ZERO, |place| clock.since(place.at));
        let (before, again, walk) = match place {
            Some(place) => (Some(place.before), place.again, place.walk),
            None => (None, true, Walk::default()),
        };
        Self {
            walk,
            before,
            again,
            began: now,
            due: now,
            earliest: now,
            stale: true,
            walked: Duration::ZERO,
            allowed: rested.min(EVERY) / SPACING,
            names: HashMap::new(),
            said: HashMap::new(),
            reached: Vec::new(),
            passed: Passed::default(),
            overdue: Overdue::new(),
            failing: Reminder::default(),
        }
    }

    /// Definitions or settings have changed: a bound may be lower now, or not be reached any more. `sends`: whether anything is sent.
    pub(super) fn ask(&mut self, sends: bool) {
        self.overdue.set_sending(sends, Instant::now());
        self.stale = true;
        if self.before.is_none() {
            self.due = self.due.min(self.earliest);
        }
    }

    /// What it has passed may be beyond a bound by now.
    pub(super) fn repeat(&mut self) {
        self.again = true;
    }

    /// How long until there is something to do, where no worker is there meanwhile that changes anything.
    pub(super) fn due_at_rest(&self, now: Instant, clock: Timestamp) -> Option<Duration> {
        let wait = self.due_in(now);
        if self.before.is_some() || self.again {
            return Some(wait.max(EVERY));
        }
        let soonest = Some(self.walk.soonest()).filter(|soonest| *soonest < Timestamp::INFINITY);
        soonest.map(|soonest| wait.max(soonest.since(clock)))
    }

    /// The time without a worker has not been made up for, which is to be done before there is none again.
    pub(super) fn lags(&self) -> bool {
        self.before.is_some() && self.walked < self.allowed
    }

    /// Leaves its place to the next run.
    pub(super) fn leave(&self, session: &Session, clock: Timestamp) {
        if let Some(before) = self.before {
            walk::leave(session, before, self.again, &self.walk, clock);
        }
    }

    /// How long until there is something to do.
    pub(super) fn due_in(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// Sees to a page. What is in memory or under way is left alone.
    pub(super) fn step(
        &mut self,
        extension: Extension,
        time: &Time,
        schedule: &Schedule<Client>,
        backlog: &mut Backlog,
    ) -> Result<(), TxnError> {
        let (began, clock, timeline) = (Instant::now(), time.now(), time.timeline());
        let before = self.before.unwrap_or_else(|| {
            self.walk = Walk::default();
            self.again = false;
            self.began = began;
            self.stale = true;
            DeliveryId::LAST
        });
        let page = txn::tried(c"keeps what waits within its bounds", extension, |session| {
            backlog.lock().then(|| self.page(session, clock, timeline, schedule, before))
        })?;
        let took = began.elapsed();
        self.walked += took;
        match page {
            Ok(None) => backlog.keep(None),
            Ok(Some((last, reached, overdue))) => {
                self.before = last;
                if let Some(overdue) = overdue {
                    self.overdue.learn(overdue);
                }
                self.earliest = Instant::now() + took * SPACING;
                self.due = match last {
                    Some(_) => self.earliest,
                    None => self.earliest.max(self.began + EVERY),
                };
                self.failing = Reminder::default();
                self.say(&reached);
                self.reached.extend(reached);
            }
            Err(message) => {
                if self.failing.fall_due(began) {
                    log!("pg_webhook: what waits is not kept within its bounds: {message}");
                }
                // What this walk has counted may have been rolled back.
                self.before = None;
                self.again = true;
                self.earliest = Instant::now() + PAUSE;
                self.due = self.earliest;
            }
        }
        Ok(())
    }

    /// Returns where the next page begins, if there is one, which bounds have been reached, and at the end of a walk what is overdue.
    fn page(
        &mut self,
        session: &Session,
        clock: Timestamp,
        timeline: &Timeline,
        schedule: &Schedule<Client>,
        before: DeliveryId,
    ) -> (Option<DeliveryId>, Vec<Reached>, Option<Found>) {
        if std::mem::take(&mut self.stale) {
            let (names, bounds) = bounds::limits(session);
            self.names = names;
            self.walk.set_bounds(bounds, clock);
        }
        let mut rows = bounds::page(session, timeline, before, PAGE, clock);
        let mut last = rows.last().filter(|_| rows.len() == PAGE as usize).map(|found| found.id);
        let mut shed = Vec::new();
        let mut bytes = 0;
        for (place, found) in rows.iter().enumerate() {
            if found.closed || found.row.dead {
                continue;
            }
            let Some(reason) = self.walk.judge(found.row, clock) else {
                continue;
            };
            // Before whoever is behind it: it counts, and stays.
            if found.first {
                continue;
            }
            // It changes here, or soon.
            self.again = true;
            if schedule.has(found.id) {
                continue;
            }
            shed.push(((found.id, found.xid), found.row.webhook, reason));
            bytes += found.row.bytes;
            if bytes >= MOST_BYTES {
                last = Some(found.id);
                rows.truncate(place + 1);
                break;
            }
        }
        let reasons = shed.iter().map(|(.., reason)| reason.as_str()).collect();
        let died = bounds::shed(session, &deliveries(&shed), reasons, clock);
        // Where dead letters hold up nothing.
        let died_now: Vec<DeliveryId> = died.iter().copied().collect();
        self.passed.extend(order::pass(session, &died_now, clock, |it| schedule.has(it)));
        let mut reached = HashMap::new();
        count(&mut reached, shed, &died, |reached| &mut reached.shed);
        // Not before that: somebody may have cancelled an event meanwhile, and then it takes no place of a dead letter.
        let (mut expired, mut forgotten) = (Vec::new(), Vec::new());
        for found in rows.iter().filter(|found| !found.closed) {
            if found.cancelled {
                // It is kept as long as the log is.
                if found.row.age >= settings::log_retention() {
                    forgotten.push((found.id, found.xid));
                }
            } else if died.contains(&found.id) {
                self.walk.died(found.row);
            } else if found.row.dead
                && let Some(reason) = self.walk.judge(found.row, clock)
            {
                expired.push(((found.id, found.xid), found.row.webhook, reason));
            }
        }
        let ended = bounds::expire(session, &deliveries(&expired));
        count(&mut reached, expired, &ended, |reached| &mut reached.expired);
        bounds::expire(session, &forgotten);
        let over: Vec<DeliveryId> = ended.iter().copied().collect();
        self.passed.extend(order::pass(session, &over, clock, |it| schedule.has(it)));
        let reached: Vec<Reached> = reached.into_values().collect();
        health::reach(session, &reached);
        let at_end = last.is_none();
        let overdue = &self.overdue;
        let judge = || overdue.judge(session, &mut self.walk, clock, Instant::now());
        let found = at_end.then(judge).flatten();
        (last, reached, found)
    }

    /// Which webhooks have begun to be overdue, or are so no more, since this was last asked.
    pub(super) fn overdue(&mut self) -> Vec<News> {
        self.overdue.take_news()
    }

    /// What is due since this was last asked, because those before it are dead letters now that hold up nothing.
    pub(super) fn passed(&mut self) -> Passed {
        std::mem::take(&mut self.passed)
    }

    /// Which bounds have been reached since this was last asked.
    pub(super) fn reached(&mut self) -> Vec<Reached> {
        std::mem::take(&mut self.reached)
    }

    /// Once an hour of each webhook.
    fn say(&mut self, reached: &[Reached]) {
        if self.said.len() >= MOST_SAID {
            self.said.clear();
        }
        let now = Instant::now();
        for it in reached {
            if !self.said.entry(it.webhook).or_default().fall_due(now) {
                continue;
            }
            let name = self.names.get(&it.webhook).map_or("", String::as_str);
            let Reached { shed, expired, bound, .. } = it;
            let further = txn::qualified("webhook_check counts on");
            log!(
                "pg_webhook: webhook \"{name}\" has reached a bound: {shed} events are dead letters now and {expired} dead letters have ended, and {further}: {bound}"
            );
        }
    }
}

type Gone = (Delivery, WebhookId, String);

fn deliveries(rows: &[Gone]) -> Vec<Delivery> {
    rows.iter().map(|(delivery, ..)| *delivery).collect()
}

/// Counts those of `rows` that went.
fn count(
    reached: &mut HashMap<WebhookId, Reached>,
    rows: Vec<Gone>,
    went: &HashSet<DeliveryId>,
    number: fn(&mut Reached) -> &mut i64,
) {
    for ((id, _), webhook, bound) in rows {
        if !went.contains(&id) {
            continue;
        }
        let it = reached.entry(webhook).or_insert_with(|| Reached::new(webhook));
        *number(it) += 1;
        it.bound = bound;
    }
}
