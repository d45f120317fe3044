//! What a worker is doing, is asked to do and has found, each in one byte.

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
    /// Its place is another database's, and there is nothing to do.
    Resting = 7,
}

/// How a worker is asked to leave. The later one goes before the earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Leave {
    /// Not at all.
    Stay = 0,
    /// If it has nothing to do.
    IfIdle = 1,
    /// When what is under way has ended, but soon.
    Soon = 2,
    /// Whatever is under way.
    AtOnce = 3,
}

impl Leave {
    /// The one of that number.
    pub fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Stay,
            1 => Self::IfIdle,
            2 => Self::Soon,
            _ => Self::AtOnce,
        }
    }
}

/// What a worker has found in a database that is not on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Visit {
    /// No extension.
    Absent = 0,
    /// The extension, and no entry on the board is free.
    Full = 1,
    /// Nothing: somebody keeps everybody from connecting.
    Barred = 2,
}

impl Visit {
    /// The one of that number.
    pub fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Full,
            2 => Self::Barred,
            _ => Self::Absent,
        }
    }
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
            Self::Resting => "resting",
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
            Self::Resting,
        ]
        .into_iter()
        .find(|state| *state as u8 == value)
        .unwrap_or(Self::Stopped)
    }
}
