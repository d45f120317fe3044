//! Events in memory that are delivered in order: of each key one is sent at a time, or as many as go in one request, and the others stand
//! in line behind it.
//!
//! Of what is unfinished of a key, there is either nothing in memory, or all of it, which the backlog knows nothing of, or the first of
//! it, which is in the backlog as well, the rest being there alone. So whoever stands first in all of its lines has nothing before it.
//! When one of them has to go to the backlog, all go there with which it shares a line, and those with which these do.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::event::Event;
use domain::key::{DeliveryId, WebhookId};

/// One line: a key of a webhook.
type Key = (WebhookId, i64);

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: HashMap<Key, VecDeque<DeliveryId>>,
    standing: HashMap<DeliveryId, Standing>,
    counts: HashMap<WebhookId, Count>,
    all: Count,
    /// Those that have come later have greater numbers.
    next: u64,
}

/// One event.
#[derive(Debug)]
struct Standing {
    webhook: WebhookId,
    keys: Vec<i64>,
    number: u64,
    /// The backlog has it.
    stored: bool,
    /// `None` when it has been sent.
    event: Option<Event>,
}

/// Events of a webhook that are not sent yet, and the bytes of their bodies.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Count {
    /// With one more.
    pub(super) fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes;
    }
}

/// How long reading waits for room in lines before it asks how fast they move, and as long before that where they do move: an endpoint
/// begins with one request at a time. Shorter, and a hiccup costs rows of the backlog; longer, and one slow webhook holds up others with
/// an order.
const PATIENCE: Duration = Duration::from_millis(250);

/// Lines that are gone within this time are waited for. Those that take longer have their events in the backlog, where they keep nobody
/// waiting.
const SOON: Duration = Duration::from_secs(1);

/// Reading waits for room in the lines of one webhook.
#[derive(Debug)]
pub(super) struct Crowd {
    since: Instant,
    /// How many have left their lines since this time.
    from: Instant,
    left: usize,
    moves: bool,
}

impl Crowd {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, from: now, left: 0, moves: true }
    }

    /// So many have been sent.
    pub(super) fn leave(&mut self, count: usize) {
        self.left += count;
    }

    /// So many wait.
    pub(super) fn look(&mut self, events: usize, now: Instant) {
        let took = now.duration_since(self.from);
        if took >= PATIENCE {
            let is_first = self.from == self.since;
            let soon = self.left as u128 * SOON.as_micros() >= events as u128 * took.as_micros();
            self.moves = soon || is_first && self.left > 0;
            (self.from, self.left) = (now, 0);
        }
    }

    /// It is worth waiting for: where the lines are full that is known of these, and where `others` take the room, of nobody.
    pub(super) fn is_waited_for(&self, others: bool, now: Instant) -> bool {
        match others {
            true => now.duration_since(self.since) < PATIENCE,
            false => self.moves,
        }
    }
}

/// One that has left its lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) delivery: DeliveryId,
    /// The backlog had it already.
    pub(super) stored: bool,
    /// It has been sent.
    pub(super) sent: bool,
}

impl Lines {
    /// Puts an event at the end of its lines, with at least one key. Returns it where nobody is before it: then it is to be sent.
    pub(super) fn enter(&mut self, event: Event, keys: Vec<i64>) -> Option<Event> {
        let (delivery, webhook) = (event.id, event.webhook);
        let stored = event.origin.is_pending();
        let is_first = self.stand(delivery, webhook, keys, stored);
        if is_first {
            return Some(event);
        }
        self.counts.entry(webhook).or_default().add(bytes(&event));
        self.all.add(bytes(&event));
        if let Some(standing) = self.standing.get_mut(&delivery) {
            standing.event = Some(event);
        }
        None
    }

    /// One that has been sent from the backlog stands in line.
    pub(super) fn enter_sent(&mut self, delivery: DeliveryId, webhook: WebhookId, key: i64) {
        self.stand(delivery, webhook, vec![key], true);
    }

