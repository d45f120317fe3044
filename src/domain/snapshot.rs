//! Which transactions had committed at one moment.

use std::fmt;
use std::str::FromStr;

/// `xid8`: a transaction id that does not wrap around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid8(pub u64);

/// `pg_snapshot`: all below `xmax` had ended, except those in `xip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmin: Xid8,
    xmax: Xid8,
    /// In progress, ascending, from `xmin` on.
    xip: Vec<Xid8>,
}

/// A text that is not a snapshot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a snapshot")]
pub struct NotASnapshot(String);

impl Snapshot {
    /// Of the transactions below `xmax`, `in_progress` had not ended.
    pub fn new(xmax: Xid8, mut in_progress: Vec<Xid8>) -> Self {
        in_progress.retain(|xid| *xid < xmax);
        in_progress.sort_unstable();
        in_progress.dedup();
        Self { xmin: in_progress.first().copied().unwrap_or(xmax), xmax, xip: in_progress }
    }

    /// None from this on had begun.
    pub fn xmax(&self) -> Xid8 {
        self.xmax
    }

    /// The transactions in progress.
    pub fn in_progress(&self) -> &[Xid8] {
        &self.xip
    }

    /// Whether the transaction had ended.
    pub fn sees(&self, xid: Xid8) -> bool {
        xid < self.xmin || xid < self.xmax && self.xip.binary_search(&xid).is_err()
    }

    /// Whether it sees all that `other` does.
    pub fn sees_all_of(&self, other: &Self) -> bool {
        other.xmax <= self.xmax && !self.xip.iter().any(|xid| other.sees(*xid))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin.0, self.xmax.0)?;
        for (index, xid) in self.xip.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", xid.0)?;
        }
        Ok(())
    }
}

impl FromStr for Snapshot {
    type Err = NotASnapshot;

    fn from_str(text: &str) -> Result<Self, NotASnapshot> {
        let number = |text: &str| text.parse().map(Xid8).ok();
        let parse = || {
            let mut parts = text.split(':');
            let (_, xmax, xip) = (parts.next()?, number(parts.next()?)?, parts.next()?);
            let xip = xip.split(',').filter(|part| !part.is_empty()).map(number);
            Some(Self::new(xmax, xip.collect::<Option<_>>()?))
        };
        parse().ok_or_else(|| NotASnapshot(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["10:20:10,14,15", "20:20:", "1:2:1"] {
            assert_eq!(text.parse::<Snapshot>().unwrap().to_string(), text);
        }
        for bad in ["", "1:2", "a:b:c", "1:2:x"] {
            assert!(bad.parse::<Snapshot>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sees_all_of_an_earlier_one() {
        let snapshot = |text: &str| text.parse::<Snapshot>().unwrap();
        let earlier = snapshot("10:20:10,14,15");
        assert!(earlier.sees_all_of(&earlier));
        for later in ["21:21:", "14:20:14", "10:30:10,15,25"] {
            assert!(snapshot(later).sees_all_of(&earlier), "{later}");
            assert!(!earlier.sees_all_of(&snapshot(later)), "{later}");
        }
        assert!(!snapshot("12:20:12").sees_all_of(&earlier));
    }

    #[test]
    fn sees_what_had_ended() {
        let snapshot: Snapshot = "10:20:10,14,15".parse().unwrap();
        let seen: Vec<u64> = (8..23).filter(|xid| snapshot.sees(Xid8(*xid))).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 16, 17, 18, 19]);
    }
}
