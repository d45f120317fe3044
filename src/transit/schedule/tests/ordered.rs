use super::super::ordered::{Admission, MOST_FOLLOWERS, Ordered, Page};
use super::*;

pub(super) fn in_order(routes: Vec<Route<usize>>, now: Instant) -> Schedule<Shelves> {
    let routes = routes.into_iter().map(|route| Route { ordered: true, ..route }).collect();
    let mut schedule = schedule(routes, now);
    schedule.set_in_order(true);
    for claim in schedule.claims(now, NOW) {
        claimed(&mut schedule, &claim, Vec::new(), now);
    }
    schedule
}

pub(super) fn ordered(id: i64, keys: &[i64]) -> Ordered {
    Ordered { event: event(id, 1), keys: keys.to_vec(), is_behind: false }
}

/// What is decided of a page of these, and those that have come into memory.
pub(super) fn offer(
    schedule: &mut Schedule<Shelves>,
    page: Vec<Ordered>,
    now: Instant,
) -> Vec<(i64, Admission)> {
    let mut so_far = Page::default();
    let admitted = page.into_iter().map(|it| (schedule.admit(&it, &mut so_far, now), it));
    let admitted: Vec<_> = admitted.collect();
    let decided = admitted.iter().map(|(admission, it)| (it.event.id.0, *admission)).collect();
    for (_, it) in admitted.into_iter().filter(|(it, _)| *it == Admission::Straight) {
        schedule.stand(it, now);
    }
    decided
}

/// The same, where all come.
pub(super) fn stand(schedule: &mut Schedule<Shelves>, page: Vec<Ordered>, now: Instant) {
    let all = offer(schedule, page, now).iter().all(|(_, it)| *it == Admission::Straight);
    assert!(all);
}

fn deliver(schedule: &mut Schedule<Shelves>, id: i64, now: Instant) {
    let (settlement, _) = judge(schedule, outcome(id, 1, Some(200)), at(now)).expect("it was sent");
    schedule.settled(&settlement);
}

pub(super) fn parted(schedule: &mut Schedule<Shelves>) -> (Vec<i64>, Vec<i64>) {
    let parted = schedule.take_parted();
    let ids = |it: Vec<DeliveryId>| it.into_iter().map(|id| id.0).collect();
    (parted.lined.into_iter().map(|spill| spill.id.0).collect(), ids(parted.free))
}

#[test]
fn those_with_one_key_go_one_after_the_other() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    stand(&mut schedule, vec![ordered(1, &[7]), ordered(2, &[7]), ordered(3, &[8])], now);
    assert_eq!(handed_over(&mut schedule), [1, 3]);
    deliver(&mut schedule, 3, now);
    assert!(handed_over(&mut schedule).is_empty());
    deliver(&mut schedule, 1, now);
    assert_eq!(handed_over(&mut schedule), [2]);
    deliver(&mut schedule, 2, now);
    assert!(schedule.is_empty() && !schedule.has_unstored() && !schedule.has_parted());
}

#[test]
fn one_that_fails_takes_those_behind_it_to_the_backlog() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    let page = vec![ordered(1, &[7]), ordered(2, &[7]), ordered(3, &[8]), ordered(4, &[7])];
    stand(&mut schedule, page, now);
    handed_over(&mut schedule);
    let (settlement, spills) =
        judge(&mut schedule, outcome(1, 1, Some(500)), at(now)).expect("it was sent");
    assert!(spills.is_empty());
    assert!(settlement.origin.is_pending() && settlement.window().is_none());
    assert_eq!(parted(&mut schedule), (vec![1, 2, 4], vec![]), "in this order");
    assert_eq!(schedule.len(), 2, "what failed, until that is written, and who has another key");
    schedule.settled(&settlement);
    deliver(&mut schedule, 3, now);
    assert!(schedule.is_empty());
}

