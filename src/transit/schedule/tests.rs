use super::*;

mod batches;
mod ordered;
mod ordered_batches;

use std::sync::Mutex;
use std::time::SystemTime;

use crate::event::Settlement;
use crate::sending::Waiting;
use crate::track::Claim;
use domain::breaker::TRIPS_AT;
use domain::failure::ErrorClass;
use domain::key::{DeliveryId, WebhookId};
use domain::verdict::{Answer, RetryPolicy, Verdict};

const NOW: Timestamp = Timestamp(0);

fn at(now: Instant) -> Moment {
    Moment { now, wall: SystemTime::now(), clock: NOW }
}

/// Endpoints that take nothing by themselves, with so many requests at once.
#[derive(Clone)]
struct Shelves;

/// Its parcels, and how long the oldest has waited.
#[derive(Default)]
struct Shelf(Mutex<(Vec<Parcel>, Duration)>);

impl Queues for Shelves {
    type Destination = usize;
    type Queue = Shelf;

    fn is(&self, _: &Self) -> bool {
        true
    }

    fn queue(&self, _: WebhookId, _: usize) -> Result<Arc<Shelf>, Failure> {
        Ok(Arc::default())
    }

    fn concurrency(to: &usize) -> usize {
        *to
    }
}

impl Shelf {
    /// They have waited there for so long.
    fn take(&self, parcels: Vec<Parcel>, lag: Duration) {
        let mut shelf = self.0.lock().unwrap();
        shelf.0.extend(parcels);
        shelf.1 = lag;
    }
}

impl Queue for Shelf {
    fn waiting(&self, _: Instant) -> Waiting {
        let shelf = self.0.lock().unwrap();
        let bytes = shelf.0.iter().map(Parcel::bytes).sum();
        Waiting { bytes, still: shelf.1, limited: false }
    }

    fn lag(&self) -> Duration {
        self.0.lock().unwrap().1
    }

    fn takes_within(&self, _: Duration, _: usize) -> usize {
        0
    }

    fn due_in(&self, _: Instant) -> Option<Duration> {
        None
    }

    fn holds(&self) -> bool {
        false
    }

    fn take_over(&self, _: &Self) {}

    fn give_back(&self, bytes: usize) -> Vec<Parcel> {
        let mut shelf = self.0.lock().unwrap();
        let mut left = 0;
        let kept = shelf.0.iter().take_while(|parcel| {
            left += parcel.bytes();
            left <= bytes
        });
        let kept = kept.count();
        shelf.0.split_off(kept)
    }

    fn withdraw(&self, delivery: DeliveryId) -> bool {
        let mut shelf = self.0.lock().unwrap();
        let before = shelf.0.len();
        shelf.0.retain(|parcel| parcel.delivery != delivery);
        shelf.0.len() < before
    }
}

fn route(webhook: i32) -> Route<usize> {
    let policy = RetryPolicy {
        max_retries: None,
        base: Duration::from_secs(5),
        retry_for: Duration::from_secs(3600),
    };
    Route {
        webhook: WebhookId(webhook),
        sending: true,
        policy,
        updated_at: NOW,
        fail_count: 0,
        unwell: 0,
        failing_since: None,
        disable_after: None,
        throttled: false,
        batching: None,
        ordered: false,
        holds: true,
        destination: Ok(10),
    }
}

fn event(id: i64, webhook: i32) -> Event {
    Event {
        written: Xid8(7),
        id: DeliveryId(id),
        xid: Xid8(7),
        webhook: WebhookId(webhook),
        origin: Origin::Ring { slot: 0, window: 3 },
        attempts: 0,
        first_attempt_at: None,
        since: NOW,
        event_id: format!("evt_x_{id}"),
        replay: false,
        body: Some("{}".to_owned()),
        failure: None,
        batch: None,
    }
}

fn waiting(id: i64, webhook: i32) -> (Timestamp, Event) {
    (NOW, Event { origin: Origin::Pending { slot: Some(0) }, ..event(id, webhook) })
}

fn spill(id: i64) -> Spill {
    Spill { slot: 0, xid: Xid8(7), id: DeliveryId(id), window: 3 }
}

