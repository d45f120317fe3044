//! Claims: which rows of the backlog go back into endpoint queues.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Schedule;
use crate::batches::{Drawn, Whole};
use crate::event::Event;
use crate::sending::Queues;
use crate::track::{Claim, Track};
use domain::breaker::Allowance;
use domain::key::{BatchId, WebhookId};
use domain::time::Timestamp;

/// After this a row of the backlog is claimed again that was left there because a delivery in memory had its id. That delivery may
/// be under way for as long as its timeout.
const SOON: Duration = Duration::from_secs(1);

/// Claims that are made at once, and rows that all of them may ask for: what they find is in memory, and takes some
/// milliseconds for which whatever else there is waits. The next ones are made by the next poll. With 128 claims fresh events
/// of others waited for 42 ms (p99) while 2,000 webhooks had due events at a start, with 32 for 13.
const MOST: usize = 32;
const MOST_ROWS: usize = 1024;

// Each claim may ask for some.
const _: () = assert!(MOST < MOST_ROWS);

impl<Q: Queues> Schedule<Q> {
    /// What to claim from the backlog now, for whoever has waited longest since the last claim.
    pub fn claims(&self, now: Instant, clock: Timestamp) -> Vec<Claim> {
        let due = self.tracks.values().filter(|track| self.may_send(track) && track.is_due(clock));
        let claims = due.filter_map(|track| {
            let bytes = self.memory.room(track);
            let claim = track.claim(now, clock).filter(|_| bytes > 0)?;
            Some((track.claimed_at, Claim { bytes, ..claim }))
        });
        let mut claims: Vec<_> = claims.collect();
        claims.sort_by_key(|(claimed_at, _)| *claimed_at);
        let most = if self.single { usize::from(self.deliveries.is_empty()) } else { MOST };
        claims.truncate(most);
        let share = (MOST_ROWS / claims.len().max(1)) as i64;
        let claims = claims.into_iter().map(|(_, claim)| match self.single {
            true => Claim { after: None, goes_on: false, limit: 1, ..claim },
            false => {
                Claim { limit: claim.limit.min(share.max(self.least(claim.webhook))), ..claim }
            }
        });
        let mut rows = 0;
        let fits = |claim: &Claim| {
            let is_first = rows == 0;
            rows += claim.limit;
            is_first || rows <= MOST_ROWS as i64
        };
        claims.take_while(fits).collect()
    }

    /// How long until something is due that nothing else will announce.
    pub fn next_wake(&self, now: Instant, clock: Timestamp) -> Option<Duration> {
        // Whoever may not claim more waits for an outcome.
        if self.single && !self.deliveries.is_empty() {
            return None;
        }
        let may_claim = |track: &&Track<Q>| self.may_send(track) && self.memory.room(track) > 0;
        let tracks = self.tracks.values().filter(may_claim);
        tracks.filter_map(|track| track.next_wake(now, clock)).min()
    }

    /// What is due of it may be sent: nothing that comes before it is still to be read.
    fn may_send(&self, track: &Track<Q>) -> bool {
        self.in_order || !track.route.ordered
    }

    /// Of one endpoint so many rows are claimed at once in any case: with fewer it would never have a full batch.
    fn least(&self, webhook: WebhookId) -> i64 {
        self.tracks.get(&webhook).map_or(1, |track| 2 * track.batch_size() as i64)
    }