    fn stand(
        &mut self,
        delivery: DeliveryId,
        webhook: WebhookId,
        keys: Vec<i64>,
        stored: bool,
    ) -> bool {
        let mut is_first = true;
        for key in &keys {
            let line = self.lines.entry((webhook, *key)).or_default();
            is_first &= line.is_empty();
            line.push_back(delivery);
        }
        let standing = Standing { webhook, keys, number: self.next, stored, event: None };
        self.next += 1;
        self.standing.insert(delivery, standing);
        is_first
    }

    /// It stands in a line.
    pub(super) fn has(&self, delivery: DeliveryId) -> bool {
        self.standing.contains_key(&delivery)
    }

    /// It does, and has not been sent.
    pub(super) fn is_waiting(&self, delivery: DeliveryId) -> bool {
        self.standing.get(&delivery).is_some_and(|standing| standing.event.is_some())
    }

    /// Somebody stands in the line of that key.
    pub(super) fn has_line(&self, webhook: WebhookId, key: i64) -> bool {
        self.lines.contains_key(&(webhook, key))
    }

    /// Somebody stands there of whom the backlog knows nothing.
    pub(super) fn is_unstored(&self, webhook: WebhookId, key: i64) -> bool {
        let last = self.lines.get(&(webhook, key)).and_then(|line| line.back());
        last.and_then(|last| self.standing.get(last)).is_some_and(|standing| !standing.stored)
    }

    /// Any does.
    pub(super) fn has_any_unstored(&self) -> bool {
        self.standing.values().any(|standing| !standing.stored)
    }

    /// Any of that webhook does.
    pub(super) fn has_unstored(&self, webhook: WebhookId) -> bool {
        self.standing.values().any(|standing| standing.webhook == webhook && !standing.stored)
    }

    /// Whoever is not sent yet leaves.
    pub(super) fn drop_waiting(&mut self) -> Vec<DeliveryId> {
        let waits = |(delivery, it): (&DeliveryId, &Standing)| {
            it.event.is_some().then_some((it.number, *delivery))
        };
        let waiting: BTreeSet<(u64, DeliveryId)> = self.standing.iter().filter_map(waits).collect();
        self.take_out(waiting).into_iter().map(|it| it.delivery).collect()
    }

    /// What is not sent yet of a webhook.
    pub(super) fn count(&self, webhook: WebhookId) -> Count {
        self.counts.get(&webhook).copied().unwrap_or_default()
    }

    /// What is not sent yet, of all.
    pub(super) fn all(&self) -> Count {
        self.all
    }

    /// It is finished. Returns who is to be sent now, because nobody is before them any more.
    pub(super) fn leave(&mut self, delivery: DeliveryId) -> Vec<Event> {
        let Some(left) = self.standing.remove(&delivery) else {
            return Vec::new();
        };
        self.forget(&left);
        let mut next = Vec::new();
        for key in &left.keys {
            let key = (left.webhook, *key);
            let Some(first) = self.step_out(key, delivery) else {
                continue;
            };
            if let Some(event) = self.let_go(first) {
                next.push(event);
            }
        }
        next
    }

