//! Batches of what is delivered in order, in a schedule.

use super::batches::{all, batching, deliveries, draw, formed};
use super::ordered::{in_order, ordered, parted, stand};
use super::*;
use crate::batches::Whole;
use domain::batch::Batching;
use domain::key::BatchId;

/// Events with these keys, numbered from 1, in batches of so many.
fn standing(size: usize, keys: &[&[i64]], now: Instant) -> Schedule<Shelves> {
    let mut schedule = in_order(vec![batching(size)], now);
    let page = keys.iter().zip(1..).map(|(keys, id)| ordered(id, keys)).collect();
    stand(&mut schedule, page, now);
    schedule
}

fn batch_of(settlements: &[Settlement]) -> Vec<Option<i64>> {
    settlements.iter().map(|it| it.batch.map(|batch| batch.0)).collect()
}

#[test]
fn several_of_a_key_go_in_one_batch() {
    let now = Instant::now();
    let mut schedule = standing(4, &[&[7], &[7], &[8], &[7], &[7], &[8]], now);
    assert_eq!(formed(&mut schedule, draw()), [(1, Some(4), "bat_100".to_owned())]);
    assert!(formed(&mut schedule, draw()).is_empty(), "one is under way before each of the others");
    let settlements = all(&mut schedule, outcome(1, 1, Some(200)), now);
    assert_eq!(deliveries(&settlements), [1, 3, 2, 6]);
    assert!(!schedule.has_parted());
    assert_eq!(formed(&mut schedule, draw()), [(4, Some(2), "bat_100".to_owned())]);
}

#[test]
fn what_fails_waits_with_all_that_is_behind_it() {
    let now = Instant::now();
    let mut schedule = standing(2, &[&[7], &[7], &[7], &[8]], now);
    assert_eq!(formed(&mut schedule, draw()), [(1, Some(2), "bat_100".to_owned())]);
    let settlements = all(&mut schedule, outcome(1, 1, Some(503)), now);
    // 1 and 4 were the first of their keys.
    assert_eq!(deliveries(&settlements), [1, 4]);
    assert_eq!(batch_of(&settlements), [Some(100), Some(100)]);
    assert!(settlements.iter().all(|it| it.origin.is_pending()));
    assert_eq!(parted(&mut schedule), (vec![1, 2, 3, 4], vec![]));
    assert!(!schedule.has(DeliveryId(2)));
}

#[test]
fn the_second_half_of_what_is_refused_waits_for_the_first() {
    let now = Instant::now();
    let mut schedule = standing(9, &[&[7], &[7], &[7], &[7]], now);
    assert_eq!(formed(&mut schedule, draw()), [(1, Some(4), "bat_100".to_owned())]);
    let settlements = all(&mut schedule, outcome(1, 1, Some(422)), now);
    assert_eq!(batch_of(&settlements), [Some(101), Some(101), None, None]);
    assert!(settlements.iter().all(|it| it.next_at == Some(NOW) && it.attempts == 0));
    let made: Vec<_> = schedule.take_changes().made.iter().map(|it| it.batch.0).collect();
    assert_eq!(made, [101]);
    assert_eq!(schedule.take_parted().separate, [DeliveryId(3), DeliveryId(4)]);
}

#[test]
fn where_it_is_over_for_one_the_others_are_looked_at() {
    let now = Instant::now();
    let mut schedule = in_order(vec![Route { holds: true, ..batching(9) }], now);
    let mut old = ordered(1, &[7]);
    old.event.first_attempt_at = Some(Timestamp(-4_000_000_000));
    stand(&mut schedule, vec![old, ordered(2, &[7])], now);
    formed(&mut schedule, draw());
    let settlements = all(&mut schedule, outcome(1, 1, Some(503)), now);
    assert_eq!(settlements[0].attempt.verdict, Verdict::Dead);
    assert_eq!(batch_of(&settlements), [None, None]);
    assert_eq!(schedule.take_parted().separate, [DeliveryId(2)]);
}

/// A claim finds a batch of which something is missing.
#[test]
fn what_is_not_whole_any_more_is_taken_apart_before_it_is_sent() {
    let now = Instant::now();
    let mut schedule = in_order(vec![batching(9)], now);
    schedule.look_again(WebhookId(1));
    let claim = schedule.claims(now, NOW).remove(0);
    let of = |id| {
        let (at, event) = waiting(id, 1);
        (at, Event { batch: Some(BatchId(50)), ..event })
    };
    let mut whole: HashMap<BatchId, Whole> = HashMap::new();
    schedule.claimed(&claim, vec![of(1), of(3)], &mut whole, draw(), now);
    assert!(schedule.is_empty() && schedule.take_heads().is_empty());
    assert_eq!(schedule.take_parted().dissolved, [BatchId(50)]);
    assert_eq!(schedule.take_changes().ended, [BatchId(50)]);
}

#[test]
fn nothing_goes_before_what_is_before_it_is_written_down() {
    let now = Instant::now();
    let mut schedule = standing(9, &[&[7]], now);
    schedule.set_written(false);
    assert!(schedule.forms_in_order(now) && schedule.forms_in(now).is_none());
    assert!(formed(&mut schedule, draw()).is_empty());
    schedule.set_written(true);
    assert_eq!(formed(&mut schedule, draw()).len(), 1);
}

#[test]
fn whoever_stands_in_line_fills_a_batch_that_would_wait() {
    let now = Instant::now();
    let route = batching(3);
    let rules = route.batching.map(|rules| Batching { wait: Duration::from_secs(9), ..rules });
    let mut schedule = in_order(vec![Route { batching: rules, ..route }], now);
    stand(&mut schedule, vec![ordered(1, &[7]), ordered(2, &[7])], now);
    assert!(formed(&mut schedule, draw()).is_empty());
    stand(&mut schedule, vec![ordered(3, &[7])], now);
    assert_eq!(formed(&mut schedule, draw()), [(1, Some(3), "bat_100".to_owned())]);
}

#[test]
fn what_is_withdrawn_takes_its_batch_to_the_backlog() {
    let now = Instant::now();
    let mut schedule = standing(9, &[&[7], &[7], &[8]], now);
    schedule.form(now, draw());
    assert!(schedule.withdraw(DeliveryId(2), Xid8(7), now).is_empty());
    let (lined, free) = parted(&mut schedule);
    assert_eq!((lined, free.len()), (vec![1, 2, 3], 3));
    assert!(schedule.is_empty() && schedule.unwritten().count() == 0);
}