/// A schedule with `routes` that nothing waits for in the backlog.
fn schedule(routes: Vec<Route<usize>>, now: Instant) -> Schedule<Shelves> {
    let mut schedule = Schedule::<Shelves>::default();
    schedule.set_routes(routes, &Shelves, || now);
    for claim in schedule.claims(now, NOW) {
        assert!(claimed(&mut schedule, &claim, Vec::new(), now));
    }
    schedule
}

fn outcome(delivery: i64, webhook: i32, status: Option<u16>) -> Outcome {
    let result = match status {
        Some(status) => Ok(Answer {
            status,
            retry_after: None,
            request: None,
            points_to: None,
            body: String::new(),
        }),
        None => Err(Failure::new(ErrorClass::Connect, "refused")),
    };
    let exchange = Exchange { started: SystemTime::now(), took: Duration::ZERO, result };
    let (webhook, delivery) = (WebhookId(webhook), DeliveryId(delivery));
    Outcome { webhook, delivery, batch: None, began: Instant::now(), exchange }
}

/// What one outcome means, if it is one of a delivery in memory, and what is spilled.
fn judge(
    schedule: &mut Schedule<Shelves>,
    outcome: Outcome,
    at: Moment,
) -> Option<(Settlement, Vec<Spill>)> {
    let mut settlements = Vec::new();
    let spills = schedule.judge(outcome, at, 0.0, &mut settlements);
    assert!(settlements.len() <= 1);
    Some((settlements.pop()?, spills))
}

/// A claim has found these, none of which is of a batch.
fn claimed(
    schedule: &mut Schedule<Shelves>,
    claim: &Claim,
    found: Vec<(Timestamp, Event)>,
    now: Instant,
) -> bool {
    schedule.claimed(claim, found, &mut HashMap::new(), |_| unreachable!("no batches"), now)
}

fn handed_over(schedule: &mut Schedule<Shelves>) -> Vec<i64> {
    let outbox = schedule.take_outbox(at(Instant::now()));
    outbox.into_iter().flat_map(|(_, parcels)| parcels).map(|parcel| parcel.delivery.0).collect()
}

/// Lets `webhook` fail until its breaker is open.
fn trip(schedule: &mut Schedule<Shelves>, webhook: i32, now: Instant) {
    for id in 0..i64::from(TRIPS_AT) {
        assert_eq!(schedule.offer(event(id, webhook), now), Decision::Taken);
    }
    for id in 0..i64::from(TRIPS_AT) {
        schedule.take_outbox(at(Instant::now()));
        let (settlement, _) =
            judge(schedule, outcome(id, webhook, None), at(now)).expect("a settlement");
        assert!(matches!(settlement.attempt.verdict, Verdict::Retry(_)));
        schedule.settled(&settlement);
    }
}

#[test]
fn a_delivered_event_leaves_the_memory_when_that_is_written() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    assert_eq!(schedule.offer(event(5, 1), now), Decision::Taken);
    assert_eq!(handed_over(&mut schedule), [5]);
    let (settlement, spills) =
        judge(&mut schedule, outcome(5, 1, Some(204)), at(now)).expect("a settlement");
    assert_eq!((settlement.attempt.verdict, settlement.next_at), (Verdict::Delivered, None));
    assert!(spills.is_empty());
    assert_eq!(schedule.len(), 1, "until it is written");
    schedule.settled(&settlement);
    assert!(schedule.is_empty());
}

#[test]
fn an_outcome_counts_once() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    schedule.offer(event(5, 1), now);
    let (settlement, _) = judge(&mut schedule, outcome(5, 1, Some(200)), at(now)).expect("first");
    schedule.settled(&settlement);
    assert!(judge(&mut schedule, outcome(5, 1, Some(200)), at(now)).is_none());
}

#[test]
fn what_cannot_go_out_now_is_spilled() {
    let now = Instant::now();
    let mut paused = route(1);
    paused.sending = false;
    let mut schedule = schedule(vec![paused, route(2)], now);
    assert_eq!(schedule.offer(event(5, 1), now), Decision::Spilled(spill(5)));
    assert_eq!(schedule.spilling(now), [WebhookId(1)]);
    assert_eq!(schedule.offer(event(6, 2), now), Decision::Taken);
    let bodiless = Event { body: None, ..event(7, 2) };
    assert_eq!(schedule.offer(bodiless, now), Decision::Spilled(spill(7)));
    assert_eq!(schedule.offer(event(8, 2), now), Decision::Spilled(spill(8)), "behind the other");
    assert_eq!(schedule.offer(event(9, 3), now), Decision::Spilled(spill(9)), "deleted");
}