    /// Those that may go in one request with `members`, who have been sent and are the first of all of their lines: before each of these
    /// is nobody but members and others of them. In the order in which they have come, as many as `fits` says.
    pub(super) fn take_along(
        &mut self,
        members: &[DeliveryId],
        mut fits: impl FnMut(&Event) -> bool,
    ) -> Vec<Event> {
        // How many of each line go, and the lines in which another one may.
        let mut going: HashMap<Key, usize> = HashMap::new();
        let mut open: VecDeque<Key> = VecDeque::new();
        let keys = |standing: &Standing| -> Vec<Key> {
            standing.keys.iter().map(|key| (standing.webhook, *key)).collect()
        };
        for standing in members.iter().filter_map(|member| self.standing.get(member)) {
            for key in keys(standing) {
                *going.entry(key).or_default() += 1;
                open.push_back(key);
            }
        }
        let mut taken = Vec::new();
        while let Some(key) = open.pop_front() {
            let next = |key: &Key| {
                let place = going.get(key).copied().unwrap_or_default();
                self.lines.get(key).and_then(|line| line.get(place)).copied()
            };
            let Some(delivery) = next(&key) else {
                continue;
            };
            let Some(standing) = self.standing.get(&delivery) else {
                continue;
            };
            let (keys, number) = (keys(standing), standing.number);
            // Otherwise it comes up once more when whoever is before it in another line goes.
            if !keys.iter().all(|key| next(key) == Some(delivery)) {
                continue;
            }
            if standing.event.as_ref().is_some_and(|event| !fits(event)) {
                break;
            }
            let event = self.standing.get_mut(&delivery).and_then(|standing| standing.event.take());
            let Some(event) = event else {
                continue;
            };
            self.uncount(event.webhook, bytes(&event));
            taken.push((number, event));
            for key in keys {
                *going.entry(key).or_default() += 1;
                open.push_back(key);
            }
        }
        taken.sort_by_key(|(number, _)| *number);
        taken.into_iter().map(|(_, event)| event).collect()
    }

    /// All of a webhook that stand in lines leave them, in their order.
    pub(super) fn part_all(&mut self, webhook: WebhookId) -> Vec<Left> {
        let of_it = |(_, it): &(&DeliveryId, &Standing)| it.webhook == webhook;
        let all = self.standing.iter().filter(of_it).map(|(delivery, it)| (it.number, *delivery));
        let all: BTreeSet<(u64, DeliveryId)> = all.collect();
        self.take_out(all)
    }

    /// That one leaves its lines, and whoever shares one with it, or with one of these, in their order.
    pub(super) fn part(&mut self, delivery: DeliveryId) -> Vec<Left> {
        let Some(standing) = self.standing.get(&delivery) else {
            return Vec::new();
        };
        let keys = standing.keys.iter().map(|key| (standing.webhook, *key)).collect();
        self.part_from(keys)
    }

    /// The same of whoever stands in the line of that key.
    pub(super) fn part_line(&mut self, webhook: WebhookId, key: i64) -> Vec<Left> {
        self.part_from(vec![(webhook, key)])
    }

    fn part_from(&mut self, mut keys: Vec<Key>) -> Vec<Left> {
        let mut found: BTreeSet<(u64, DeliveryId)> = BTreeSet::new();
        while let Some(key) = keys.pop() {
            for delivery in self.lines.get(&key).into_iter().flatten() {
                let Some(standing) = self.standing.get(delivery) else {
                    continue;
                };
                if found.insert((standing.number, *delivery)) {
                    let others = standing.keys.iter().map(|other| (standing.webhook, *other));
                    keys.extend(others.filter(|other| *other != key));
                }
            }
        }
        self.take_out(found)
    }

    fn take_out(&mut self, found: BTreeSet<(u64, DeliveryId)>) -> Vec<Left> {
        let mut parted = Vec::with_capacity(found.len());
        for (_, delivery) in found {
            let Some(left) = self.standing.remove(&delivery) else {
                continue;
            };
            self.forget(&left);
            for key in &left.keys {
                self.step_out((left.webhook, *key), delivery);
            }
            parted.push(Left { delivery, stored: left.stored, sent: left.event.is_none() });
        }
        parted
    }

    /// It stands there no more. Returns who is the first of that line now.
    fn step_out(&mut self, key: Key, delivery: DeliveryId) -> Option<DeliveryId> {
        let line = self.lines.get_mut(&key)?;
        // Nearly always the first one.
        if let Some(at) = line.iter().position(|it| *it == delivery) {
            line.remove(at);
        }
        let first = line.front().copied();
        if first.is_none() {
            self.lines.remove(&key);
        }
        first
    }