#[test]
fn whoever_has_to_go_to_the_backlog_goes_after_those_before_it() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    stand(&mut schedule, vec![ordered(1, &[7]), ordered(2, &[8])], now);
    handed_over(&mut schedule);
    let behind = |id, keys: &[i64]| Ordered { is_behind: true, ..ordered(id, keys) };
    assert_eq!(offer(&mut schedule, vec![behind(3, &[7, 9])], now), [(3, Admission::After)]);
    schedule.part_before(WebhookId(1), &[7, 9], now);
    assert_eq!(parted(&mut schedule), (vec![1], vec![]), "it is under way, and in the backlog");
    schedule.spilled();
    let page = vec![behind(3, &[7, 9]), ordered(4, &[9])];
    let stored = [(3, Admission::Stored), (4, Admission::Stored)];
    assert_eq!(offer(&mut schedule, page, now), stored);
    // One that all keys wait for.
    assert_eq!(offer(&mut schedule, vec![ordered(5, &[])], now), [(5, Admission::After)]);
    schedule.part_before(WebhookId(1), &[], now);
    assert_eq!(parted(&mut schedule), (vec![2], vec![]));
    let page = vec![ordered(5, &[]), ordered(6, &[10])];
    let stored = [(5, Admission::Stored), (6, Admission::Stored)];
    assert_eq!(offer(&mut schedule, page, now), stored);
}

#[test]
fn of_one_page_nobody_overtakes() {
    let now = Instant::now();
    let schedule = in_order(vec![route(1)], now);
    let mut bodiless = ordered(2, &[7]);
    bodiless.event.body = None;
    let mut so_far = Page::default();
    let mut admit = |it: &Ordered| schedule.admit(it, &mut so_far, now);
    assert_eq!(admit(&ordered(1, &[7])), Admission::Straight);
    assert_eq!(admit(&bodiless), Admission::After);
}

#[test]
fn what_is_not_sent_leaves_with_all_of_its_webhook() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    stand(&mut schedule, vec![ordered(1, &[7]), ordered(2, &[7]), ordered(3, &[8])], now);
    let paused = Route { sending: false, ordered: true, ..route(1) };
    assert!(schedule.set_routes(vec![paused], &Shelves, || now).is_empty());
    let (mut lined, free) = parted(&mut schedule);
    lined.sort_unstable();
    assert_eq!(lined, [1, 2, 3]);
    assert!(free.iter().all(|id| [1, 3].contains(id)), "they were in the queue");
    assert!(schedule.is_empty());
    assert_eq!(offer(&mut schedule, vec![ordered(4, &[9])], now), [(4, Admission::Stored)]);
}

#[test]
fn one_that_is_cancelled_in_line_goes_to_the_backlog_with_its_line() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    stand(&mut schedule, vec![ordered(1, &[7]), ordered(2, &[7]), ordered(3, &[8])], now);
    handed_over(&mut schedule);
    assert!(schedule.withdraw(DeliveryId(2), Xid8(7), now).is_empty());
    assert_eq!(parted(&mut schedule), (vec![1, 2], vec![]));
    assert!(schedule.has(DeliveryId(1)) && !schedule.has(DeliveryId(2)));
    let (settlement, _) =
        judge(&mut schedule, outcome(1, 1, Some(200)), at(now)).expect("it was sent");
    assert!(settlement.origin.is_pending());
}

#[test]
fn that_a_webhook_has_an_order_is_learnt_by_its_events() {
    let now = Instant::now();
    let mut schedule = schedule(vec![route(1)], now);
    assert_eq!(offer(&mut schedule, vec![ordered(1, &[7])], now), [(1, Admission::Unknown)]);
    schedule.learn_order(WebhookId(1));
    assert_eq!(offer(&mut schedule, vec![ordered(1, &[7])], now), [(1, Admission::Straight)]);
    let of_another = || Ordered { event: event(2, 2), keys: vec![7], is_behind: false };
    assert_eq!(offer(&mut schedule, vec![of_another()], now), [(2, Admission::Unknown)]);
    schedule.learn_order(WebhookId(2));
    assert_eq!(offer(&mut schedule, vec![of_another()], now), [(2, Admission::Stored)], "deleted");
}

#[test]
fn a_full_line_is_waited_for_a_moment() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    let mut id = 0;
    let mut next = || {
        id += 1;
        ordered(id, &[7])
    };
    let page: Vec<Ordered> = (0..4_096).map(|_| next()).collect();
    stand(&mut schedule, page, now);
    stand(&mut schedule, vec![next()], now);
    assert!(schedule.has_room(), "others are read for");
    let more = next();
    assert_eq!(schedule.admit(&more, &mut Page::default(), now), Admission::Crowded);
    schedule.wait_for_room(WebhookId(1), now);
    // Nothing has moved since.
    let later = now + Duration::from_millis(300);
    schedule.wait_for_room(WebhookId(1), later);
    assert_eq!(schedule.admit(&more, &mut Page::default(), later), Admission::After);
    schedule.part_before(WebhookId(1), &[7], later);
    assert_eq!(parted(&mut schedule).0.len(), 4_097);
    assert_eq!(schedule.admit(&more, &mut Page::default(), later), Admission::Stored);
}

