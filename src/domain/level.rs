//! What a role may do with webhooks.

use std::str::FromStr;

/// A role's level. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Reads the views.
    Viewer,
    /// Makes webhooks and manages those of roles that it is a member of.
    Member,
    /// Manages all webhooks and the levels of roles.
    Admin,
}

/// A word that is not a level.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a level")]
pub struct UnknownLevel(String);

impl Level {
    /// All of them, the lowest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Member, Self::Admin];

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == name)
            .ok_or_else(|| UnknownLevel(name.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_by_their_names() {
        for level in Level::ALL {
            assert_eq!(level.name().parse::<Level>().unwrap(), level);
        }
        for name in ["", "Admin", "admin ", "owner", "superuser"] {
            assert!(name.parse::<Level>().is_err(), "{name:?}");
        }
    }
}