#[test]
fn what_waits_in_the_backlog_goes_first() {
    let now = Instant::now();
    let mut schedule = Schedule::<Shelves>::default();
    schedule.set_routes(vec![route(1)], &Shelves, || now);
    let bodiless = Event { body: None, ..event(5, 1) };
    assert_eq!(schedule.offer(bodiless, now), Decision::Spilled(spill(5)));
    let claim = schedule.claims(now, NOW).pop().expect("a claim");
    assert_eq!((claim.webhook, claim.after), (WebhookId(1), None));
    assert!(claimed(&mut schedule, &claim, vec![waiting(4, 1), waiting(5, 1)], now));
    assert_eq!(handed_over(&mut schedule), [4, 5]);
    assert_eq!(schedule.offer(event(6, 1), now), Decision::Taken);
}

#[test]
fn a_new_look_at_the_definitions_keeps_nobody_waiting() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    schedule.set_routes(vec![route(1)], &Shelves, || now);
    assert_eq!(schedule.offer(event(5, 1), now), Decision::Taken);
    let claim = schedule.claims(now, NOW).pop().expect("a claim: it may have been paused");
    let rows = (10..10 + claim.limit).map(|id| waiting(id, 1)).collect();
    assert!(!claimed(&mut schedule, &claim, rows, now));
    assert_eq!(schedule.offer(event(6, 1), now), Decision::Spilled(spill(6)), "behind them");
}

#[test]
fn at_the_end_of_what_waits_new_events_go_straight_on() {
    let now = Instant::now();
    let mut schedule = Schedule::<Shelves>::default();
    schedule.set_routes(vec![route(1)], &Shelves, || now);
    let claim = schedule.claims(now, NOW).pop().expect("a claim");
    let rows = (1..=claim.limit).map(|id| waiting(id, 1)).collect();
    assert!(!claimed(&mut schedule, &claim, rows, now));
    for id in 1..=claim.limit {
        let (settlement, _) =
            judge(&mut schedule, outcome(id, 1, Some(200)), at(now)).expect("known");
        schedule.settled(&settlement);
    }
    let claim = schedule.claims(now, NOW).pop().expect("the rest");
    assert!(!claimed(&mut schedule, &claim, vec![waiting(1000, 1)], now));
    assert_eq!(schedule.offer(event(5, 1), now), Decision::Taken);
    let claim = schedule.claims(now, NOW).pop().expect("once more, from the start");
    assert_eq!(claim.after, None);
}

#[test]
fn a_full_claim_goes_on_behind_its_last_row() {
    let now = Instant::now();
    let mut schedule = Schedule::<Shelves>::default();
    schedule.set_routes(vec![route(1)], &Shelves, || now);
    let claim = schedule.claims(now, NOW).pop().expect("a claim");
    let rows = (1..=claim.limit).map(|id| waiting(id, 1)).collect();
    assert!(!claimed(&mut schedule, &claim, rows, now), "there may be more");
    assert!(schedule.claims(now, NOW).is_empty(), "no room");
    for id in 1..=claim.limit {
        let (settlement, _) =
            judge(&mut schedule, outcome(id, 1, Some(200)), at(now)).expect("known");
        schedule.settled(&settlement);
    }
    let next = schedule.claims(now, NOW).pop().expect("a claim");
    assert_eq!(next.after, Some((NOW, DeliveryId(claim.limit))));
    assert!(!claimed(&mut schedule, &next, Vec::new(), now), "rows before it may have become due");
    let last = schedule.claims(now, NOW).pop().expect("a claim from the start");
    assert_eq!(last.after, None);
}

#[test]
fn what_has_an_order_is_claimed_when_nothing_before_it_is_to_be_read() {
    let now = Instant::now();
    let mut schedule = Schedule::<Shelves>::default();
    let ordered = Route { ordered: true, ..route(1) };
    schedule.set_routes(vec![ordered, route(2)], &Shelves, || now);
    let webhooks = |schedule: &Schedule<Shelves>| {
        let mut webhooks: Vec<i32> =
            schedule.claims(now, NOW).iter().map(|claim| claim.webhook.0).collect();
        webhooks.sort_unstable();
        webhooks
    };
    assert_eq!(webhooks(&schedule), [2]);
    schedule.set_in_order(true);
    assert_eq!(webhooks(&schedule), [1, 2]);
    assert_eq!(schedule.ordered(), HashMap::from([(WebhookId(1), true)]));
    assert!(schedule.holds(WebhookId(1)) && !schedule.holds(WebhookId(2)));
}

