//! Runs the unit tests of the rooms that know no PostgreSQL, and of the part of the queue that is in
//! memory. They are compiled here without pgrx, which also proves that they do not need it.

#![allow(dead_code, missing_docs)]

#[path = "../src/domain/mod.rs"]
mod domain;

#[path = "../src/delivery/mod.rs"]
mod delivery;

#[path = "../src/queue"]
mod queue {
    pub mod event;
    pub mod health;
    pub mod schedule;
    pub mod track;
}
