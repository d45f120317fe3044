//! Where a delivery stands, as users see it.

use std::str::FromStr;

/// The status of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not tried yet.
    Pending,
    /// Tried, and to be tried again.
    Retrying,
    /// The receiver has answered 2xx.
    Delivered,
    /// The retries are used up.
    Dead,
    /// Somebody has cancelled it, or deleted its webhook.
    Cancelled,
}

/// A word that is not a status.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a status")]
pub struct UnknownStatus(String);

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Retrying, Self::Delivered, Self::Dead, Self::Cancelled];

    /// The name in the views.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(name: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.name() == name)
            .ok_or_else(|| UnknownStatus(name.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_its_name() {
        for status in Status::ALL {
            assert_eq!(status.name().parse::<Status>().unwrap(), status);
        }
        for name in ["", "Dead", "failed", "dead "] {
            assert!(name.parse::<Status>().is_err(), "{name:?}");
        }
    }
}
