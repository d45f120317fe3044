//! Reading each committed event exactly once.
//!
//! Reading by "id greater than the last one" loses the events of transactions that commit later than
//! others with higher ids. A window is instead the difference of two snapshots: the events whose
//! transactions had ended in the upper one and had not in the lower one. Consecutive windows share a
//! snapshot, so together they hold every event once, whatever the order of commits; a transaction
//! that runs for hours delays nobody and is in the window in which it ends.
//!
//! A window is read in pages. A new one is opened before an older one is read to its end, so that a
//! transaction of a million rows does not hold up those after it. A window is done when it is read and
//! every event taken from it is settled; the cursor moves to the end of the last window before which
//! all are done.

use std::collections::VecDeque;

use domain::key::DeliveryId;
use domain::snapshot::{Snapshot, Xid8};
use domain::time::Timestamp;

/// Late transactions at most this far behind the lower snapshot's end are read in one scan with the new
/// ones; those further behind get a scan each, which costs less than reading what lies between again.
const NEAR: u64 = 64;

/// Windows that are open at once. With more, those that have been read become one with their neighbours; while there are as
/// many that have not, they are read whatever the endpoints take, and no others are opened.
const MOST: usize = 1_000;

/// The window that reaches back to the cursor of an earlier run.
pub const RECOVERY: u64 = 0;

/// One read of the ring: events with xid and id in order, beginning after a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// Of transactions below `below` that `upper` sees and `lower` does not, after this xid and id.
    Range {
        /// Exclusive.
        after: (Xid8, DeliveryId),
        /// Exclusive.
        below: Xid8,
        /// Sees the events.
        upper: Snapshot,
        /// Does not.
        lower: Snapshot,
    },
    /// Of one transaction, after this id.
    Transaction {
        /// The transaction.
        xid: Xid8,
        /// Exclusive.
        after: DeliveryId,
    },
}

/// The windows that are not done, oldest first.
#[derive(Debug)]
pub struct Windows {
    open: VecDeque<Window>,
    /// The upper snapshot of the newest window ever, and when it was as current.
    newest: Snapshot,
    newest_at: Timestamp,
    /// Everything that this sees is settled.
    settled: Snapshot,
    next_number: u64,
    /// It has been seen whether there is anything to read.
    looked: bool,
}

#[derive(Debug)]
struct Window {
    /// The first and the last of those that it has been made of.
    first: u64,
    number: u64,
    lower: Snapshot,
    /// When nothing had committed yet of what is in it.
    since: Timestamp,
    upper: Snapshot,
    scans: VecDeque<Scan>,
    /// What is to be looked through for events that are delivered in order, and from where on: what is before that is in the backlog.
    ordered: VecDeque<Scan>,
    ordered_lower: Snapshot,
    /// A page has been read.
    begun: bool,
    /// One of those in order has.
    begun_ordered: bool,
    outstanding: usize,
}

impl Window {
    fn done(&self) -> bool {
        self.is_read() && self.outstanding == 0
    }

    fn is_read(&self) -> bool {
        self.scans.is_empty() && self.ordered.is_empty()
    }

    /// Only what is delivered in order is to be read of it, and nothing of that has been. That of an earlier run stays what it is: what is
    /// in it may have been handled.
    fn waits_for_order(&self) -> bool {
        let begun = self.begun_ordered || self.first == RECOVERY;
        self.scans.is_empty() && !self.ordered.is_empty() && !begun
    }

    fn next_scan(&self) -> Option<(u64, &Scan)> {
        self.scans.front().map(|scan| (self.number, scan))
    }
}

impl Windows {
    /// Continues where everything that `settled` sees has been settled.
    pub fn new(settled: Snapshot) -> Self {
        let newest = settled.clone();
        let newest_at = Timestamp(i64::MIN);
        Self {
            open: VecDeque::new(),
            newest,
            newest_at,
            settled,
            next_number: RECOVERY,
            looked: false,
        }
    }

