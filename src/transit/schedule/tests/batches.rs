//! Batches in a schedule.

use super::*;
use crate::batches::{Drawn, Whole};
use domain::batch::{BatchFormat, Batching};
use domain::key::BatchId;

/// Webhook 1 with batches of so many.
pub(super) fn batching(size: usize) -> Route<usize> {
    let (bytes, wait, format) = (1_000_000, Duration::ZERO, BatchFormat::Array);
    Route {
        batching: Some(Batching { size, bytes, wait, format, named: true }),
        destination: Ok(2),
        ..route(1)
    }
}

/// The ids 100, 110, 120, ..
pub(super) fn draw() -> impl FnMut(Option<BatchId>) -> Drawn {
    let mut next = 90;
    move |known| {
        next += 10;
        let batch = known.unwrap_or(BatchId(next));
        Drawn {
            batch,
            name: format!("bat_{batch}"),
            halves: [BatchId(next + 1), BatchId(next + 2)],
        }
    }
}

/// Puts together what is ready and hands it over: of each batch its first delivery, how many, and its id.
pub(super) fn formed(
    schedule: &mut Schedule<Shelves>,
    draw: impl FnMut(Option<BatchId>) -> Drawn,
) -> Vec<(i64, Option<u32>, String)> {
    schedule.form(Instant::now(), draw);
    schedule.release();
    let outbox = schedule.take_outbox(at(Instant::now()));
    let parcels = outbox.into_iter().flat_map(|(queue, parcels)| {
        let ids: Vec<_> =
            parcels.iter().map(|it| (it.delivery.0, it.batch, it.event_id.clone())).collect();
        queue.take(parcels, Duration::ZERO);
        ids
    });
    parcels.collect()
}

fn offer(schedule: &mut Schedule<Shelves>, ids: impl IntoIterator<Item = i64>, now: Instant) {
    for id in ids {
        assert_eq!(schedule.offer(event(id, 1), now), Decision::Taken);
    }
}

pub(super) fn all(
    schedule: &mut Schedule<Shelves>,
    outcome: Outcome,
    now: Instant,
) -> Vec<Settlement> {
    let mut settlements = Vec::new();
    assert!(schedule.judge(outcome, at(now), 0.0, &mut settlements).is_empty());
    settlements
}

pub(super) fn deliveries(settlements: &[Settlement]) -> Vec<i64> {
    settlements.iter().map(|it| it.attempt.delivery.0).collect()
}

#[test]
fn what_there_is_goes_together_and_one_answer_is_for_all() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(3)], now);
    offer(&mut schedule, [2, 1, 3, 4], now);
    let sent = formed(&mut schedule, draw());
    let wanted = [(1, Some(3), "bat_100".to_owned()), (4, Some(1), "bat_110".to_owned())];
    assert_eq!(sent, wanted);
    let settlements = all(&mut schedule, outcome(1, 1, Some(200)), now);
    assert_eq!(deliveries(&settlements), [1, 2, 3]);
    assert!(
        settlements.iter().all(|it| it.is_delivered() && it.attempt.batch == Some(BatchId(100)))
    );
    let ended = Changes { ended: vec![BatchId(100)], made: Vec::new() };
    assert_eq!(schedule.take_changes(), ended);
    settlements.iter().for_each(|it| schedule.settled(it));
    assert_eq!(schedule.ids(), [DeliveryId(4)]);
}

#[test]
fn nothing_is_sent_that_is_not_written_down() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(3)], now);
    offer(&mut schedule, 1..=3, now);
    schedule.form(now, draw());
    assert!(schedule.take_outbox(at(now)).is_empty());
    let members = [1, 2, 3].map(|id| (DeliveryId(id), Xid8(7)));
    let wanted = Composition {
        batch: BatchId(100),
        webhook: WebhookId(1),
        shape: "array of named",
        deliveries: members.to_vec(),
    };
    assert_eq!(schedule.unwritten().collect::<Vec<_>>(), [&wanted]);
    assert_eq!(schedule.forms_in(now), Some(Duration::ZERO), "that has failed: once more");
    schedule.form(now, |_| unreachable!("nothing else gathers"));
    assert_eq!(schedule.unwritten().count(), 1);
    schedule.release();
    assert_eq!(handed_over(&mut schedule), [1]);
}

#[test]
fn a_part_of_a_batch_waits_for_a_free_place() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(2)], now);
    let mut draw = draw();
    for id in [1, 2] {
        offer(&mut schedule, [id], now);
        assert_eq!(formed(&mut schedule, &mut draw).len(), 1, "there are two places");
    }
    offer(&mut schedule, [3], now);
    assert!(formed(&mut schedule, &mut draw).is_empty());
    assert_eq!(schedule.forms_in(now), None);
    offer(&mut schedule, [4], now);
    assert_eq!(formed(&mut schedule, &mut draw).len(), 1, "a full one does not");
    offer(&mut schedule, [5], now);
    for head in [1, 2] {
        all(&mut schedule, outcome(head, 1, Some(200)), now);
    }
    assert_eq!(formed(&mut schedule, &mut draw).len(), 1);
}