#[test]
fn what_others_have_let_go_is_claimed_at_once() {
    let now = Instant::now();
    let mut schedule = Schedule::<Shelves>::default();
    schedule.set_routes(vec![Route { ordered: true, ..route(1) }], &Shelves, || now);
    schedule.set_in_order(true);
    let claim = schedule.claims(now, NOW).pop().expect("a claim");
    assert!(claimed(&mut schedule, &claim, Vec::new(), now), "nothing is due");
    schedule.set_next_due(WebhookId(1), None);
    assert_eq!(schedule.next_wake(now, NOW), None);
    schedule.comes_due(WebhookId(1), NOW);
    assert_eq!(schedule.next_wake(now, NOW), Some(Duration::ZERO));
    assert!(schedule.claims(now, NOW).pop().is_some());
}

#[test]
fn many_claims_at_once_are_smaller() {
    let now = Instant::now();
    let mut schedule = Schedule::<Shelves>::default();
    let mut limits = |webhooks: std::ops::RangeInclusive<i32>| {
        let many = |webhook| Route { destination: Ok(1000), ..route(webhook) };
        schedule.set_routes(webhooks.map(many).collect(), &Shelves, || now);
        let claims = schedule.claims(now, NOW);
        claims.iter().map(|claim| claim.limit).collect::<Vec<_>>()
    };
    assert_eq!(limits(1..=1), [1024]);
    assert_eq!(limits(1..=4), [256; 4]);
    assert_eq!(limits(1..=20), [51; 20]);
    assert_eq!(limits(1..=2000), [32; 32], "and the others at the next look");
}

#[test]
fn what_has_been_claimed_is_not_passed_again() {
    let now = Instant::now();
    let seconds = |count: i64| Timestamp(count * 1_000_000);
    let from = |at: Timestamp| Some((at, DeliveryId::FIRST));
    // Its first claim, at 0 s, has come to the end.
    let mut schedule = schedule(vec![route(1)], now);
    let next = |schedule: &Schedule<Shelves>, at: i64| {
        let claims = schedule.claims(now, seconds(at));
        claims.into_iter().next().map(|claim| claim.after)
    };
    assert_eq!(next(&schedule, 50), None, "nothing waits");

    // An attempt fails, and its row is due 5 s later.
    schedule.offer(event(5, 1), now);
    let (failed, _) = judge(&mut schedule, outcome(5, 1, None), at(now)).expect("a settlement");
    let due = failed.next_at.expect("a retry");
    schedule.settled(&failed);
    schedule.set_next_due(WebhookId(1), Some(due));
    let claim = schedule.claims(now, due).pop().expect("a claim");
    assert_eq!((claim.after, claim.until), (from(seconds(0)), due));
    assert!(claimed(&mut schedule, &claim, vec![(due, waiting(5, 1).1)], now));

    // One that was long in writing is due before that.
    let late = Settlement { next_at: Some(seconds(3)), ..failed };
    schedule.settled(&late);
    assert_eq!(schedule.claims(now, due)[0].after, from(seconds(3)));

    // The clock is set back.
    schedule.spill_at(seconds(-7));
    assert_eq!(schedule.claims(now, due)[0].after, from(seconds(-7)));
    schedule.spill_at(seconds(90));
    assert_eq!(schedule.claims(now, due)[0].after, from(seconds(-7)));

    // Who knows.
    schedule.set_routes(vec![route(1)], &Shelves, || now);
    assert_eq!(schedule.claims(now, due)[0].after, None);
}