    /// Opens a window up to `now`, which is current at this time, unless nothing can be in it. `ordered`: there may be events in it that
    /// are delivered in order.
    pub fn extend(&mut self, now: Snapshot, at: Timestamp, ordered: bool) {
        self.looked = true;
        if now == self.newest {
            self.newest_at = at;
            return;
        }
        if self.is_crowded() {
            return;
        }
        // One that nothing has been read of grows: while none may be read, all polls share one. What is delivered in order of it may be in
        // the backlog; then only what is new is looked through for that.
        let grows = |window: &Window| {
            let in_order = window.ordered.is_empty() || !window.begun_ordered;
            !window.begun && in_order && !window.scans.is_empty() && window.number != RECOVERY
        };
        let grown = self.open.back().is_some_and(grows);
        let mut window = match grown.then(|| self.open.pop_back()).flatten() {
            Some(window) => window,
            None => Window {
                first: self.next_number,
                number: self.next_number,
                lower: self.newest.clone(),
                since: self.newest_at,
                upper: self.newest.clone(),
                scans: VecDeque::new(),
                ordered: VecDeque::new(),
                ordered_lower: self.newest.clone(),
                begun: false,
                begun_ordered: false,
                outstanding: 0,
            },
        };
        if window.begun_ordered {
            window.ordered_lower = window.upper;
            window.begun_ordered = false;
        } else if window.outstanding == 0 {
            // Nobody knows it by another number.
            window.first = self.next_number;
        }
        window.number = self.next_number;
        window.scans = scans(&window.lower, &now);
        window.ordered = if ordered { scans(&window.ordered_lower, &now) } else { VecDeque::new() };
        window.upper = now.clone();
        self.open.push_back(window);
        self.next_number += 1;
        self.newest = now;
        self.newest_at = at;
        if self.open.len() >= MOST {
            self.merge();
        }
    }

    /// So many are not read to their end that no other is opened.
    pub fn is_crowded(&self) -> bool {
        self.open.len() >= MOST
    }

    /// Of two neighbours that are read to their end one remains, and of two of which only what is delivered in order is to be read, which
    /// somebody can keep from the backlog for long.
    fn merge(&mut self) {
        let mut merged: VecDeque<Window> = VecDeque::with_capacity(self.open.len());
        let mut single = false;
        for window in self.open.drain(..) {
            match merged.back_mut() {
                Some(last) if single && last.waits_for_order() && window.waits_for_order() => {
                    last.outstanding += window.outstanding;
                    last.number = window.number;
                    last.ordered = scans(&last.ordered_lower, &window.upper);
                    last.upper = window.upper;
                    single = false;
                }
                Some(last) if single && last.is_read() && window.is_read() => {
                    last.outstanding += window.outstanding;
                    last.number = window.number;
                    last.upper = window.upper;
                    single = false;
                }
                _ => {
                    merged.push_back(window);
                    single = true;
                }
            }
        }
        self.open = merged;
    }

    /// The first page of the newest window, unless it has been read. With the window's number.
    pub fn fresh(&self) -> Option<(u64, &Scan)> {
        self.open.back().filter(|window| !window.begun)?.next_scan()
    }

    /// The next page of the oldest window that is not read to its end.
    pub fn oldest(&self) -> Option<(u64, &Scan)> {
        self.open.iter().find_map(Window::next_scan)
    }

    /// Records a page of window `number`: how many of its events must be settled, and the position of
    /// the last one, `None` where the scan has come to its end.
    pub fn took(&mut self, number: u64, outstanding: usize, last: Option<(Xid8, DeliveryId)>) {
        let Some(window) = self.find(number) else {
            return;
        };
        window.begun = true;
        window.outstanding += outstanding;
        match (last, window.scans.front_mut()) {
            (Some(position), Some(Scan::Range { after, .. })) => *after = position,
            (Some((_, id)), Some(Scan::Transaction { after, .. })) => *after = id,
            (None, _) => drop(window.scans.pop_front()),
            (Some(_), None) => {}
        }
    }

    /// The next page to be looked through for events that are delivered in order. All of a window come before any of the next.
    pub fn ordered(&self) -> Option<(u64, &Scan)> {
        let window = self.open.iter().find(|window| !window.ordered.is_empty())?;
        window.ordered.front().map(|scan| (window.number, scan))
    }

    /// Window `number` has been looked through for these up to `last`, `None` where the scan has come to its end. Returns whether all of
    /// it has been: then [`Self::ordered_done`] or [`Self::repeat_ordered`] comes.
    pub fn looked_through(&mut self, number: u64, last: Option<(Xid8, DeliveryId)>) -> bool {
        let Some(window) = self.find(number) else {
            return false;
        };
        // It does not grow any more.
        window.begun_ordered = true;
        match (last, window.ordered.front_mut()) {
            (Some(position), Some(Scan::Range { after, .. })) => *after = position,
            (Some((_, id)), Some(Scan::Transaction { after, .. })) => *after = id,
            // The last one stays until what has been found is in the backlog.
            (None, _) => {
                let over = window.ordered.len() <= 1;
                if !over {
                    window.ordered.pop_front();
                }
                return over;
            }
            (Some(_), None) => {}
        }
        false
    }

