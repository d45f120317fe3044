//! How long events wait for others while a server is busy.
//!
//! What a delivery costs depends on how many are sent one after the other: in a long batch the processors change less often
//! between those who write, send and receive. So where the processors are busy, and the writers are what keeps them so, batches
//! grow with both. Where processors are idle nothing is gained by it, and where something else keeps them busy a few events
//! would only wait.

use std::time::Duration;

/// Event-writing transactions per second and processor at which a slow server counts as fully busy; a faster one counts as busy
/// as its processors are. Lower, and events wait although there is no need; higher, and a busy server sends in short batches, each
/// of which costs more.
const MANY: f64 = 2000.0;

/// Events after which a batch has grown enough. From 1,000 to 3,600 there was still a gain of 5 %.
const ENOUGH: f64 = 4096.0;

/// How long a batch may grow, where so many transactions and events come in a second and the part `busy` of the processors, from
/// 0 to 1, has something to do: `longest` at full load, and below it that times the smaller of load^5 and busy^8, so that it is
/// hardly anything at half of it; but no longer than [`ENOUGH`] events take to come.
pub fn delay(
    transactions: f64,
    events: f64,
    processors: usize,
    busy: f64,
    longest: Duration,
) -> Duration {
    let load = (transactions / (MANY * processors.max(1) as f64)).clamp(0.0, 1.0);
    let enough = Duration::from_secs_f64(ENOUGH / events.max(1.0));
    longest.mul_f64(load.powi(5).min(busy.clamp(0.0, 1.0).powi(8))).min(enough)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(300);

    fn millis(transactions: f64, events: f64, processors: usize) -> u128 {
        delay(transactions, events, processors, 1.0, LONGEST).as_millis()
    }

    #[test]
    fn the_busier_the_longer() {
        let delays = [0.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0, 4000.0];
        assert_eq!(delays.map(|rate| millis(rate, rate, 2)), [0, 0, 0, 2, 9, 71, 300]);
        assert_eq!(millis(4000.0, 4000.0, 64), 0, "which is little for 64");
    }

    #[test]
    fn where_processors_are_idle_nobody_waits() {
        let millis = |busy| delay(8000.0, 8000.0, 2, busy, LONGEST).as_millis();
        assert_eq!([0.0, 0.3, 0.5, 0.6, 0.8, 0.9, 1.0].map(millis), [0, 0, 1, 5, 50, 129, 300]);
    }

    #[test]
    fn a_batch_is_large_enough_some_time() {
        assert_eq!(millis(40_960.0, 40_960.0, 2), 100);
        assert_eq!(millis(4000.0, 102_400.0, 2), 40, "many events in each transaction");
    }

    #[test]
    fn one_large_transaction_is_no_load() {
        assert_eq!(millis(3.0, 1_000_000.0, 2), 0);
    }

    #[test]
    fn what_the_administrator_allows() {
        assert_eq!(delay(1e9, 1.0, 2, 1.0, Duration::ZERO), Duration::ZERO);
    }
}