#[test]
fn a_broken_endpoint_gets_one_probe() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1), route(2)], now);
    trip(&mut schedule, 1, now);
    assert_eq!(schedule.offer(event(50, 1), now), Decision::Spilled(spill(50)));
    assert_eq!(schedule.offer(event(51, 2), now), Decision::Taken, "another endpoint");
    assert!(schedule.claims(now, NOW).is_empty(), "closed");
    let later = now + Duration::from_secs(600);
    let claim = schedule.claims(later, NOW).pop().expect("a claim");
    assert_eq!(claim.limit, 1);
    claimed(&mut schedule, &claim, vec![waiting(0, 1)], later);
    assert!(schedule.claims(later, NOW).is_empty(), "the probe is under way");
    judge(&mut schedule, outcome(0, 1, Some(200)), at(later)).expect("known");
    let claim = schedule.claims(later, NOW).pop().expect("a claim");
    assert!(claim.limit > 1, "closed again");
}

#[test]
fn what_somebody_changes_is_tried_with_whatever_waits() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    trip(&mut schedule, 1, now);
    assert!(schedule.claims(now, NOW).is_empty(), "closed");
    let changed = Route { updated_at: NOW.after(Duration::from_secs(1)), ..route(1) };
    schedule.set_routes(vec![changed], &Shelves, || now);
    let claim = schedule.claims(now, NOW).pop().expect("a claim");
    assert_eq!((claim.any, claim.limit, claim.after), (true, 1, None));
    // It is not due for an hour.
    let (_, event) = waiting(0, 1);
    let due = NOW.after(Duration::from_secs(3600));
    assert!(!claimed(&mut schedule, &claim, vec![(due, event)], now));
    assert_eq!(handed_over(&mut schedule), [0]);
    assert!(schedule.claims(now, NOW).is_empty(), "one at a time");
    judge(&mut schedule, outcome(0, 1, Some(200)), at(now)).expect("known");
    let claim = schedule.claims(now, NOW).pop().expect("a claim");
    assert_eq!((claim.any, claim.after), (false, None), "what is due, from the beginning");
}

#[test]
fn when_the_breaker_opens_the_queue_is_emptied() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    let tried = 0..i64::from(TRIPS_AT);
    for id in tried.clone() {
        schedule.offer(event(id, 1), now);
    }
    assert_eq!(handed_over(&mut schedule), tried.clone().collect::<Vec<_>>());
    for id in 10..20 {
        schedule.offer(event(id, 1), now);
    }
    let judged =
        tried.map(|id| judge(&mut schedule, outcome(id, 1, None), at(now)).expect("known"));
    let spilled: Vec<Vec<Spill>> = judged.map(|(_, spills)| spills).collect();
    let (last, before) = spilled.split_last().expect("some");
    assert!(before.iter().all(Vec::is_empty));
    assert_eq!(*last, (10..20).map(spill).collect::<Vec<_>>());
}

#[test]
fn what_waits_for_a_webhook_that_is_deleted_or_paused_is_spilled() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1), route(2)], now);
    schedule.offer(event(5, 1), now);
    schedule.offer(event(6, 2), now);
    let mut paused = route(2);
    paused.sending = false;
    let mut recalled = schedule.set_routes(vec![paused], &Shelves, || now);
    recalled.sort_by_key(|spill| spill.id.0);
    assert_eq!(recalled, [spill(5), spill(6)]);
    assert!(schedule.is_empty());
}

#[test]
fn an_endpoint_that_cannot_be_used_is_an_outcome() {
    let now = Instant::now();
    let broken = Route {
        destination: Err(Failure::new(ErrorClass::Internal, "its secret is missing")),
        ..route(1)
    };
    let mut schedule = schedule(vec![broken], now);
    schedule.offer(event(5, 1), now);
    assert!(schedule.take_outbox(at(Instant::now())).is_empty());
    let outcome = schedule.take_untried().pop().expect("an outcome");
    let (settlement, _) = judge(&mut schedule, outcome, at(now)).expect("known");
    assert!(matches!(settlement.attempt.verdict, Verdict::Retry(_)));
}

#[test]
fn what_is_in_the_queue_of_an_endpoint_that_cannot_be_used_any_more_leaves_it() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    schedule.offer(event(5, 1), now);
    for (queue, parcels) in schedule.take_outbox(at(Instant::now())) {
        queue.take(parcels, Duration::ZERO);
    }
    schedule.offer(event(6, 1), now);
    let refused = Failure::new(ErrorClass::BlockedAddress, "http is not allowed");
    let broken = Route { destination: Err(refused), ..route(1) };
    let recalled = schedule.set_routes(vec![broken], &Shelves, || now);
    assert_eq!(recalled, [spill(5), spill(6)]);
    assert!(schedule.is_empty(), "so that it can become an outcome");
}