#[test]
fn what_waits_for_a_place_for_long_is_behind() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(3)], now);
    let mut draw = draw();
    for id in [1, 2] {
        offer(&mut schedule, [id], now);
        assert_eq!(formed(&mut schedule, &mut draw).len(), 1);
        schedule.take_outbox(at(now));
    }
    offer(&mut schedule, [3], now);
    let later = now + Duration::from_secs(1);
    assert!(schedule.survey(later).is_empty());
    assert_eq!(schedule.offer(event(4, 1), later), Decision::Spilled(spill(4)));
}

#[test]
fn who_needs_the_memory_waits_for_nobody_who_waits_for_others() {
    let now = Instant::now();
    let mut patient = batching(20_000);
    patient.batching.as_mut().unwrap().wait = Duration::from_secs(60);
    let mut schedule = schedule(vec![patient, route(2)], now);
    offer(&mut schedule, 0..100, now);
    assert!(schedule.forms_in(now) > Some(Duration::ZERO));
    offer(&mut schedule, 100..MOST_DELIVERIES as i64, now);
    assert!(!schedule.has_memory());
    assert_eq!(schedule.forms_in(now), Some(Duration::ZERO));
    assert_eq!(formed(&mut schedule, draw()).len(), 1);
}

#[test]
fn whose_memory_is_full_of_what_gathers_does_not_stop_the_reading() {
    let now = Instant::now();
    let mut patient = batching(20_000);
    let rules = patient.batching.as_mut().unwrap();
    (rules.wait, rules.bytes) = (Duration::from_secs(60), 4 * 1024 * 1024);
    let mut schedule = schedule(vec![patient, route(2)], now);
    for id in 0..840 {
        let body = Some("x".repeat(4_500));
        assert_eq!(schedule.offer(Event { body, ..event(id, 1) }, now), Decision::Taken);
    }
    assert!(schedule.survey(now).is_empty() && !schedule.has_room());
    assert_eq!(formed(&mut schedule, draw()).len(), 1);
}

#[test]
fn what_gathers_behind_a_request_that_hangs_is_still_where_others_need_its_memory() {
    let now = Instant::now();
    let mut patient = batching(20_000);
    patient.destination = Ok(1);
    patient.batching.as_mut().unwrap().wait = Duration::from_secs(60);
    let mut schedule = schedule(vec![patient, route(2)], now);
    offer(&mut schedule, [0], now);
    let minute = now + Duration::from_secs(60);
    schedule.form(minute, draw());
    schedule.release();
    schedule.take_outbox(at(now));
    offer(&mut schedule, 1..MOST_DELIVERIES as i64, minute);
    assert!(!schedule.has_memory());
    schedule.survey(minute + Duration::from_secs(1));
    assert!(schedule.has_memory());
}

#[test]
fn what_is_refused_is_found_by_halves() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(5)], now);
    offer(&mut schedule, 1..=5, now);
    formed(&mut schedule, draw());
    let settlements = all(&mut schedule, outcome(1, 1, Some(422)), now);
    assert_eq!(deliveries(&settlements), [1, 2, 3, 4, 5]);
    let halves: Vec<_> = settlements.iter().map(|it| it.batch.unwrap().0).collect();
    assert_eq!(halves, [101, 101, 101, 102, 102]);
    for settlement in &settlements {
        assert_eq!((settlement.attempts, settlement.next_at), (0, Some(NOW)), "at once");
        assert_eq!(settlement.attempt.verdict, Verdict::Retry(Duration::ZERO));
    }
    let changes = schedule.take_changes();
    assert_eq!(changes.ended, [BatchId(100)]);
    let made: Vec<_> = changes.made.iter().map(|it| (it.batch.0, it.deliveries.len())).collect();
    assert_eq!(made, [(101, 3), (102, 2)]);
}

#[test]
fn what_is_refused_alone_is_tried_again_later() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(5)], now);
    offer(&mut schedule, [1], now);
    formed(&mut schedule, draw());
    let settlements = all(&mut schedule, outcome(1, 1, Some(422)), now);
    assert_eq!((settlements[0].attempts, settlements[0].batch), (1, Some(BatchId(100))));
    assert!(settlements[0].next_at > Some(NOW));
    assert!(schedule.take_changes().is_empty());
}