    /// Batches that have been sent before, and are to be read whole: one of each is among what claims have `found`. Who sends one at a
    /// time, or puts nothing together any more, sends each by itself.
    pub fn wanted_batches<'a>(&self, found: impl Iterator<Item = &'a Event>) -> Vec<BatchId> {
        let batches = found.filter(|event| self.keeps_batches(event.webhook));
        let batches = batches.filter(|event| !self.deliveries.contains_key(&event.id));
        let mut batches: Vec<BatchId> = batches.filter_map(|event| event.batch).collect();
        batches.sort_unstable();
        batches.dedup();
        batches
    }

    fn keeps_batches(&self, webhook: WebhookId) -> bool {
        self.rules(webhook).is_some() && !self.single
    }

    /// Whether that one would be the request that it was, within what the webhook says now.
    fn keeps(&self, webhook: WebhookId, whole: &Whole) -> bool {
        self.rules(webhook).is_some_and(|rules| {
            let bytes: usize =
                whole.events.iter().filter_map(|it| Some(it.body.as_ref()?.len())).sum();
            whole.shape == rules.shape()
                && whole.events.len() <= rules.size
                && (bytes <= rules.bytes || whole.events.len() == 1)
        })
    }

    /// Takes what a claim found: events with their `next_at`, and the `whole` batches of those that have been sent before. Returns
    /// whether the claim came to the end of what is due, so that the next due time should be looked up.
    pub fn claimed(
        &mut self,
        claim: &Claim,
        found: Vec<(Timestamp, Event)>,
        whole: &mut HashMap<BatchId, Whole>,
        mut draw: impl FnMut(Option<BatchId>) -> Drawn,
        now: Instant,
    ) -> bool {
        let Some(track) = self.tracks.get_mut(&claim.webhook) else {
            return false;
        };
        track.claimed_at = Some(now);
        let last = found.last().map(|(next_at, event)| (*next_at, event.id));
        let at_end = track.claimed(claim, last, found.len());
        let mut free = claim.room;
        let mut dissolved = false;
        let mut doubled = None;
        for (next_at, event) in found {
            // It was clear that it is not to be sent.
            if event.body.is_none() {
                continue;
            }
            if let Some(known) = self.deliveries.get(&event.id) {
                if known.xid != event.xid {
                    doubled.get_or_insert(next_at);
                }
                continue;
            }
            let (id, batch) = (event.id, event.batch);
            let mut taken = 1;
            if free > 0 {
                let whole = batch.and_then(|batch| whole.remove(&batch));
                let known = |event: &Event| self.deliveries.contains_key(&event.id);
                let fits =
                    |it: &Whole| self.keeps(claim.webhook, it) && !it.events.iter().any(known);
                match (whole.filter(fits), batch) {
                    (Some(Whole { events, .. }), _) => {
                        taken = events.len();
                        self.load_batch(events, draw(batch), now);
                    }
                    // What is left of it may have others of it before it.
                    (None, Some(batch)) if self.is_ordered(claim.webhook) => {
                        self.dissolve(claim.webhook, batch);
                        dissolved = true;
                        continue;
                    }
                    (None, _) => {
                        // One of it is not there any more, or it would be another request: what is left is sent in another one.
                        self.changes.ended.extend(batch);
                        self.remember(&event);
                        self.load(event, now);
                        self.taken.push(id);
                    }
                }
            }
            let head = self.deliveries.get(&id).and_then(|delivery| delivery.head);
            let Some(track) = self.tracks.get_mut(&claim.webhook) else {
                break;
            };
            if free == 0 {
                // A probe takes one; the others stay where they are.
                track.look_again();
                break;
            }
            free = free.saturating_sub(taken);
            if track.breaker.allows(now) == Allowance::Probe {
                // The outcome of a batch comes as that of its first delivery.
                track.breaker.probe_sent(head.unwrap_or(id));
            }
        }
        // What it was to be tried with comes with the next claim.
        if let Some(track) = self.tracks.get_mut(&claim.webhook).filter(|_| dissolved && claim.any)
        {
            track.hurry_again();
        }
        match (doubled, self.tracks.get_mut(&claim.webhook)) {
            // The other delivery with its id will be gone.
            (Some(next_at), Some(track)) => {
                track.waits_from(next_at);
                track.next_due = Some(claim.until.after(SOON));
                false
            }
            _ => at_end,
        }
    }

    /// The earliest `next_at` of a webhook's rows that are not due.
    pub fn set_next_due(&mut self, webhook: WebhookId, next_due: Option<Timestamp>) {
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.next_due = next_due;
        }
    }
}
