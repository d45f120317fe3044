//! How endpoints share the memory for what waits to be sent.
//!
//! Of each endpoint no more waits in memory than is free, so there is always something left for one that has nothing
//! there. What waits for endpoints that take nothing at the moment (they are slow, or their rate is used up) is counted
//! apart, so it takes nothing from those that do; where it becomes too much, because many have become slow at once, it
//! goes back to the backlog. What a request under way takes is not counted: there are only so many
//! of these.

use std::time::Instant;

use super::Schedule;
use crate::event::Spill;
use crate::sending::Queues;
use crate::track::Track;
use domain::key::WebhookId;

/// The most bytes that wait in memory for endpoints that take what comes, and as many for the others. Less, and many endpoints
/// with large bodies wait for each other.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// When more bytes than this wait for endpoints that take nothing, deliveries go back to the backlog until [`MOST_BYTES`] are
/// left. Twice that, because what is read at once can go beyond it by a few large bodies, which would be read again and again.
const TOO_MUCH: usize = 32 * 1024 * 1024;

/// The most bytes that wait for one endpoint, as many as are read at once. Less, and a fast endpoint with large bodies waits for
/// the next poll.
const MOST_OF_ONE: usize = 4 * 1024 * 1024;

// One leaves room for others, and what is given back leaves room for what is read next.
const _: () = assert!(MOST_OF_ONE < MOST_BYTES && 2 * MOST_BYTES <= TOO_MUCH);

/// What waits in memory, in bytes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    moving: usize,
    still: usize,
}

impl Memory {
    fn of<Q: Queues>(&mut self, track: &Track<Q>) -> &mut usize {
        if track.is_still() { &mut self.still } else { &mut self.moving }
    }

    /// So much has been added to what waits for `track`.
    pub(super) fn add<Q: Queues>(&mut self, track: &mut Track<Q>, bytes: usize) {
        track.waiting.bytes += bytes;
        *self.of(track) += bytes;
    }

    /// How much more may wait for `track`.
    pub(super) fn room<Q: Queues>(&self, track: &Track<Q>) -> usize {
        let free =
            MOST_BYTES.saturating_sub(if track.is_still() { self.still } else { self.moving });
        free.min(MOST_OF_ONE).saturating_sub(track.waiting.bytes)
    }

    /// Something more may wait for an endpoint that has nothing there.
    pub(super) fn has_room(&self) -> bool {
        self.moving < MOST_BYTES
    }
}

impl<Q: Queues> Schedule<Q> {
    /// Looks at what waits in memory now. What is returned must be spilled: it is too much.
    pub fn survey(&mut self, now: Instant) -> Vec<Spill> {
        let hurry = self.is_in_hurry();
        self.memory = Memory::default();
        for track in self.tracks.values_mut() {
            track.survey(now, hurry);
            *self.memory.of(track) += track.waiting.bytes;
        }
        if self.memory.still <= TOO_MUCH {
            return Vec::new();
        }
        let mut still: Vec<(usize, WebhookId)> = self
            .tracks
            .values()
            .filter(|track| track.is_still())
            .map(|track| (track.waiting.bytes, track.route.webhook))
            .collect();
        still.sort_unstable();
        // Those with the least first: what they leave is for the others.
        let mut spills = Vec::new();
        let (mut left, mut others) = (MOST_BYTES, still.len());
        for (bytes, webhook) in still {
            let share = left / others;
            others -= 1;
            if bytes > share {
                spills.extend(self.give_back(webhook, share, now));
            }
            left -= bytes.min(share);
        }
        spills
    }
}
