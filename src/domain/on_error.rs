//! What an error of a webhook's transform means.

use std::str::FromStr;

/// What becomes of an event whose transform fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnTransformError {
    /// It is a dead letter.
    #[default]
    Dead,
    /// The statement that it comes from fails.
    Fail,
}

/// A word that is neither.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is no value of on_transform_error")]
pub struct UnknownOnTransformError(String);

impl OnTransformError {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Dead, Self::Fail];

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Fail => "fail",
        }
    }
}

impl FromStr for OnTransformError {
    type Err = UnknownOnTransformError;

    fn from_str(name: &str) -> Result<Self, UnknownOnTransformError> {
        Self::ALL
            .into_iter()
            .find(|value| value.name() == name)
            .ok_or_else(|| UnknownOnTransformError(name.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_by_their_names() {
        for value in OnTransformError::ALL {
            assert_eq!(value.name().parse::<OnTransformError>().unwrap(), value);
        }
        for name in ["", "Dead", "fail ", "ignore"] {
            assert!(name.parse::<OnTransformError>().is_err(), "{name:?}");
        }
    }
}