    /// What is delivered in order of window `number` is in the backlog.
    pub fn ordered_done(&mut self, number: u64) {
        if let Some(window) = self.find(number) {
            window.ordered.clear();
        }
    }

    /// So many more events of window `number` must be settled.
    pub fn owe(&mut self, number: u64, outstanding: usize) {
        if let Some(window) = self.find(number) {
            window.outstanding += outstanding;
        }
    }

    /// Window `number` is to be looked through once more.
    pub fn repeat_ordered(&mut self, number: u64) {
        if let Some(window) = self.find(number) {
            window.ordered = scans(&window.ordered_lower, &window.upper);
        }
    }

    /// Whether what is delivered in order of the window that reaches back to an earlier run is not in the backlog yet.
    pub fn recovers_order(&self) -> bool {
        let recovery = |window: &Window| window.first == RECOVERY && !window.ordered.is_empty();
        !self.looked || self.open.front().is_some_and(recovery)
    }

    /// When nothing had committed yet of what is in window `number`.
    pub fn since(&self, number: u64) -> Option<Timestamp> {
        self.open.get(self.index(number)).map(|window| window.since)
    }

    /// One event of window `number` is settled.
    pub fn settled(&mut self, number: u64) {
        if let Some(window) = self.find(number) {
            window.outstanding = window.outstanding.saturating_sub(1);
        }
    }

    /// The snapshot up to which everything is settled, if it has moved since the last call.
    pub fn advance(&mut self) -> Option<&Snapshot> {
        let mut moved = false;
        while self.open.front().is_some_and(Window::done) {
            if let Some(window) = self.open.pop_front() {
                self.settled = window.upper;
                moved = true;
            }
        }
        // Windows that are done behind one that is not count as one.
        let mut done_after = false;
        let mut keep: Vec<bool> = Vec::with_capacity(self.open.len());
        for window in self.open.iter().rev() {
            keep.push(!(window.done() && done_after));
            done_after = window.done();
        }
        keep.reverse();
        let mut kept = keep.into_iter();
        self.open.retain(|_| kept.next().unwrap_or(true));
        moved.then_some(&self.settled)
    }

    /// Whether all that `seen` sees has been read.
    pub fn has_read(&self, seen: &Snapshot) -> bool {
        self.has_read_where(|snapshot| snapshot.sees_all_of(seen))
    }

    /// Whether all that this transaction has written has been read.
    pub fn has_read_of(&self, xid: Xid8) -> bool {
        self.has_read_where(|snapshot| snapshot.sees(xid))
    }

    /// Whether nothing of this is still to be read: all snapshots after which there is anything unread see it.
    fn has_read_where(&self, sees: impl Fn(&Snapshot) -> bool) -> bool {
        let mut unread = self.open.iter().filter(|window| !window.is_read());
        sees(&self.newest) && unread.all(|window| sees(&window.lower))
    }

    /// Whether a window is not read to its end.
    pub fn unread(&self) -> bool {
        self.open.iter().any(|window| !window.scans.is_empty())
    }

    /// The number of the oldest window that is not done, where it has been made of several of the first of them. The first of a
    /// run is not before it has been opened.
    pub fn first(&self) -> Option<u64> {
        let none_yet = (self.next_number == RECOVERY).then_some(RECOVERY);
        self.open.front().map(|window| window.first).or(none_yet)
    }

    /// The number of the newest window: what has been read so far is in none after it. That of the first where there is none yet.
    pub fn newest(&self) -> u64 {
        self.next_number.saturating_sub(1)
    }

    /// All that has been looked at is settled.
    pub fn is_done(&self) -> bool {
        self.open.iter().all(Window::done)
    }

    fn find(&mut self, number: u64) -> Option<&mut Window> {
        let index = self.index(number);
        self.open.get_mut(index)
    }

    /// Where window `number` is, or the one that it has become a part of.
    fn index(&self, number: u64) -> usize {
        self.open.partition_point(|window| window.number < number)
    }
}

