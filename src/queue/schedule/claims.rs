//! Claims: which rows of the slow lane go back into lanes.

use std::time::{Duration, Instant};

use super::{MOST_BYTES, Schedule};
use crate::domain::breaker::Admission;
use crate::domain::time::Timestamp;
use crate::queue::event::Event;
use crate::queue::track::{self, Claim, Track};

/// When to ask again for a row of the slow lane whose id another delivery under way has.
const SOON: Duration = Duration::from_secs(1);

impl Schedule {
    /// What to claim from the slow lane now.
    pub fn claims(&self, now: Instant, clock: Timestamp) -> Vec<Claim> {
        let due = self.tracks.values().filter(|track| track.is_due(clock));
        let mut claims = due.filter_map(|track| {
            let claim = track.claim(now, clock)?;
            let limit = claim.limit.min(self.claimable(track));
            (limit > 0).then_some(Claim { limit, ..claim })
        });
        if !self.single {
            let mut claims: Vec<Claim> = claims.collect();
            let share = track::share(claims.len());
            claims.iter_mut().for_each(|claim| claim.limit = claim.limit.min(share));
            return claims;
        }
        let one = claims.next().filter(|_| self.flights.is_empty());
        one.map(|claim| Claim { after: None, goes_on: false, limit: 1, ..claim })
            .into_iter()
            .collect()
    }

    /// How long until something is due that nothing else will announce.
    pub fn next_wake(&self, now: Instant, clock: Timestamp) -> Option<Duration> {
        // One that may not claim more waits for an outcome.
        let tracks = self.tracks.values().filter(|track| self.claimable(track) > 0);
        tracks.filter_map(|track| track.next_wake(now, clock)).min()
    }

    /// Where the bodies in memory are large, an endpoint that has none of them may claim one.
    fn claimable(&self, track: &Track) -> i64 {
        match (self.bytes < MOST_BYTES, track.loaded) {
            (true, _) => i64::MAX,
            (false, 0) => 1,
            (false, _) => 0,
        }
    }

    /// Takes what a claim found: events with their `next_at`. Returns whether the claim came to the end
    /// of what is due, so that the next due time should be looked up.
    pub fn claimed(&mut self, claim: &Claim, found: Vec<(Timestamp, Event)>, now: Instant) -> bool {
        let Some(track) = self.tracks.get_mut(&claim.webhook) else {
            return false;
        };
        let last = found.last().map(|(next_at, event)| (*next_at, event.id));
        let at_end = track.claimed(claim, last, found.len());
        let mut free = claim.room;
        let mut doubled = None;
        for (next_at, event) in found {
            if let Some(known) = self.flights.get(&event.id) {
                if known.xid != event.xid {
                    doubled.get_or_insert(next_at);
                }
                continue;
            }
            let id = event.id;
            if free > 0 {
                self.load(event);
            }
            let Some(track) = self.tracks.get_mut(&claim.webhook) else {
                break;
            };
            if free == 0 {
                // A probe takes one; the others stay where they are.
                track.look_again();
                break;
            }
            free -= 1;
            if track.breaker.admits(now) == Admission::Probe {
                track.breaker.probe_sent(id);
            }
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
    pub fn set_next_due(&mut self, webhook: i32, next_due: Option<Timestamp>) {
        if let Some(track) = self.tracks.get_mut(&webhook) {
            track.next_due = next_due;
        }
    }
}