#[test]
fn so_many_deleted_webhooks_are_remembered() {
    let mut schedule = schedule(vec![route(0)], Instant::now());
    let most = i32::try_from(MOST_DELETED).expect("small");
    (0..=most).for_each(|webhook| schedule.learn(WebhookId(webhook)));
    assert!(
        schedule.knows(WebhookId(0))
            && schedule.knows(WebhookId(1))
            && schedule.knows(WebhookId(most))
    );
    schedule.learn(WebhookId(most + 1));
    assert!(schedule.knows(WebhookId(0)) && schedule.knows(WebhookId(most + 1)));
    assert!(!schedule.knows(WebhookId(1)), "it is looked for once more");
}

#[test]
fn in_doubt_one_at_a_time() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1), route(2)], now);
    schedule.set_single(true);
    assert_eq!(schedule.page(500), 1);
    assert!(schedule.has_room());
    schedule.offer(event(5, 1), now);
    assert_eq!(schedule.single(), Some(DeliveryId(5)));
    assert!(!schedule.has_room() && schedule.claims(now, NOW).is_empty());
    schedule.set_next_due(WebhookId(2), Some(NOW));
    assert_eq!(schedule.next_wake(now, NOW), None, "an outcome comes first");
    schedule.set_single(false);
    assert_eq!(schedule.next_wake(now, NOW), Some(Duration::ZERO));
}

#[test]
fn a_cancelled_event_is_not_handed_over() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    for id in 1..=2 {
        assert_eq!(schedule.offer(event(id, 1), now), Decision::Taken);
    }
    assert_eq!(schedule.withdraw(DeliveryId(2), Xid8(7), now), [spill(2)]);
    assert_eq!(schedule.withdraw(DeliveryId(2), Xid8(7), now), [], "gone");
    assert_eq!(handed_over(&mut schedule), [1]);
    assert_eq!(schedule.withdraw(DeliveryId(1), Xid8(7), now), [], "under way: it is in no queue");
    assert_eq!(schedule.withdraw(DeliveryId(9), Xid8(7), now), [], "never heard of");
    assert_eq!(schedule.len(), 1);
}

#[test]
fn a_cancelled_event_of_the_backlog_needs_no_spilling() {
    let now = Instant::now();
    let mut schedule = Schedule::<Shelves>::default();
    schedule.set_routes(vec![route(1)], &Shelves, || now);
    let claim = schedule.claims(now, NOW).remove(0);
    claimed(&mut schedule, &claim, vec![waiting(1, 1), waiting(2, 1)], now);
    assert_eq!(schedule.withdraw(DeliveryId(1), Xid8(7), now), []);
    assert_eq!(handed_over(&mut schedule), [2]);
}

#[test]
fn what_a_claim_has_read_is_taken() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    schedule.set_routes(vec![route(1)], &Shelves, || now);
    let claim = schedule.claims(now, NOW).remove(0);
    // Meanwhile the queue gets other work.
    for id in 1001..1201 {
        assert_eq!(schedule.offer(event(id, 1), now), Decision::Taken);
    }
    let found = (1..=claim.limit).map(|id| waiting(id, 1)).collect();
    assert!(!claimed(&mut schedule, &claim, found, now));
    assert_eq!(schedule.len(), 200 + claim.limit as usize);
}

#[test]
fn an_id_that_another_delivery_has_is_not_passed_over() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1), route(2)], now);
    assert_eq!(schedule.offer(event(5, 1), now), Decision::Taken);
    let double = |webhook| Event { xid: Xid8(8), ..event(5, webhook) };
    let named = Spill { xid: Xid8(8), ..spill(5) };
    assert_eq!(schedule.offer(double(2), now), Decision::Doubled(named));
    assert_eq!(
        schedule.withdraw(DeliveryId(5), Xid8(8), now),
        [],
        "it is the other one that is in the queue"
    );
    // One in the backlog is asked for again.
    schedule.tracks.get_mut(&WebhookId(2)).unwrap().look_again();
    let claim =
        schedule.claims(now, NOW).into_iter().find(|claim| claim.webhook == WebhookId(2)).unwrap();
    let row = (NOW, Event { origin: Origin::Pending { slot: Some(0) }, ..double(2) });
    assert!(!claimed(&mut schedule, &claim, vec![row], now));
    assert_eq!(schedule.len(), 1);
    let later = NOW.after(Duration::from_secs(2));
    assert!(schedule.claims(now, later).iter().any(|claim| claim.webhook == WebhookId(2)));
    assert_eq!(schedule.withdraw(DeliveryId(5), Xid8(7), now), [spill(5)]);
}