fn scans(lower: &Snapshot, upper: &Snapshot) -> VecDeque<Scan> {
    let late = || lower.in_progress().iter().copied().filter(|xid| upper.sees(*xid));
    let near = |xid: &Xid8| xid.0 + NEAR >= lower.xmax().0;
    let from = late().find(near).unwrap_or(lower.xmax());
    let range = Scan::Range {
        // ids begin at 1
        after: (from, DeliveryId::FIRST),
        below: upper.xmax(),
        upper: upper.clone(),
        lower: lower.clone(),
    };
    let far = late()
        .filter(|xid| !near(xid))
        .map(|xid| Scan::Transaction { xid, after: DeliveryId::FIRST });
    let range = (from < upper.xmax()).then_some(range);
    range.into_iter().chain(far).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(7);

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    /// What the ring answers: the first `page` of the events of `scan`, and the position of the last one, where there may be more.
    fn answer(
        scan: &Scan,
        events: &[(u64, i64)],
        page: usize,
    ) -> (Vec<(u64, i64)>, Option<(Xid8, DeliveryId)>) {
        let mut rows: Vec<(u64, i64)> = events
            .iter()
            .copied()
            .filter(|&(xid, id)| match scan {
                Scan::Range { after, below, upper, lower } => {
                    (Xid8(xid), DeliveryId(id)) > *after
                        && Xid8(xid) < *below
                        && upper.sees(Xid8(xid))
                        && !lower.sees(Xid8(xid))
                }
                Scan::Transaction { xid: one, after } => {
                    Xid8(xid) == *one && DeliveryId(id) > *after
                }
            })
            .collect();
        rows.sort_unstable();
        rows.truncate(page);
        let last =
            (rows.len() == page).then(|| rows[page - 1]).map(|(x, i)| (Xid8(x), DeliveryId(i)));
        (rows, last)
    }

    /// Reads every window to its end as the ring would answer: events `(xid, id)` of ended
    /// transactions, in pages of `page`.
    fn read(windows: &mut Windows, events: &[(u64, i64)], page: usize) -> Vec<(u64, i64)> {
        let mut got = Vec::new();
        let mut turn = 0;
        while let Some((number, scan)) =
            windows.fresh().filter(|_| turn % 2 == 0).or_else(|| windows.oldest())
        {
            turn += 1;
            let (rows, last) = answer(scan, events, page);
            windows.took(number, rows.len(), last);
            for _ in &rows {
                windows.settled(number);
            }
            got.extend(rows);
        }
        got
    }

    #[test]
    fn overlapping_transactions_are_read_once_each_in_any_commit_order() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..300 {
            let begun = 1000;
            let mut windows = Windows::new(Snapshot::new(Xid8(begun), vec![]));
            let (mut next, mut id) = (begun, 0);
            let mut running: Vec<(u64, Vec<(u64, i64)>)> = Vec::new();
            let (mut committed, mut expected, mut got) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..400 {
                match random.u8(0..10) {
                    0..4 => {
                        running.push((next, Vec::new()));
                        next += if random.u8(0..50) == 0 { 500 } else { 1 };
                    }
                    4..7 if !running.is_empty() => {
                        id += 1;
                        let at = random.usize(0..running.len());
                        let xid = running[at].0;
                        running[at].1.push((xid, id));
                    }
                    7..9 if !running.is_empty() => {
                        let at = random.usize(0..running.len());
                        let (_, events) = running.swap_remove(at);
                        if random.u8(0..5) > 0 {
                            expected.extend(events.iter().copied());
                            committed.extend(events);
                        }
                    }
                    _ => {
                        let xip = running.iter().map(|(xid, _)| Xid8(*xid)).collect();
                        windows.extend(Snapshot::new(Xid8(next), xip), NOW, false);
                        if random.bool() {
                            got.extend(read(&mut windows, &committed, 1 + round % 7));
                        }
                    }
                }
            }
            expected.extend(running.drain(..).flat_map(|(_, events)| {
                committed.extend(events.iter().copied());
                events
            }));
            windows.extend(Snapshot::new(Xid8(next), vec![]), NOW, false);
            got.extend(read(&mut windows, &committed, 3));
            got.sort_unstable();
            expected.sort_unstable();
            assert_eq!(got, expected, "round {round}");
            assert_eq!(windows.advance(), Some(&Snapshot::new(Xid8(next), vec![])));
            assert!(windows.open.is_empty());
        }
    }

    #[test]
    fn nothing_new_opens_nothing() {
        let mut windows = Windows::new(snapshot("5:9:5"));
        windows.extend(snapshot("5:9:5"), NOW, false);
        assert!(windows.open.is_empty());
        // a transaction ended without an event: one scan that finds nothing, and the cursor moves
        windows.extend(snapshot("9:9:"), NOW, false);
        let (number, _) = windows.fresh().unwrap();
        windows.took(number, 0, None);
        assert_eq!(windows.advance(), Some(&snapshot("9:9:")));
        assert_eq!(windows.advance(), None);
    }

    #[test]
    fn the_cursor_waits_for_the_oldest_and_done_windows_collapse() {
        let mut windows = Windows::new(snapshot("1:1:"));
        for xmax in 2..100 {
            windows.extend(Snapshot::new(Xid8(xmax), vec![]), NOW, false);
            let (number, _) = windows.fresh().unwrap();
            let outstanding = usize::from(xmax == 2 || xmax == 50);
            windows.took(number, outstanding, None);
        }
        assert_eq!(windows.advance(), None);
        assert_eq!(windows.open.len(), 4, "the two open ones, and one done behind each");
        windows.settled(0);
        assert_eq!(windows.advance(), Some(&snapshot("49:49:")));
        windows.settled(48);
        assert_eq!(windows.advance(), Some(&snapshot("99:99:")));
    }

    #[test]
    fn windows_that_may_not_be_read_are_one() {
        let mut windows = Windows::new(snapshot("1:1:"));
        for xmax in 2..100 {
            windows.extend(Snapshot::new(Xid8(xmax), vec![]), NOW, false);
        }
        assert_eq!(windows.open.len(), 2, "what an earlier run has left is for itself");
        let events: Vec<(u64, i64)> = (1..100).map(|xid| (xid, xid as i64)).collect();
        let mut got = read(&mut windows, &events, 7);
        got.sort_unstable();
        assert_eq!(got, events[..98]);
        assert_eq!(windows.advance(), Some(&snapshot("99:99:")));
    }

    #[test]
    fn those_that_may_not_be_read_are_one_whatever_has_an_order_in_them() {
        let mut windows = Windows::new(snapshot("1:1:"));
        let events: Vec<(u64, i64)> = (1..100).map(|xid| (xid, xid as i64)).collect();
        let mut lined_up = Vec::new();
        for xmax in 2..100 {
            windows.extend(Snapshot::new(Xid8(xmax), vec![]), NOW, true);
            let committed = &events[..xmax as usize - 1];
            lined_up.extend(look_through(&mut windows, committed, 3).concat());
            if xmax == 50 {
                // A transform has made one dead, which is written down later.
                windows.owe(windows.newest(), 1);
            }
        }
        assert_eq!(windows.open.len(), 2, "what an earlier run has left is for itself");
        assert_eq!(lined_up, (1..99).collect::<Vec<i64>>(), "each once");
        let mut got = read(&mut windows, &events, 7);
        got.sort_unstable();
        assert_eq!(got, events[..98]);
        assert_eq!(windows.advance().map(|it| it.xmax()), Some(Xid8(2)), "one is owed");
        windows.settled(48);
        assert_eq!(windows.advance(), Some(&snapshot("99:99:")));
    }

    #[test]
    fn there_are_only_so_many_windows() {
        // Each is read and waits for one event.
        let mut windows = Windows::new(snapshot("1:1:"));
        let mut numbers = Vec::new();
        for xmax in 2..10_000 {
            windows.extend(Snapshot::new(Xid8(xmax), vec![]), NOW, false);
            let (number, _) = windows.fresh().unwrap();
            windows.took(number, 1, None);
            numbers.push(number);
            assert!(windows.open.len() < MOST);
            assert_eq!(windows.first(), Some(0), "what is delivered of it is kept in mind");
        }
        numbers.into_iter().for_each(|number| windows.settled(number));
        assert_eq!(windows.advance(), Some(&snapshot("9999:9999:")));
        assert!(windows.open.is_empty());
        // Of each a page is read, and there is more.
        for xmax in 10_000..20_000 {
            windows.extend(Snapshot::new(Xid8(xmax), vec![]), NOW, false);
            if let Some((number, _)) = windows.fresh() {
                windows.took(number, 0, Some((Xid8(xmax - 1), DeliveryId(1))));
            }
        }
        assert!(windows.is_crowded() && windows.open.len() == MOST);
        let (number, _) = windows.oldest().unwrap();
        windows.took(number, 0, None);
        assert!(windows.advance().is_some() && !windows.is_crowded());
        windows.extend(snapshot("30000:30000:"), NOW, false);
        read(&mut windows, &[], 1);
        assert_eq!(windows.advance(), Some(&snapshot("30000:30000:")));
    }

    #[test]
    fn late_transactions_far_behind_are_read_alone() {
        let scans = scans(&snapshot("10:1000:10,20,990,995"), &snapshot("20:1001:20"));
        let range = Scan::Range {
            after: (Xid8(990), DeliveryId::FIRST),
            below: Xid8(1001),
            upper: snapshot("20:1001:20"),
            lower: snapshot("10:1000:10,20,990,995"),
        };
        assert_eq!(scans, [range, Scan::Transaction { xid: Xid8(10), after: DeliveryId::FIRST }]);
    }

    #[test]
    fn a_window_is_since_the_last_look_that_saw_nothing_of_it() {
        let mut windows = Windows::new(snapshot("1:1:"));
        windows.extend(snapshot("2:2:"), Timestamp(10), false);
        assert_eq!(
            windows.since(RECOVERY),
            Some(Timestamp(i64::MIN)),
            "by whom it was seen is not known"
        );
        windows.extend(snapshot("2:2:"), Timestamp(20), false);
        windows.extend(snapshot("3:3:"), Timestamp(30), false);
        windows.extend(snapshot("4:4:"), Timestamp(40), false);
        assert_eq!(windows.since(2), Some(Timestamp(20)), "one that has grown");
    }

    /// Looks through windows for what is delivered in order as the ring would answer, in pages of `page`.
    fn look_through(windows: &mut Windows, events: &[(u64, i64)], page: usize) -> Vec<Vec<i64>> {
        let mut got = Vec::new();
        let mut sorting = crate::order::Sorting::default();
        while let Some((number, scan)) = windows.ordered() {
            let (rows, last) = answer(scan, events, page);
            for (xid, id) in rows {
                let (id, xid) = (DeliveryId(id), Xid8(xid));
                sorting.add(crate::order::Found { id, xid, slot: 0, failed: false, bytes: 0 });
            }
            if windows.looked_through(number, last) {
                sorting.sort();
                let all = sorting.page(usize::MAX, usize::MAX);
                sorting.took(all.len());
                got.push(all.iter().map(|found| found.id.0).collect());
                assert!(sorting.finish());
                windows.ordered_done(number);
            }
        }
        got
    }

    #[test]
    fn what_is_delivered_in_order_comes_window_after_window_and_by_ids_within() {
        let mut windows = Windows::new(snapshot("100:100:"));
        assert!(windows.recovers_order(), "it is not known what there is");
        // 100 was open when 101 committed; 30 before that.
        windows.extend(snapshot("100:102:100"), NOW, true);
        assert!(windows.recovers_order());
        let events = [(101, 9), (101, 7)];
        assert_eq!(look_through(&mut windows, &events, 1), [[7, 9]]);
        assert!(!windows.recovers_order() && !windows.is_done(), "the others are to be read");
        let late = [(101, 9), (101, 7), (100, 8), (103, 3)];
        windows.extend(snapshot("104:104:"), NOW, true);
        assert_eq!(look_through(&mut windows, &late, 2), [[3, 8]], "those that are visible later");
        assert_eq!(windows.ordered(), None);
    }

    #[test]
    fn windows_that_wait_for_the_backlog_become_one() {
        let mut windows = Windows::new(snapshot("1:1:"));
        windows.extend(snapshot("2:2:"), NOW, true);
        windows.took(RECOVERY, 0, None);
        for xmax in 3..4000 {
            windows.extend(Snapshot::new(Xid8(xmax), vec![]), NOW, true);
            let (number, _) = windows.fresh().expect("no window is too many");
            windows.took(number, 0, None);
        }
        assert!(windows.open.len() < MOST);
        let events: Vec<(u64, i64)> = (1..3999).map(|xid| (xid, 5000 - xid as i64)).collect();
        let got = look_through(&mut windows, &events, 100);
        assert_eq!(got.concat().len(), events.len(), "each once");
        assert!(got.iter().all(|window| window.is_sorted()));
        assert!(windows.is_done());
    }
}
