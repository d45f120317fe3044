//! The log: what was attempted, how endpoints answer, and how long that is kept.

pub mod attempt;
pub mod retention;