#[test]
fn an_event_whose_transform_has_failed_is_dead_wherever_its_webhook_stands() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1), Route { sending: false, ..route(2) }], now);
    let failed = |id, webhook| Event { failure: Some("no".to_owned()), ..event(id, webhook) };
    for webhook in 1..=2 {
        let id = i64::from(webhook);
        let dead = Decision::Dead(spill(id), WebhookId(webhook), "no".to_owned());
        assert_eq!(schedule.offer(failed(id, webhook), now), dead);
    }
    let dead = Decision::Dead(spill(3), WebhookId(9), "no".to_owned());
    assert_eq!(schedule.offer(failed(3, 9), now), dead, "deleted");
    assert!(schedule.is_empty(), "nothing of it is in memory");
}

#[test]
fn an_endpoint_that_refuses_events_still_gets_new_ones() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    for id in 1..=100 {
        assert_eq!(schedule.offer(event(id, 1), now), Decision::Taken);
        schedule.take_outbox(at(Instant::now()));
        let (settlement, spills) =
            judge(&mut schedule, outcome(id, 1, Some(422)), at(now)).expect("a settlement");
        assert!(matches!(settlement.attempt.verdict, Verdict::Retry(_)) && spills.is_empty());
        schedule.settled(&settlement);
    }
    assert_eq!(schedule.offer(event(101, 1), now), Decision::Taken);
    assert_eq!(handed_over(&mut schedule), [101]);
    assert_eq!(schedule.take_health(now).pop().map(|health| health.fail_count), Some(100));
}

/// An event of the ring with so many bytes.
fn large(id: i64, webhook: i32, bytes: usize) -> Event {
    Event { body: Some("x".repeat(bytes)), ..event(id, webhook) }
}

const MIB: usize = 1024 * 1024;

#[test]
fn what_waits_for_one_leaves_room_for_others() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1), route(2)], now);
    for id in 0..5 {
        schedule.offer(large(id, 1, MIB), now);
    }
    assert_eq!(schedule.spilling(now), [WebhookId(1)], "it has as much as one may have");
    assert!(!schedule.has_room(), "but keeps up");
    schedule.offer(event(10, 2), now);
    assert!(schedule.has_room_for_fresh(now));
    // Its queue has all of it, and takes nothing.
    let sent = schedule.take_outbox(at(Instant::now()));
    for (queue, parcels) in sent {
        queue.take(parcels, Duration::from_secs(1));
    }
    assert!(schedule.survey(now).is_empty());
    assert!(schedule.has_room(), "nobody waits for it any more");
}

#[test]
fn no_more_is_read_once_so_many_events_are_in_memory() {
    let now = Instant::now();
    let most = i32::try_from(MOST_DELIVERIES).expect("a few");
    let mut schedule = schedule((0..=most).map(route).collect(), now);
    for webhook in 0..most {
        if webhook == most - 1 {
            assert!(schedule.has_room());
        }
        assert_eq!(schedule.offer(event(webhook.into(), webhook), now), Decision::Taken);
    }
    assert!(!schedule.has_room() && !schedule.has_room_for_fresh(now));
}

#[test]
fn what_is_too_much_goes_back_to_where_it_waits() {
    let now = Instant::now();
    let mut schedule = schedule((1..=8).map(route).collect(), now);
    for id in 0..32 {
        schedule.offer(large(id, 1 + (id % 8) as i32, MIB), now);
    }
    for (queue, parcels) in schedule.take_outbox(at(Instant::now())) {
        queue.take(parcels, Duration::from_secs(1));
    }
    let spills = schedule.survey(now);
    assert_eq!(spills.len(), 8 * 3, "of each endpoint one event of four stays");
    assert!(spills.iter().all(|spill| spill.id >= DeliveryId(8)), "the oldest");
    assert!(schedule.survey(now).is_empty());
    assert_eq!(schedule.len(), 8);
}
