//! What the worker knows of its database: whether it is the one that sends, and the extension as the library has it.

use std::time::Instant;

use pgrx::prelude::*;

use crate::host::state::State;
use crate::host::{arrival, txn};
use crate::pg::identity::Extension;
use crate::pg::spi::Session;
use crate::pg::{settings, snapshot};
use crate::queue::installation::{self, Installation};
use crate::registry::endpoint;
use domain::reminder::Reminder;
use domain::version;

/// A database with the extension.
pub(super) struct Database {
    installation: Installation,
    /// Of the extension, when the run began.
    version: String,
    /// Webhooks of another installation, or of this one in a copy, which send nothing.
    unarmed: i64,
    /// It is not that installation any more, or is no copy of it any more.
    displaced: bool,
    /// Somebody keeps it from sending.
    stopped: bool,
    /// The version that the extension has by now, where it is another one.
    updated: Option<String>,
    reminder: Reminder,
}

impl Database {
    pub(super) fn new(session: &Session, installation: Installation, version: String) -> Self {
        Self {
            installation,
            version,
            unarmed: endpoint::unarmed(session, None),
            displaced: false,
            stopped: installation::is_stopped(session),
            updated: None,
            reminder: Reminder::default(),
        }
    }

    /// The name of the installation.
    pub(super) fn id(&self) -> &str {
        &self.installation.id
    }

    /// It is no copy of the one that sends, or an armed one.
    pub(super) fn is_here(&self) -> bool {
        self.installation.is_here
    }

    /// Armed webhooks send.
    pub(super) fn sends(&self) -> bool {
        self.is_here() && !self.displaced
    }

    /// Neither `pg_webhook.enabled` nor `webhook_stop()` keeps it from sending.
    pub(super) fn is_switched_on(&self) -> bool {
        settings::enabled() && !self.stopped
    }

    /// As sessions see it.
    pub(super) fn state(&self) -> State {
        state(self.is_here(), self.unarmed)
    }

    /// Why this run is over.
    pub(super) fn ends(&self) -> Option<&'static str> {
        if self.displaced {
            Some("this database is armed anew or unarmed")
        } else if self.updated.is_some() {
            Some("the extension has another version")
        } else {
            None
        }
    }

    /// Whether the run ends because the database has been armed or unarmed, by which nothing has gone wrong.
    pub(super) fn is_displaced(&self) -> bool {
        self.displaced
    }

    /// The run ends because ALTER EXTENSION UPDATE has brought a version that this library works with: what is under way is answered
    /// before.
    pub(super) fn is_updated(&self) -> bool {
        self.updated.as_ref().is_some_and(|version| version::misfit(version).is_none())
    }

    /// Looks for what nobody tells.
    pub(super) fn check(&mut self, session: &Session, extension: Extension) {
        self.updated = txn::version(session, extension).filter(|now| *now != self.version);
        if self.is_here() {
            // A session that has not yet read that pg_webhook.server is as it was may have noted one.
            arrival::forget(self.installation.since);
        }
    }

    /// Learns what has been armed and unarmed since. Returns what sessions see now.
    pub(super) fn read(&mut self, session: &Session) -> State {
        self.unarmed = endpoint::unarmed(session, None);
        self.stopped = installation::is_stopped(session);
        // As it is now, which is after definitions: whoever has armed it meanwhile has forgotten what this look still sees.
        let own = &self.installation;
        let found = snapshot::with_latest(|| installation::find(session));
        let is_here = found.as_ref().is_some_and(|found| found.is_here);
        self.displaced =
            found.is_none_or(|found| found.id != own.id || found.is_here != own.is_here);
        state(is_here, self.unarmed)
    }

    /// Says now and then that something is to be armed.
    pub(super) fn remind(&mut self, now: Instant) {
        if !self.is_here() && self.reminder.fall_due(now) {
            let arming = txn::qualified("nothing is sent before webhook_arm()");
            log!("pg_webhook: this database is a copy: {arming}");
        } else if self.unarmed > 0 && self.reminder.fall_due(now) {
            let arming = txn::qualified("they send nothing before webhook_arm()");
            let unarmed = self.unarmed;
            log!("pg_webhook: {unarmed} webhooks came with a dump of another database: {arming}");
        }
    }
}

/// What a database with so many unarmed webhooks is said to be, or a copy.
fn state(is_here: bool, unarmed: i64) -> State {
    if unarmed > 0 || !is_here { State::Unarmed } else { State::Running }
}
