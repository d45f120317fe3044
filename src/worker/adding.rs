//! When what has come to the stages of the backlog, and left them, is added up: see [`crate::queue::movement`].

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::backlog::Backlog;
use super::obstacle;
use crate::host::txn::{self, TxnError};
use crate::pg::identity::Extension;
use crate::queue::movement;

/// Rows that may have been written. With fewer it is added up more often; with more, whoever asks how
/// many wait reads more rows.
const MANY: usize = 256;

/// It is added up so often at most. More often, and there are more dead rows for autovacuum; less often, and more to be read.
const EVERY: Duration = Duration::from_secs(1);

/// So many times as long as it has taken passes before the next time: where an old snapshot keeps dead rows, each time reads them, and
/// everything else waits for that.
const SPACING: u32 = 100;

/// How long it pauses after an error. What is read is true without it.
const PAUSE: Duration = Duration::from_secs(60);

/// What is known of the work to come.
pub(super) struct Adding {
    rows: usize,
    /// Rows are counted first: somebody may have removed some by hand.
    anew: bool,
    earliest: Instant,
}

impl Adding {
    /// Begins with a count.
    pub(super) fn new(now: Instant) -> Self {
        Self { rows: 0, anew: true, earliest: now }
    }

    /// Many may have been written, nobody knows how many.
    pub(super) fn ask(&mut self) {
        self.note(MANY);
    }

    /// So many more rows may have been written.
    pub(super) fn note(&mut self, rows: usize) {
        self.rows = self.rows.saturating_add(rows);
    }

    /// `None` where nothing is to be done.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        (self.anew || self.rows >= MANY).then(|| self.earliest.saturating_duration_since(now))
    }

    /// Adds it up, if it is time.
    pub(super) fn work(
        &mut self,
        extension: Extension,
        now: Instant,
        backlog: &mut Backlog,
    ) -> Result<(), TxnError> {
        if self.due_in(now) != Some(Duration::ZERO) {
            return Ok(());
        }
        let (began, anew) = (Instant::now(), self.anew);
        let added = txn::tried(c"adds up what waits", extension, |session| {
            // Whoever makes triggers on several tables of ours may have one of them and wait for another.
            let _impatient = backlog.impatient();
            // Rows of the backlog are read, which somebody may have locked.
            if anew && !backlog.lock() {
                return false;
            }
            if anew {
                movement::recount(session);
            }
            movement::fold(session);
            true
        })?;
        self.earliest = Instant::now() + (began.elapsed() * SPACING).max(EVERY);
        match added {
            Ok(true) => (self.rows, self.anew) = (0, false),
            Ok(false) => backlog.keep(None),
            // There is no hurry.
            Err(message) if obstacle::is_lock(&message) => {}
            Err(message) => {
                log!("pg_webhook: what waits is not added up: {message}");
                self.earliest = Instant::now() + PAUSE;
            }
        }
        Ok(())
    }
}