    /// The event of one that is the first of a line, if it is that of all of its lines and has not been sent.
    fn let_go(&mut self, delivery: DeliveryId) -> Option<Event> {
        let standing = self.standing.get(&delivery)?;
        let is_first = |key: &i64| {
            let line = self.lines.get(&(standing.webhook, *key));
            line.and_then(|line| line.front()) == Some(&delivery)
        };
        if !standing.keys.iter().all(is_first) {
            return None;
        }
        let webhook = standing.webhook;
        let event = self.standing.get_mut(&delivery)?.event.take()?;
        self.uncount(webhook, bytes(&event));
        Some(event)
    }

    fn forget(&mut self, left: &Standing) {
        if let Some(event) = &left.event {
            self.uncount(left.webhook, bytes(event));
        }
    }

    fn uncount(&mut self, webhook: WebhookId, bytes: usize) {
        self.all.events -= 1;
        self.all.bytes -= bytes;
        if let Some(count) = self.counts.get_mut(&webhook) {
            count.events -= 1;
            count.bytes -= bytes;
            if count.events == 0 {
                self.counts.remove(&webhook);
            }
        }
    }
}

fn bytes(event: &Event) -> usize {
    event.body.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Origin;
    use domain::snapshot::Xid8;
    use domain::time::Timestamp;

    const HOOK: WebhookId = WebhookId(1);

    fn event(id: i64) -> Event {
        Event {
            id: DeliveryId(id),
            xid: Xid8(1),
            written: Xid8(1),
            webhook: HOOK,
            origin: Origin::Ring { slot: 0, window: 1 },
            attempts: 0,
            first_attempt_at: None,
            since: Timestamp(0),
            event_id: String::new(),
            replay: false,
            body: Some("body".to_owned()),
            failure: None,
            batch: None,
        }
    }

    fn ids(events: impl IntoIterator<Item = Event>) -> Vec<i64> {
        events.into_iter().map(|event| event.id.0).collect()
    }

    fn parted(parted: Vec<Left>) -> Vec<i64> {
        parted.into_iter().map(|it| it.delivery.0).collect()
    }

    fn is_empty(lines: &Lines) -> bool {
        lines.lines.is_empty()
            && lines.standing.is_empty()
            && lines.counts.is_empty()
            && lines.all() == Count::default()
    }

    #[test]
    fn of_a_key_one_after_the_other_is_sent() {
        let mut lines = Lines::default();
        assert_eq!(ids(lines.enter(event(1), vec![7])), [1]);
        assert_eq!(ids(lines.enter(event(2), vec![8])), [2]);
        assert!(lines.enter(event(3), vec![7]).is_none());
        assert!(lines.enter(event(4), vec![7]).is_none());
        assert_eq!(lines.count(HOOK), Count { events: 2, bytes: 8 });
        assert_eq!(ids(lines.leave(DeliveryId(1))), [3]);
        assert_eq!(ids(lines.leave(DeliveryId(3))), [4]);
        assert!(lines.leave(DeliveryId(4)).is_empty());
        assert!(lines.leave(DeliveryId(2)).is_empty());
        assert!(is_empty(&lines));
    }

    #[test]
    fn one_of_two_keys_waits_for_both() {
        let mut lines = Lines::default();
        assert_eq!(ids(lines.enter(event(1), vec![7])), [1]);
        assert_eq!(ids(lines.enter(event(2), vec![8])), [2]);
        assert!(lines.enter(event(3), vec![7, 8]).is_none());
        assert!(lines.enter(event(4), vec![8]).is_none());
        assert!(lines.leave(DeliveryId(2)).is_empty());
        assert_eq!(ids(lines.leave(DeliveryId(1))), [3]);
        assert_eq!(ids(lines.leave(DeliveryId(3))), [4]);
    }

    #[test]
    fn one_goes_with_all_that_share_a_line() {
        let mut lines = Lines::default();
        for (id, keys) in [(1, vec![7]), (2, vec![8]), (3, vec![7, 8]), (4, vec![9]), (5, vec![8])]
        {
            lines.enter(event(id), keys);
        }
        assert!(lines.is_unstored(HOOK, 8) && lines.has_line(HOOK, 9));
        assert_eq!(parted(lines.part(DeliveryId(1))), [1, 2, 3, 5]);
        assert!(!lines.has_line(HOOK, 8) && lines.has(DeliveryId(4)));
        assert_eq!(lines.all(), Count::default());
        assert_eq!(parted(lines.part_all(HOOK)), [4]);
        assert!(is_empty(&lines));
    }

    #[test]
    fn what_the_backlog_has_is_known() {
        let mut lines = Lines::default();
        lines.enter_sent(DeliveryId(1), HOOK, 7);
        let follower = Event { origin: Origin::Pending { slot: None }, ..event(2) };
        assert!(lines.enter(follower, vec![7]).is_none());
        assert!(lines.has_line(HOOK, 7) && !lines.is_unstored(HOOK, 7));
        let both = lines.part_line(HOOK, 7);
        assert!(both.iter().all(|it| it.stored));
        assert_eq!(both.iter().map(|it| it.sent).collect::<Vec<_>>(), [true, false]);
        assert!(is_empty(&lines));
    }

    fn along(lines: &mut Lines, members: &[i64], most: usize) -> Vec<i64> {
        let members: Vec<DeliveryId> = members.iter().map(|id| DeliveryId(*id)).collect();
        let mut left = most;
        ids(lines.take_along(&members, |_| {
            left = left.wrapping_sub(1);
            left < most
        }))
    }

    #[test]
    fn those_behind_go_in_the_same_request() {
        let mut lines = Lines::default();
        for (id, keys) in [(1, vec![7]), (2, vec![8]), (3, vec![7]), (4, vec![7]), (5, vec![8])] {
            lines.enter(event(id), keys);
        }
        assert_eq!(along(&mut lines, &[1, 2], 2), [3, 5]);
        assert_eq!(lines.count(HOOK), Count { events: 1, bytes: 4 });
        assert_eq!(along(&mut lines, &[1, 2, 3, 5], 9), [4]);
        for id in 1..=5 {
            assert!(lines.leave(DeliveryId(id)).is_empty());
        }
        assert!(is_empty(&lines));
    }

    #[test]
    fn nobody_goes_before_one_that_is_under_way() {
        let mut lines = Lines::default();
        for (id, keys) in [(1, vec![7]), (2, vec![8]), (3, vec![7, 8]), (4, vec![7]), (5, vec![8])]
        {
            lines.enter(event(id), keys);
        }
        assert!(
            along(&mut lines, &[1], 9).is_empty(),
            "it waits for another one, and so do others"
        );
        assert_eq!(along(&mut lines, &[1, 2], 9), [3, 4, 5]);
    }

    /// Whatever comes and goes, nobody is sent while one before it with the same key has not left, and everybody is.
    #[test]
    fn random_lines_keep_their_order() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..300 {
            let mut lines = Lines::default();
            let mut keys: HashMap<i64, Vec<i64>> = HashMap::new();
            let mut unfinished: BTreeSet<i64> = BTreeSet::new();
            let mut under_way: Vec<i64> = Vec::new();
            let mut next = 0;
            while next < 40 || !under_way.is_empty() {
                let sent: Vec<i64> = if next < 40 && random.bool() {
                    next += 1;
                    let mut of_it: Vec<i64> =
                        (0..random.usize(1..3)).map(|_| random.i64(0..4)).collect();
                    of_it.dedup();
                    keys.insert(next, of_it.clone());
                    unfinished.insert(next);
                    ids(lines.enter(event(next), of_it))
                } else if under_way.is_empty() {
                    continue;
                } else {
                    let done = under_way.swap_remove(random.usize(0..under_way.len()));
                    unfinished.remove(&done);
                    ids(lines.leave(DeliveryId(done)))
                };
                for id in sent {
                    let shares = |other: &&i64| keys[other].iter().any(|it| keys[&id].contains(it));
                    assert!(!unfinished.range(..id).any(|other| shares(&other)));
                    under_way.push(id);
                }
            }
            assert!(unfinished.is_empty() && is_empty(&lines));
        }
    }
}
