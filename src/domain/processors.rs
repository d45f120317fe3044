//! How busy the processors are, with whatever it is.

use std::time::{Duration, Instant};

/// For how long one look counts. The machine counts in hundredths of a second: in less time there would be few of them, and in
/// more a load that begins or ends would count late.
const WINDOW: Duration = Duration::from_millis(500);

/// What the processors of a machine have done since it started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    /// By the first line of `/proc/stat`, as proc(5) describes it.
    pub fn parse(stat: &str) -> Option<Self> {
        let (name, counts) = stat.lines().next()?.split_once(char::is_whitespace)?;
        let counts: Vec<u64> = counts.split_whitespace().map_while(|n| n.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in the first ones
        let counts = counts.get(..8).filter(|_| name == "cpu")?;
        Some(Self { idle: counts[3].saturating_add(counts[4]), all: counts.iter().sum() })
    }
}

/// The processors, looked at now and then.
#[derive(Debug, Default)]
pub struct Processors {
    seen: Option<(Instant, Ticks)>,
    busy: Option<f64>,
}

impl Processors {
    /// The part of them that has been busy lately, from 0 to 1; all, where nothing is known. `look` is asked rarely.
    pub fn busy(&mut self, now: Instant, look: impl FnOnce() -> Option<Ticks>) -> f64 {
        let since = self.seen.map(|(at, _)| now.saturating_duration_since(at));
        if since.is_none_or(|since| since >= WINDOW)
            && let Some(ticks) = look()
            && let Some((_, before)) = self.seen.replace((now, ticks))
        {
            let all = ticks.all.saturating_sub(before.all);
            let idle = ticks.idle.saturating_sub(before.idle).min(all);
            self.busy = (all > 0).then(|| (all - idle) as f64 / all as f64);
        }
        self.busy.unwrap_or(1.0)
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
        let stat = "cpu  10 20 30 400 50 6 7 8 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 12 3\n";
        assert_eq!(Ticks::parse(stat), ticks(450, 531));
        for other in ["", "cpu", "cpu 1 2 3", "cpu  a b c d e f g h", "page 1 2 3 4 5 6 7 8"] {
            assert_eq!(Ticks::parse(other), None, "{other}");
        }
    }

    #[test]
    fn is_what_has_passed_between_two_looks() {
        let (mut processors, began) = (Processors::default(), Instant::now());
        let at = |millis| began + Duration::from_millis(millis);
        assert_eq!(processors.busy(at(0), || ticks(1000, 2000)), 1.0, "nothing is known");
        assert_eq!(processors.busy(at(100), || unreachable!()), 1.0);
        assert_eq!(processors.busy(at(500), || ticks(1075, 2100)), 0.25);
        assert_eq!(processors.busy(at(900), || unreachable!()), 0.25);
        assert_eq!(processors.busy(at(1000), || None), 0.25, "as it was");
        assert_eq!(processors.busy(at(1100), || ticks(1075, 2300)), 1.0);
        assert_eq!(processors.busy(at(1600), || ticks(2000, 2300)), 1.0, "no time has passed");
    }
}
