//! The databases that had the extension when the server last ran, in a file in the data directory.
//!
//! It says in which order databases are visited after a start, and nothing else: what it says wrongly, or does not say, costs time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::host::board::{self, Entry};

/// Relative to the data directory, in which the server's processes run. Base backups take it along; numbers of databases mean the
/// same there.
const FILE: &str = "pg_stat/pg_webhook.databases";
const NEW: &str = "pg_stat/pg_webhook.databases.new";

/// The first line. A file that begins otherwise is none of this version.
const HEAD: &str = "pg_webhook 1";

/// More than that is not read: a line takes eleven bytes at most, and there are at most as many as entries on the board.
const LARGEST: u64 = 64 * 1024;

/// The least time between two writings of the file. Databases that come and go by the hundred would write it as often.
const PAUSE: Duration = Duration::from_secs(1);

/// The file.
pub(super) struct Hint {
    /// What it said at the start of the server, each database with its place.
    ranks: HashMap<pg_sys::Oid, usize>,
    /// What it says now.
    written: Vec<pg_sys::Oid>,
    write_again: Instant,
}

impl Hint {
    /// Reads the file; nothing where there is none, or a broken one.
    pub(super) fn read() -> Self {
        let written = read();
        let ranks = written.iter().enumerate().map(|(rank, oid)| (*oid, rank)).collect();
        Self { ranks, written, write_again: Instant::now() }
    }

    /// The place of `database` among those to be visited.
    pub(super) fn rank(&self, database: pg_sys::Oid) -> usize {
        self.ranks.get(&database).copied().unwrap_or(usize::MAX)
    }

    /// Writes down which databases are on the board; of those that are `unknown` before their first visit, it says what it
    /// has said. Returns how long to wait where it is too early for that.
    pub(super) fn update(&mut self, unknown: impl Fn(pg_sys::Oid) -> bool) -> Option<Duration> {
        let mut databases: Vec<pg_sys::Oid> = board::entries().map(Entry::database).collect();
        databases.extend(self.written.iter().filter(|database| unknown(**database)));
        databases.sort_unstable_by_key(|oid| u32::from(*oid));
        databases.dedup();
        if databases == self.written {
            return None;
        }
        let wait = self.write_again.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            return Some(wait);
        }
        self.write_again = Instant::now() + PAUSE;
        if let Err(error) = write(&databases) {
            log!("pg_webhook: the order of databases for the next start is not kept: {error}");
        }
        self.written = databases;
        None
    }
}

fn read() -> Vec<pg_sys::Oid> {
    let mut text = String::new();
    let read = File::open(FILE).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    let mut lines = text.lines();
    if read.is_err() || lines.next() != Some(HEAD) {
        return Vec::new();
    }
    lines.map_while(|line| line.parse::<u32>().ok()).map(pg_sys::Oid::from).collect()
}

fn write(databases: &[pg_sys::Oid]) -> io::Result<()> {
    let lines = databases.iter().map(|oid| u32::from(*oid).to_string());
    let text: Vec<String> = std::iter::once(HEAD.to_owned()).chain(lines).collect();
    let mut file = File::create(NEW)?;
    file.write_all((text.join("\n") + "\n").as_bytes())?;
    // Not flushed to the disk, which the launcher, who has all else to do, would wait for.
    fs::rename(NEW, FILE)
}
