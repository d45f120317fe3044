//! The databases that had the extension when the server last ran, in a file in the data directory.
//!
//! It says in which order databases are visited after a start, and nothing else: what it says wrongly, or does not say, costs time.

use std::fs::{self, File};
use std::io::{self, Read, Write};

use pgrx::prelude::*;

/// Relative to the data directory, in which the server's processes run. Base backups take it along; numbers of databases mean the
/// same there.
const FILE: &str = "pg_stat/pg_webhook.databases";
const NEW: &str = "pg_stat/pg_webhook.databases.new";

/// The first line. A file that begins otherwise is none of this version.
const HEAD: &str = "pg_webhook 1";

/// More than that is not read: a line takes eleven bytes at most, and there are at most as many as entries on the board.
const LARGEST: u64 = 64 * 1024;

/// What the file says; nothing where there is none, or a broken one.
pub(super) fn read() -> Vec<pg_sys::Oid> {
    let mut text = String::new();
    let read = File::open(FILE).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    let mut lines = text.lines();
    if read.is_err() || lines.next() != Some(HEAD) {
        return Vec::new();
    }
    lines.map_while(|line| line.parse::<u32>().ok()).map(pg_sys::Oid::from).collect()
}

/// Writes the file anew.
pub(super) fn write(databases: &[pg_sys::Oid]) -> io::Result<()> {
    let lines = databases.iter().map(|oid| u32::from(*oid).to_string());
    let text: Vec<String> = std::iter::once(HEAD.to_owned()).chain(lines).collect();
    let mut file = File::create(NEW)?;
    file.write_all((text.join("\n") + "\n").as_bytes())?;
    file.sync_data()?;
    fs::rename(NEW, FILE)
}
