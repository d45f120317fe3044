//! Events that are delivered in order, as they are read: each window's in the order of their ids, whatever the transactions are that wrote
//! them.
//!
//! A window is looked through without bodies, and what has an order is sorted. Where it is more than fits into memory, as many as do are
//! taken, those with the smallest ids, and the window is looked through again for what comes behind these.

use std::collections::{BinaryHeap, VecDeque};

use domain::key::DeliveryId;
use domain::snapshot::Xid8;

/// Events that are sorted at once, of 32 bytes each: 32 MiB. With less, a window of more is looked through more often.
pub const MOST: usize = 1 << 20;

/// An event of the ring, without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Of its row: what it is ordered by.
    pub id: DeliveryId,
    /// Of its row.
    pub xid: Xid8,
    /// Of its row.
    pub slot: i16,
    /// A transform has made it a dead letter.
    pub failed: bool,
    /// Of its body.
    pub bytes: u32,
}

/// What has been found of one window.
#[derive(Debug)]
pub struct Sorting {
    most: usize,
    /// Those with the smallest ids, the largest on top.
    heap: BinaryHeap<Found>,
    /// There were others behind them.
    cut: bool,
    /// Behind the last one that has been taken.
    after: Option<(DeliveryId, Xid8)>,
    sorted: VecDeque<Found>,
}

impl Default for Sorting {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl Sorting {
    fn of(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new(), cut: false, after: None, sorted: VecDeque::new() }
    }

    /// One of the window, unless it has been taken already.
    pub fn add(&mut self, found: Found) {
        if self.after.is_some_and(|after| (found.id, found.xid) <= after) {
            return;
        }
        self.heap.push(found);
        if self.heap.len() > self.most {
            self.heap.pop();
            self.cut = true;
        }
    }

    /// The window has been looked through: what has been found comes in order.
    pub fn sort(&mut self) {
        self.sorted.extend(std::mem::take(&mut self.heap).into_sorted_vec());
        if let Some(last) = self.sorted.back() {
            self.after = Some((last.id, last.xid));
        }
    }

    /// The next `most`, fewer where their bodies are more than `bytes`.
    pub fn page(&self, most: usize, bytes: usize) -> Vec<Found> {
        let mut left = bytes;
        let fits = |found: &&Found| {
            let fits = left > 0;
            left = left.saturating_sub(found.bytes as usize);
            fits
        };
        self.sorted.iter().take(most).take_while(fits).copied().collect()
    }

    /// So many of them are in the backlog.
    pub fn took(&mut self, count: usize) {
        self.sorted.drain(..count.min(self.sorted.len()));
    }

    /// Nothing is sorted that has not been taken.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// All of the window has been taken; otherwise it is to be looked through again. The next window may come.
    pub fn finish(&mut self) -> bool {
        if std::mem::take(&mut self.cut) {
            return false;
        }
        self.after = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: i64, bytes: u32) -> Found {
        Found { id: DeliveryId(id), xid: Xid8(1), slot: 0, failed: false, bytes }
    }

    /// Looks through windows as often as it is asked to, and takes pages of three.
    fn taken(sorting: &mut Sorting, window: &[i64]) -> (Vec<i64>, usize) {
        let (mut taken, mut passes) = (Vec::new(), 0);
        loop {
            window.iter().for_each(|id| sorting.add(found(*id, 1)));
            passes += 1;
            sorting.sort();
            while !sorting.is_empty() {
                let page = sorting.page(3, usize::MAX);
                taken.extend(page.iter().map(|found| found.id.0));
                sorting.took(page.len());
            }
            if sorting.finish() {
                return (taken, passes);
            }
        }
    }

    #[test]
    fn a_window_comes_in_the_order_of_ids() {
        let mut sorting = Sorting::of(10);
        assert_eq!(taken(&mut sorting, &[5, 3, 9, 1]), (vec![1, 3, 5, 9], 1));
        assert_eq!(
            taken(&mut sorting, &[2, 4]),
            (vec![2, 4], 1),
            "those of the next one are smaller"
        );
    }

    #[test]
    fn a_window_that_is_too_large_is_looked_through_again() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let mut window: Vec<i64> = (0..random.i64(0..40)).collect();
            random.shuffle(&mut window);
            let mut sorting = Sorting::of(1 + random.usize(0..12));
            let (got, passes) = taken(&mut sorting, &window);
            assert!(got.is_sorted() && got.len() == window.len());
            assert_eq!(passes, window.len().div_ceil(sorting.most).max(1));
        }
    }

    #[test]
    fn a_page_ends_with_the_body_that_goes_beyond() {
        let mut sorting = Sorting::default();
        [(1, 4), (2, 4), (3, 4), (4, 4)]
            .iter()
            .for_each(|(id, bytes)| sorting.add(found(*id, *bytes)));
        sorting.sort();
        let ids = |page: Vec<Found>| page.iter().map(|found| found.id.0).collect::<Vec<_>>();
        assert_eq!(ids(sorting.page(10, 5)), [1, 2]);
        assert_eq!(ids(sorting.page(3, 100)), [1, 2, 3]);
        sorting.took(3);
        assert_eq!(ids(sorting.page(3, 1)), [4]);
    }
}
