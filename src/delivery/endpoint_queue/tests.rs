use super::*;
use crate::client::{Destination, example};

const SECOND: Duration = Duration::from_secs(1);

fn queue(concurrency: usize, rate: Option<u32>) -> EndpointQueue {
    let destination = Destination { concurrency, rate, ..example::destination() };
    let endpoint = Endpoint::new(&example::client(), destination).expect("an endpoint");
    EndpointQueue::new(WebhookId(1), Arc::new(endpoint))
}

fn parcels(count: usize) -> impl Iterator<Item = Parcel> {
    (0..count).map(|number| Parcel {
        delivery: DeliveryId(number as i64),
        event_id: String::new(),
        attempt: 1,
        batch: None,
        replay: false,
        body: String::new(),
    })
}

#[test]
fn an_unknown_endpoint_begins_with_one() {
    let queue = queue(10, None);
    assert_eq!(queue.push(parcels(24)), 1);
    let _under_way = queue.next();
    assert!(queue.due_in(Instant::now()).expect("later") > LATE);
    let mut state = queue.lock();
    let late = Instant::now() + LATE_UNKNOWN * 2;
    assert_eq!(state.missing(late), 1, "the first has not come back");
    drop(state);
    queue.note(false, SECOND);
    assert_eq!(queue.due_in(Instant::now()), Some(Duration::ZERO), "now it is known");
    assert_eq!(queue.push([]), 9);
}

#[test]
fn a_fast_endpoint_gets_as_many_as_its_pace_asks_for() {
    let queue = queue(10, None);
    queue.note(false, STINT / 5);
    assert_eq!(queue.push(parcels(1)), 1);
    assert_eq!(queue.push(parcels(9)), 1, "ten of a fifth are two stints");
    assert_eq!(queue.push(parcels(40)), 8);
    (0..8).for_each(|_| drop(queue.next()));
    queue.give_back(0);
    queue.push(parcels(1));
    assert!(queue.next().is_none(), "too many for the rest");
}

#[test]
fn attempts_that_wait_for_each_other_call_for_no_more_runners() {
    let queue = queue(100, None);
    queue.note(false, STINT / 100);
    (0..50).for_each(|_| queue.note(false, FAST / 2));
    assert_eq!(queue.push(parcels(500)), 6, "at the best pace");
}

#[test]
fn a_slow_endpoint_gets_all_that_it_may_have() {
    let queue = queue(10, None);
    queue.note(false, SECOND);
    assert_eq!(queue.push(parcels(30)), 10);
}

#[test]
fn what_a_queue_takes_in_a_moment_is_known_by_its_pace_and_its_limits() {
    let moment = Duration::from_millis(100);
    let taken = |queue: &EndpointQueue| queue.takes_within(moment, 1);
    let (free, limited) = (queue(10, None), queue(10, Some(100)));
    assert_eq!(taken(&free), 0, "nothing is known yet");
    for queue in [&free, &limited] {
        queue.note(false, Duration::from_millis(1));
    }
    assert_eq!(taken(&free), 1000);
    assert!((9..=10).contains(&taken(&limited)), "{}", taken(&limited));
    (0..50).for_each(|_| free.note(false, SECOND));
    assert!(taken(&free) < 5);
}

#[test]
fn runners_double_when_what_is_under_way_does_not_end() {
    let queue = queue(10, None);
    queue.note(false, STINT / 50);
    assert_eq!(queue.push(parcels(20)), 1);
    let _under_way = queue.next().expect("a parcel");
    let later = Instant::now() + LATE;
    assert_eq!(queue.due_in(later), Some(Duration::ZERO));
    let mut state = queue.lock();
    let mut now = later;
    for more in [1, 2, 4, 2, 0] {
        now += LATE * 2;
        let missing = state.missing(now);
        assert_eq!(missing, more);
        assert_eq!(state.missing(now), missing, "not twice at once");
        state.runners += missing;
    }
    drop(state);
    assert!(queue.next().is_some(), "those that have just come stay");
    assert_eq!(queue.due_in(now + SECOND), None, "no more are allowed");
}

#[test]
fn a_rate_ends_runners_and_says_when_to_come_back() {
    let queue = queue(10, Some(20));
    queue.note(false, SECOND);
    assert_eq!(queue.push(parcels(5)), 2, "a batch");
    assert!(queue.next().is_some() && queue.next().is_some());
    assert!(queue.next().is_none() && queue.next().is_none(), "both runners end");
    let wait = queue.due_in(Instant::now()).expect("it needs a push");
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(53), "{wait:?}");
    std::thread::sleep(wait);
    assert_eq!(queue.due_in(Instant::now()), Some(Duration::ZERO));
    assert_eq!(queue.push([]), 1);
}

#[test]
fn what_has_started_counts_for_the_rate_of_a_definition_that_takes_over() {
    let old = queue(10, Some(1));
    old.push(parcels(9));
    assert!(old.next().is_some() && old.next().is_none());
    old.note(false, Duration::ZERO);
    // Another secret, say.
    old.take_over(&queue(10, Some(1)));
    assert_eq!(old.push([]), 0, "a second after the first");
    old.take_over(&queue(10, Some(2)));
    assert_eq!(old.push([]), 0, "half a second after it");
    old.take_over(&queue(10, None));
    assert_eq!(old.push([]), 1);
}

#[test]
fn nothing_is_due_for_a_queue_that_is_empty_or_holds() {
    let queue = queue(1, None);
    assert_eq!(queue.due_in(Instant::now()), None);
    queue.push(parcels(9));
    for _ in 0..breaker::TRIPS_AT {
        let _parcel = queue.next();
        queue.note(true, Duration::ZERO);
    }
    assert!(queue.holds() && queue.next().is_none());
    assert_eq!(queue.due_in(Instant::now() + SECOND), None);
}

#[test]
fn a_parcel_that_no_thread_has_taken_can_be_withdrawn() {
    let queue = queue(1, None);
    queue.push(parcels(3));
    let (_, first) = queue.next().expect("a parcel");
    assert!(!queue.withdraw(first.delivery), "a thread has it");
    let [second, third] = [1, 2].map(|ahead| DeliveryId(first.delivery.0 + ahead));
    assert!(queue.withdraw(second));
    assert!(!queue.withdraw(second), "gone");
    assert_eq!(queue.next().map(|(_, parcel)| parcel.delivery), Some(third));
}

#[test]
fn what_waits_is_counted_and_the_newest_goes_back() {
    let queue = queue(1, Some(1));
    let one = parcels(1).map(|parcel| parcel.bytes()).sum::<usize>();
    queue.push(parcels(5));
    assert_eq!(queue.waiting(Instant::now()).bytes, 5 * one);
    queue.next().expect("a parcel");
    queue.withdraw(DeliveryId(1));
    assert_eq!(queue.waiting(Instant::now()).bytes, 3 * one);
    assert!(queue.waiting(Instant::now()).still > SECOND / 2, "it may send no other for a while");
    let given = queue.give_back(2 * one + 1);
    assert_eq!(given.iter().map(|parcel| parcel.delivery.0).collect::<Vec<_>>(), [4]);
    assert_eq!(queue.give_back(0).len(), 2);
    assert_eq!(queue.waiting(Instant::now()).bytes, 0);
}