#[test]
fn those_behind_a_claimed_one_come_along() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    schedule.comes_due(WebhookId(1), NOW);
    let claim = schedule.claims(now, NOW).remove(0);
    claimed(&mut schedule, &claim, vec![waiting(1, 1), waiting(5, 1)], now);
    let heads = schedule.take_heads();
    assert_eq!(heads.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(schedule.followers(WebhookId(1), 1), MOST_FOLLOWERS);
    let followers = [2, 3].map(|id| waiting(id, 1).1);
    schedule.follow(DeliveryId(1), 7, followers.into());
    assert_eq!(handed_over(&mut schedule), [1, 5]);
    deliver(&mut schedule, 1, now);
    assert_eq!(handed_over(&mut schedule), [2]);
    // What was in memory is claimed for nothing: that its end is written may take until then.
    let (settlement, _) =
        judge(&mut schedule, outcome(5, 1, Some(200)), at(now)).expect("it was sent");
    schedule.comes_due(WebhookId(1), NOW);
    claimed(&mut schedule, &claim, vec![waiting(5, 1)], now);
    assert!(schedule.take_heads().is_empty());
    schedule.settled(&settlement);
    // New ones are behind what the backlog has, of which it knows.
    let (settlement, _) =
        judge(&mut schedule, outcome(2, 1, Some(500)), at(now)).expect("it was sent");
    assert!(settlement.origin.is_pending());
    assert_eq!(parted(&mut schedule), (vec![], vec![3]));
    assert!(!schedule.has(DeliveryId(3)));
}

#[test]
fn at_the_end_what_is_under_way_alone_has_a_place() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    let page = vec![ordered(1, &[7]), ordered(2, &[7]), ordered(3, &[8]), ordered(4, &[8])];
    stand(&mut schedule, page, now);
    // A thread has taken the first.
    let taken = handed_over(&mut schedule);
    assert_eq!(taken, [1, 3]);
    schedule.abandon(now);
    assert!(!schedule.has_parted());
    assert_eq!(schedule.len(), 2);
    judge(&mut schedule, outcome(1, 1, Some(500)), at(now)).expect("it was sent");
    assert_eq!(parted(&mut schedule), (vec![1], vec![]));
    deliver(&mut schedule, 3, now);
    assert!(!schedule.has_parted());
}

#[test]
fn a_full_line_that_moves_is_waited_for() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    stand(&mut schedule, (0..3_800).map(|id| ordered(id, &[id % 1_900])).collect(), now);
    stand(&mut schedule, (5_000..7_196).map(|id| ordered(id, &[id % 1_900])).collect(), now);
    let more = ordered(9_000, &[7]);
    schedule.wait_for_room(WebhookId(1), now);
    assert_eq!(schedule.admit(&more, &mut Page::default(), now), Admission::Crowded);
    handed_over(&mut schedule);
    (0..1_100).for_each(|id| deliver(&mut schedule, id, now));
    // As many more come.
    stand(&mut schedule, (10_000..11_100).map(|id| ordered(id, &[id % 1_900])).collect(), now);
    let later = now + Duration::from_millis(250);
    schedule.wait_for_room(WebhookId(1), later);
    assert_eq!(schedule.admit(&more, &mut Page::default(), later), Admission::Crowded);
    let still = later + Duration::from_millis(250);
    schedule.wait_for_room(WebhookId(1), still);
    assert_eq!(schedule.admit(&more, &mut Page::default(), still), Admission::After);
}

#[test]
fn a_full_queue_is_waited_for_where_keys_are_many() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    stand(&mut schedule, (0..2_000).map(|id| ordered(id, &[id])).collect(), now);
    assert!(!schedule.has_room_in_order());
    handed_over(&mut schedule);
    deliver(&mut schedule, 0, now);
    assert!(schedule.has_room_in_order());
}

#[test]
fn large_bodies_stand_in_short_lines() {
    let now = Instant::now();
    let mut schedule = in_order(vec![route(1)], now);
    let large = |id| {
        let mut ordered = ordered(id, &[7]);
        ordered.event.body = Some("x".repeat(1024 * 1024));
        ordered
    };
    stand(&mut schedule, (0..4).map(large).collect(), now);
    // The first of them is sent.
    stand(&mut schedule, vec![large(4)], now);
    assert_eq!(schedule.admit(&large(5), &mut Page::default(), now), Admission::Crowded);
    assert!(schedule.has_room(), "for others");
}
