//! How the extension lives in a server: which databases have it, what its processes tell each other, and what is done where a
//! statement of somebody's concerns it.
//!
//! Everybody above calls it. Nothing here knows a webhook's rows or settings. What is in shared memory is numbers, of which a process
//! that dies leaves nothing to clean up; whoever changes something for another process tells it at commit ([`wake`]).

pub mod adoption;
pub mod anchor;
pub mod arrival;
pub mod board;
pub mod hold;
pub mod ids;
pub mod lock;
pub mod quit;
pub mod state;
pub mod subscription;
pub mod txn;
pub mod utility;
pub mod wake;
