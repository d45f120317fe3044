//! What a worker is doing, in one byte.

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not running.
    Stopped = 0,
    /// Connected, reading what an earlier run left.
    Starting = 1,
    /// At work.
    Running = 2,
    /// This database does not have the extension.
    Absent = 3,
    /// The extension in the database is of another version than the library.
    VersionMismatch = 4,
    /// The database is a copy that nobody has armed.
    Unarmed = 5,
    /// No background worker slot was free.
    NoSlot = 6,
}

impl State {
    /// As `webhook.worker` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Absent => "absent",
            Self::VersionMismatch => "version mismatch",
            Self::Unarmed => "unarmed",
            Self::NoSlot => "no worker slot",
        }
    }

    /// The state of that number; `Stopped` for one that has no state.
    pub fn from_u8(value: u8) -> Self {
        [
            Self::Stopped,
            Self::Starting,
            Self::Running,
            Self::Absent,
            Self::VersionMismatch,
            Self::Unarmed,
            Self::NoSlot,
        ]
        .into_iter()
        .find(|state| *state as u8 == value)
        .unwrap_or(Self::Stopped)
    }
}
