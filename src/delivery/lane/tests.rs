use super::*;
use crate::client::{Destination, example};

const SECOND: Duration = Duration::from_secs(1);

fn lane(concurrency: usize, rate: Option<u32>) -> Lane {
    let destination = Destination { concurrency, rate, ..example::destination() };
    let endpoint = Endpoint::new(&example::client(), destination).expect("an endpoint");
    Lane::new(1, Arc::new(endpoint))
}

fn messages(count: usize) -> impl Iterator<Item = Message> {
    (0..count).map(|number| Message {
        delivery: number as i64,
        event_id: String::new(),
        attempt: 1,
        body: String::new(),
    })
}

#[test]
fn an_unknown_endpoint_begins_with_one() {
    let lane = lane(10, None);
    assert_eq!(lane.push(messages(24)), 1);
    let _under_way = lane.next();
    assert!(lane.due_in(Instant::now()).expect("later") > LATE);
    let mut state = lane.lock();
    let late = Instant::now() + LATE_UNKNOWN * 2;
    assert_eq!(state.missing(late), 1, "the first has not come back");
    drop(state);
    lane.note(false, SECOND);
    assert_eq!(lane.due_in(Instant::now()), Some(Duration::ZERO), "now it is known");
    assert_eq!(lane.push([]), 9);
}

#[test]
fn a_fast_endpoint_gets_as_many_as_its_pace_asks_for() {
    let lane = lane(10, None);
    lane.note(false, STINT / 5);
    assert_eq!(lane.push(messages(1)), 1);
    assert_eq!(lane.push(messages(9)), 1, "ten of a fifth are two stints");
    assert_eq!(lane.push(messages(40)), 8);
    (0..8).for_each(|_| drop(lane.next()));
    lane.give_back(0);
    lane.push(messages(1));
    assert!(lane.next().is_none(), "too many for the rest");
}

#[test]
fn attempts_that_wait_for_each_other_call_for_no_more_runners() {
    let lane = lane(100, None);
    lane.note(false, STINT / 100);
    (0..50).for_each(|_| lane.note(false, FAST / 2));
    assert_eq!(lane.push(messages(500)), 6, "at the best pace");
}

#[test]
fn a_slow_endpoint_gets_all_that_it_may_have() {
    let lane = lane(10, None);
    lane.note(false, SECOND);
    assert_eq!(lane.push(messages(30)), 10);
}

#[test]
fn what_a_lane_takes_in_a_moment_is_known_by_its_pace_and_its_limits() {
    let moment = Duration::from_millis(100);
    let taken = |lane: &Lane| lane.takes_within(moment);
    let (free, limited) = (lane(10, None), lane(10, Some(100)));
    assert_eq!(taken(&free), 0, "nothing is known yet");
    for lane in [&free, &limited] {
        lane.note(false, Duration::from_millis(1));
    }
    assert_eq!(taken(&free), 1000);
    assert!((9..=10).contains(&taken(&limited)), "{}", taken(&limited));
    (0..50).for_each(|_| free.note(false, SECOND));
    assert!(taken(&free) < 5);
}

#[test]
fn runners_double_when_what_is_under_way_does_not_end() {
    let lane = lane(10, None);
    lane.note(false, STINT / 50);
    assert_eq!(lane.push(messages(20)), 1);
    let _under_way = lane.next().expect("a message");
    let later = Instant::now() + LATE;
    assert_eq!(lane.due_in(later), Some(Duration::ZERO));
    let mut state = lane.lock();
    let mut now = later;
    for more in [1, 2, 4, 2, 0] {
        now += LATE * 2;
        let missing = state.missing(now);
        assert_eq!(missing, more);
        assert_eq!(state.missing(now), missing, "not twice at once");
        state.runners += missing;
    }
    drop(state);
    assert!(lane.next().is_some(), "those that have just come stay");
    assert_eq!(lane.due_in(now + SECOND), None, "no more are allowed");
}

#[test]
fn a_rate_ends_runners_and_says_when_to_come_back() {
    let lane = lane(10, Some(20));
    lane.note(false, SECOND);
    assert_eq!(lane.push(messages(5)), 2, "a burst");
    assert!(lane.next().is_some() && lane.next().is_some());
    assert!(lane.next().is_none() && lane.next().is_none(), "both runners end");
    let wait = lane.due_in(Instant::now()).expect("it needs a push");
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(53), "{wait:?}");
    std::thread::sleep(wait);
    assert_eq!(lane.due_in(Instant::now()), Some(Duration::ZERO));
    assert_eq!(lane.push([]), 1);
}

#[test]
fn what_has_started_counts_for_the_rate_of_a_definition_that_takes_over() {
    let old = lane(10, Some(1));
    old.push(messages(9));
    assert!(old.next().is_some() && old.next().is_none());
    old.note(false, Duration::ZERO);
    // Another secret, say.
    old.take_over(&lane(10, Some(1)));
    assert_eq!(old.push([]), 0, "a second after the first");
    old.take_over(&lane(10, Some(2)));
    assert_eq!(old.push([]), 0, "half a second after it");
    old.take_over(&lane(10, None));
    assert_eq!(old.push([]), 1);
}

#[test]
fn nothing_is_due_for_a_lane_that_is_empty_or_holds() {
    let lane = lane(1, None);
    assert_eq!(lane.due_in(Instant::now()), None);
    lane.push(messages(9));
    for _ in 0..breaker::TRIPS_AT {
        let _message = lane.next();
        lane.note(true, Duration::ZERO);
    }
    assert!(lane.holds() && lane.next().is_none());
    assert_eq!(lane.due_in(Instant::now() + SECOND), None);
}

#[test]
fn a_message_that_no_thread_has_taken_can_be_withdrawn() {
    let lane = lane(1, None);
    lane.push(messages(3));
    let (_, first) = lane.next().expect("a message");
    assert!(!lane.withdraw(first.delivery), "a thread has it");
    let [second, third] = [1, 2].map(|ahead| first.delivery + ahead);
    assert!(lane.withdraw(second));
    assert!(!lane.withdraw(second), "gone");
    assert_eq!(lane.next().map(|(_, message)| message.delivery), Some(third));
}

#[test]
fn what_waits_is_counted_and_the_newest_goes_back() {
    let lane = lane(1, Some(1));
    let one = messages(1).map(|message| message.bytes()).sum::<usize>();
    lane.push(messages(5));
    assert_eq!(lane.waiting(Instant::now()).bytes, 5 * one);
    lane.next().expect("a message");
    lane.withdraw(1);
    assert_eq!(lane.waiting(Instant::now()).bytes, 3 * one);
    assert!(lane.waiting(Instant::now()).still > SECOND / 2, "it may send no other for a while");
    let given = lane.give_back(2 * one + 1);
    assert_eq!(given.iter().map(|message| message.delivery).collect::<Vec<_>>(), [4]);
    assert_eq!(lane.give_back(0).len(), 2);
    assert_eq!(lane.waiting(Instant::now()).bytes, 0);
}