#[test]
fn a_batch_that_fails_is_due_again_as_a_whole() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(3)], now);
    offer(&mut schedule, 1..=3, now);
    formed(&mut schedule, draw());
    let settlements = all(&mut schedule, outcome(1, 1, Some(503)), now);
    let due = settlements[0].next_at;
    assert!(due > Some(NOW));
    for settlement in &settlements {
        assert_eq!((settlement.next_at, settlement.batch), (due, Some(BatchId(100))));
    }
    assert!(schedule.take_changes().is_empty());
}

#[test]
fn what_is_told_of_the_endpoint_is_told_once_and_divides_nothing() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(3)], now);
    offer(&mut schedule, 1..=3, now);
    formed(&mut schedule, draw());
    let settlements = all(&mut schedule, outcome(1, 1, Some(410)), now);
    assert_eq!(settlements.iter().filter(|it| it.pause.is_some()).count(), 1);
    assert!(settlements.iter().all(|it| it.batch == Some(BatchId(100))));
}

#[test]
fn where_it_is_over_for_one_the_others_are_another_batch() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(3)], now);
    let claim = Claim { webhook: WebhookId(1), ..claim_of(&mut schedule, now) };
    // It has been tried for too long.
    let old = Event { first_attempt_at: Some(Timestamp(-4_000_000_000)), ..waiting(1, 1).1 };
    let found = vec![(NOW, old), waiting(2, 1)];
    schedule.claimed(&claim, found, &mut HashMap::new(), draw(), now);
    formed(&mut schedule, draw());
    let settlements = all(&mut schedule, outcome(1, 1, Some(503)), now);
    assert_eq!(settlements[0].attempt.verdict, Verdict::Dead);
    assert!(matches!(settlements[1].attempt.verdict, Verdict::Retry(_)));
    assert!(settlements.iter().all(|it| it.batch.is_none()));
    assert_eq!(schedule.take_changes().ended, [BatchId(100)]);
}

/// A claim, after the webhook's backlog may hold something again.
fn claim_of(schedule: &mut Schedule<Shelves>, now: Instant) -> Claim {
    schedule.look_again(WebhookId(1));
    schedule.claims(now, NOW).pop().expect("a claim")
}

/// It waits as one of batch 50.
fn kept(id: i64) -> Event {
    Event { batch: Some(BatchId(50)), attempts: 2, ..waiting(id, 1).1 }
}

/// Batch 50, put together like that.
fn pair(shape: &str) -> Whole {
    Whole { shape: shape.to_owned(), events: vec![kept(1), kept(2)] }
}

#[test]
fn what_would_be_another_request_is_another_batch() {
    let now = Instant::now();
    let mut small = batching(2);
    small.batching.as_mut().unwrap().bytes = 3;
    let good = "array of named";
    for (route, shape, sizes) in [
        (batching(10), "lines of named", vec![Some(2)]),
        (batching(10), "array", vec![Some(2)]),
        (small, good, vec![Some(1), Some(1)]),
    ] {
        let mut schedule = schedule(vec![route], now);
        let claim = claim_of(&mut schedule, now);
        let mut whole = HashMap::from([(BatchId(50), pair(shape))]);
        let mut draw = draw();
        let found = vec![(NOW, kept(1)), (NOW, kept(2))];
        schedule.claimed(&claim, found, &mut whole, &mut draw, now);
        let sent = formed(&mut schedule, &mut draw);
        assert_eq!(sent.iter().map(|it| it.1).collect::<Vec<_>>(), sizes);
        assert!(sent.iter().all(|it| it.2 != "bat_50"));
        assert!(schedule.take_changes().ended.contains(&BatchId(50)));
    }
}

#[test]
fn who_puts_nothing_together_any_more_ends_the_batch() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    let claim = claim_of(&mut schedule, now);
    claimed(&mut schedule, &claim, vec![(NOW, kept(1))], now);
    assert_eq!(schedule.take_changes().ended, [BatchId(50)]);
}

#[test]
fn each_has_its_own_attempts() {
    let now = Instant::now();
    let mut limited = batching(10);
    limited.policy.max_retries = Some(5);
    let mut schedule = schedule(vec![limited], now);
    let claim = claim_of(&mut schedule, now);
    let found = vec![(NOW, Event { attempts: 5, ..waiting(1, 1).1 }), waiting(2, 1)];
    schedule.claimed(&claim, found, &mut HashMap::new(), draw(), now);
    formed(&mut schedule, draw());
    let settlements = all(&mut schedule, outcome(1, 1, Some(503)), now);
    assert_eq!(settlements[0].attempt.verdict, Verdict::Dead);
    assert!(matches!(settlements[1].attempt.verdict, Verdict::Retry(_)));
    assert_eq!((settlements[1].attempts, settlements[1].attempt.number), (1, 1));
}

