//! How the addresses of an endpoint have done so far, for the order in which they are called.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::race;

/// Addresses that are remembered as failed: as many as are called.
const MOST: usize = 16;

/// What is known of an endpoint's addresses.
#[derive(Debug, Clone, Default)]
pub struct Standings(Arc<Mutex<Standing>>);

#[derive(Debug, Default)]
struct Standing {
    /// The one that answered last: a dead one before it in the answer of DNS costs its head start once.
    answered: Option<SocketAddr>,
    /// Those that have failed since, the last at the end.
    failed: Vec<SocketAddr>,
}

impl Standings {
    /// `addresses` in the order in which they are called: those that have failed come last.
    pub fn order(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let known = self.lock();
        let mut ordered = race::order(addresses, known.answered);
        ordered.sort_by_key(|address| known.failed.iter().position(|failed| failed == address));
        ordered
    }

    /// A new connection to `address` is on trial until it has answered.
    pub fn try_out(&self, address: SocketAddr) -> Trial {
        Trial { standings: self.clone(), address, answered: false }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // Every update leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One new connection; dropped without an answer, its address has failed.
#[derive(Debug)]
pub struct Trial {
    standings: Standings,
    address: SocketAddr,
    answered: bool,
}

impl Trial {
    /// It has brought the beginning of an answer.
    pub fn answered(mut self) {
        self.answered = true;
        let mut known = self.standings.lock();
        known.answered = Some(self.address);
        known.failed.clear();
        drop(known);
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let mut known = self.standings.lock();
        known.answered.take_if(|address| *address == self.address);
        known.failed.retain(|address| *address != self.address);
        if known.failed.len() == MOST {
            known.failed.remove(0);
        }
        known.failed.push(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_does_not_answer_comes_last() {
        let addresses = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], 443)));
        let [a, b, c] = addresses;
        let standings = Standings::default();
        standings.try_out(b).answered();
        assert_eq!(standings.order(&addresses), [b, a, c]);
        drop(standings.try_out(b));
        assert_eq!(standings.order(&addresses), [a, c, b]);
        drop(standings.try_out(a));
        assert_eq!(standings.order(&addresses), [c, b, a]);
        standings.try_out(c).answered();
        assert_eq!(standings.order(&addresses), [c, a, b]);
    }
}
