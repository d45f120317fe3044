//! How busy the processors are, with whatever it is.

use std::time::{Duration, Instant};

/// For how long one look counts. The machine counts in hundredths of a second: in less time there would be few of them, and in
/// more a load that begins or ends would count late.
const WINDOW: Duration = Duration::from_millis(500);

/// A look that is older says nothing about now.
const OLD: Duration = Duration::from_secs(2);

/// What the processors of a machine have done since it started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    /// By `/proc/stat`, as proc(5) describes it. `None` where the machine has not as many processors as are `ours`, as in a
    /// container: what the others do says nothing.
    pub fn parse(stat: &str, ours: usize) -> Option<Self> {
        let (name, counts) = stat.lines().next()?.split_once(char::is_whitespace)?;
        let counts: Vec<u64> = counts.split_whitespace().map_while(|n| n.parse().ok()).collect();
        let processors = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count();
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in the first ones
        let counts = counts.get(..8).filter(|_| name == "cpu" && processors == ours)?;
        Some(Self { idle: counts[3].saturating_add(counts[4]), all: counts.iter().sum() })
    }
}

/// The processors, looked at now and then.
#[derive(Debug, Default)]
pub struct Processors {
    seen: Option<(Instant, Option<Ticks>)>,
    busy: f64,
}

impl Processors {
    /// The part of them that has been busy lately, from 0 to 1: none until that is known, all where it cannot be. `look` is
    /// asked rarely.
    pub fn busy(&mut self, now: Instant, look: impl FnOnce() -> Option<Ticks>) -> f64 {
        let age = self.seen.map(|(at, _)| now.saturating_duration_since(at));
        if age.is_none_or(|age| age >= WINDOW) {
            let ticks = look();
            let before = self.seen.replace((now, ticks)).and_then(|(_, before)| before);
            self.busy = match (ticks, before.filter(|_| age.is_some_and(|age| age < OLD))) {
                (None, _) => 1.0,
                (Some(_), None) => 0.0,
                (Some(ticks), Some(before)) => ticks.busy_since(before).unwrap_or(self.busy),
            };
        }
        self.busy
    }
}

impl Ticks {
    /// `None` where no time has passed.
    fn busy_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let idle = self.idle.saturating_sub(before.idle).min(all);
        Some((all - idle) as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ticks(idle: u64, all: u64) -> Option<Ticks> {
        Some(Ticks { idle, all })
    }

    #[test]
    fn reads_what_linux_writes() {
        let stat =
            "cpu  10 20 30 400 50 6 7 8 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\ncpu1 1 2 3 4\nintr 12 3\n";
        assert_eq!(Ticks::parse(stat, 2), ticks(450, 531));
        assert_eq!(Ticks::parse(stat, 1), None, "one is another's");
        for other in ["", "cpu", "cpu 1 2 3", "cpu  a b c d e f g h", "page 1 2 3 4 5 6 7 8"] {
            assert_eq!(Ticks::parse(other, 0), None, "{other}");
        }
    }

    #[test]
    fn is_what_has_passed_between_two_looks() {
        let (mut processors, began) = (Processors::default(), Instant::now());
        let at = |millis| began + Duration::from_millis(millis);
        assert_eq!(processors.busy(at(0), || ticks(1000, 2000)), 0.0, "not known yet");
        assert_eq!(processors.busy(at(100), || unreachable!()), 0.0);
        assert_eq!(processors.busy(at(500), || ticks(1075, 2100)), 0.25);
        assert_eq!(processors.busy(at(900), || unreachable!()), 0.25);
        assert_eq!(processors.busy(at(1000), || ticks(1075, 2100)), 0.25, "as it was");
        assert_eq!(processors.busy(at(1500), || ticks(1075, 2300)), 1.0);
        assert_eq!(processors.busy(at(9000), || ticks(1100, 9999)), 0.0, "that was long ago");
        assert_eq!(processors.busy(at(9500), || None), 1.0, "it cannot be known");
        assert_eq!(processors.busy(at(9600), || unreachable!()), 1.0);
    }
}