#[test]
fn what_gathers_where_nothing_can_be_sent_leaves_with_its_rules() {
    let now = Instant::now();
    let refused = || Err(Failure::new(ErrorClass::BlockedAddress, "refused"));
    let mut schedule = schedule(vec![Route { destination: refused(), ..batching(2) }], now);
    offer(&mut schedule, [1], now);
    assert_eq!(schedule.set_routes(vec![route(1)], &Shelves, || now), [spill(1)]);
}

#[test]
fn a_batch_is_sent_again_as_it_was() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(10)], now);
    let claim = claim_of(&mut schedule, now);
    let found = vec![(NOW, kept(1)), waiting(3, 1)];
    let events = found.iter().map(|(_, event)| event);
    assert_eq!(schedule.wanted_batches(events), [BatchId(50)]);
    let mut whole = HashMap::from([(BatchId(50), pair("array of named"))]);
    let mut draw = draw();
    schedule.claimed(&claim, found, &mut whole, &mut draw, now);
    let sent = formed(&mut schedule, &mut draw);
    assert_eq!(sent[0], (1, Some(2), "bat_50".to_owned()));
    assert_eq!(sent[1].0, 3);
    // What a later claim finds of it is in memory.
    let claim = claim_of(&mut schedule, now);
    let found = vec![(NOW, kept(2))];
    assert!(schedule.wanted_batches(found.iter().map(|(_, event)| event)).is_empty());
    schedule.claimed(&claim, found, &mut HashMap::new(), &mut draw, now);
    assert_eq!(schedule.len(), 3);
    assert!(schedule.take_changes().is_empty());
}

#[test]
fn what_is_left_of_a_batch_is_another_one() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(10)], now);
    let claim = claim_of(&mut schedule, now);
    let mut draw = draw();
    let found = vec![(NOW, kept(1)), (NOW, kept(2))];
    schedule.claimed(&claim, found, &mut HashMap::new(), &mut draw, now);
    assert_eq!(formed(&mut schedule, &mut draw), [(1, Some(2), "bat_100".to_owned())]);
    assert!(schedule.take_changes().ended.contains(&BatchId(50)));
}

#[test]
fn what_is_withdrawn_takes_its_batch_along() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(2)], now);
    offer(&mut schedule, 1..=5, now);
    formed(&mut schedule, draw());
    assert_eq!(schedule.len(), 5);
    assert_eq!(schedule.withdraw(DeliveryId(2), Xid8(7), now), [spill(1), spill(2)]);
    assert_eq!(schedule.take_changes().ended, [BatchId(100)]);
    assert_eq!(schedule.withdraw(DeliveryId(5), Xid8(7), now), [spill(5)]);
    assert!(schedule.withdraw(DeliveryId(5), Xid8(7), now).is_empty());
    assert_eq!(schedule.len(), 2);
}

#[test]
fn what_is_recalled_was_never_a_batch() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(2)], now);
    offer(&mut schedule, 1..=2, now);
    formed(&mut schedule, draw());
    offer(&mut schedule, 3..=4, now);
    schedule.form(now, draw());
    offer(&mut schedule, [5], now);
    let mut spills = schedule.recall_all(now);
    spills.sort_by_key(|it| it.id);
    assert_eq!(spills, [1, 2, 3, 4, 5].map(spill));
    assert!(schedule.is_empty() && schedule.unwritten().count() == 0);
    assert_eq!(schedule.take_changes().ended.len(), 2);
}

#[test]
fn another_way_of_putting_together_is_for_all_that_has_not_been_sent() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(2)], now);
    offer(&mut schedule, 1..=3, now);
    formed(&mut schedule, draw());
    let recalled = schedule.set_routes(vec![route(1)], &Shelves, || now);
    assert_eq!(recalled.len(), 3);
    // A claim before they are written finds nothing, which means nothing.
    let claim = schedule.claims(now, NOW).pop().expect("a claim");
    assert!(claimed(&mut schedule, &claim, Vec::new(), now));
    assert!(schedule.claims(now, NOW).is_empty());
    schedule.spilled();
    assert_eq!(schedule.claims(now, NOW).len(), 1);
}

#[test]
fn one_at_a_time_is_a_batch_of_its_own() {
    let now = Instant::now();
    let mut schedule = schedule(vec![batching(2)], now);
    schedule.set_single(true);
    offer(&mut schedule, [1], now);
    let outbox = schedule.take_outbox(at(now));
    let parcel = &outbox[0].1[0];
    assert_eq!((&*parcel.body, parcel.batch, &*parcel.event_id), ("[{}]", Some(1), "evt_x_1"));
}
