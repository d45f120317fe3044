//! The leader: the one process of a database that reads the queue, and its loop.
//!
//! A turn collects what the threads have brought, writes it down ([`super::flush`]), looks for what is
//! to be sent ([`super::look`]), and waits. Turns are some milliseconds apart while there is work, so that
//! batches form by themselves, and a first event after idleness is taken up at once.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::backlog::Backlog;
use super::bounds::Walking;
use super::look::Cancelled;
use super::removing::Removing;
use super::turning::Turning;
use super::unlogged::Unlogged;
use super::{Exit, obstacle};
use crate::log::attempt::Log;
use crate::log::retention::Turn;
use crate::pg::board::Entry;
use crate::pg::identity::Extension;
use crate::pg::state::{Leave, State};
use crate::pg::txn::{self, TxnError};
use crate::pg::{interrupt, settings};
use crate::queue::cursor::{self, Start};
use crate::queue::installation::Installation;
use crate::registry::{self, owner};
use delivery::client::Client;
use delivery::files;
use delivery::lookup::Lookups;
use delivery::pool::Pool;
use delivery::trust::Trust;
use domain::clock::Clock;
use domain::flow::Flow;
use domain::processors::Processors;
use domain::reminder::Reminder;
use domain::snapshot::Snapshot;
use domain::timeline::Timeline;
use transit::event::{Settlement, Spill};
use transit::schedule::Schedule;
use transit::window::Windows;

/// How often certificates are read again while an endpoint's authority is unknown. Reading takes milliseconds; more seldom,
/// and roots that have been installed count late.
const DOUBT: Duration = Duration::from_secs(60);

/// After an error: doubled each time up to the longest.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The longest where the worker is leaving, which it has some seconds for: longer, and others wait for its place for longer.
const PAUSE_IN_LEAVING: Duration = Duration::from_secs(1);

/// After an error that is not likely to pass, and holds nothing up.
const MISHAP: Duration = Duration::from_secs(60);

/// What a run begins with.
pub(super) struct Begun {
    pub(super) installation: Installation,
    /// Webhooks of another installation, or of this one in a copy.
    pub(super) unarmed: i64,
    pub(super) start: Start,
    pub(super) clock: Clock,
    /// The slot that attempts are logged to.
    pub(super) slot: i16,
    pub(super) log: Log,
    pub(super) backlog: Backlog,
}

/// The leader of one database.
pub(super) struct Leader {
    pub(super) extension: Extension,
    pub(super) entry: &'static Entry,
    pub(super) installation: Installation,
    /// This database is not that installation any more, or is no copy of it any more.
    pub(super) displaced: bool,
    /// Webhooks of another installation, or of this one in a copy, which send nothing.
    pub(super) unarmed: i64,
    /// The extension has another version by now.
    pub(super) updated: bool,
    reminder: Reminder,
    pub(super) clock: Clock,
    pub(super) timeline: Timeline,
    pub(super) lookups: Lookups,
    /// When certificates were last read because an authority was unknown.
    trusted: Instant,
    /// Of a file of certificates that cannot be read then.
    unread: Reminder,
    pub(super) client: Client,
    pub(super) pool: Pool,
    pub(super) schedule: Schedule<Client>,
    pub(super) windows: Windows,
    pub(super) unlogged: Unlogged,
    /// Everything that this sees was on disk when the run began.
    pub(super) begun: Snapshot,
    /// Attempts that are not in the database yet.
    pub(super) settlements: Vec<Settlement>,
    /// Events of the ring that are not in the slow lane yet.
    pub(super) spills: Vec<Spill>,
    /// Events of the ring whose ids other deliveries have.
    pub(super) doubled: Vec<Spill>,
    /// Since when any of these has waited.
    pub(super) unwritten_since: Option<Instant>,
    /// The cursor to write, once it is time.
    pub(super) cursor: Option<Snapshot>,
    /// Events have been read or settled since the cursor was written.
    pub(super) progressed: bool,
    pub(super) cursor_written: Instant,
    /// When it was last written down that the worker is there, or was no need to; `None`: it is to be.
    pub(super) marked: Option<Instant>,
    /// The slot that attempts are logged to.
    pub(super) slot: i16,
    pub(super) log: Log,
    turning: Turning,
    /// Although nothing is sent, events of the ring go to the slow lane, so that it can turn.
    pub(super) draining: bool,
    /// When to take away what webhooks have left that ended with their owners, if there may be any.
    pub(super) untidy: Option<Instant>,
    pub(super) began: Instant,
    /// It has been written down that this run goes well.
    pub(super) calm: bool,
    /// The event that is written down as under way alone.
    pub(super) suspect: Option<i64>,
    /// How many have been.
    pub(super) declared: usize,
    pub(super) polled: Instant,
    pub(super) looked: Instant,
    /// How long to let events gather after that.
    pub(super) delay: Duration,
    pub(super) processors: Processors,
    pub(super) cancelled: Cancelled,
    pub(super) removing: Removing,
    pub(super) walking: Walking,
    pub(super) backlog: Backlog,
    /// Events and their transactions, as they are read.
    pub(super) events: Flow,
    pub(super) transactions: Flow,
    /// Somebody has woken this run, or its start did, and no look has succeeded since: there may be events that only a
    /// look finds, and nobody wakes for them again.
    pub(super) behind: bool,
    pub(super) errors: u32,
    /// Since when it has been making its place free although it had work.
    pub(super) leaving: Option<Instant>,
}

impl Leader {
    /// Begins where an earlier run has ended.
    ///
    /// # Errors
    ///
    /// The operating system's limit on file descriptors.
    pub(super) fn new(
        extension: Extension,
        entry: &'static Entry,
        begun: Begun,
    ) -> Result<Self, Exit> {
        let Begun { installation, unarmed, start, clock, slot, log, backlog } = begun;
        let lookups = Lookups::default();
        let client = client(&lookups, None, complain);
        let pool = Pool::new(in_flight()).map_err(|error| {
            log!("pg_webhook: {error}");
            Exit::Failed
        })?;
        let mut schedule = Schedule::default();
        schedule.set_single(start.cautious);
        let now = Instant::now();
        let walking = Walking::new(now, start.place, clock.read(now).time());
        entry.set_state(standing(installation.is_here, unarmed));
        entry.set_error("");
        Ok(Self {
            extension,
            entry,
            installation,
            displaced: false,
            unarmed,
            updated: false,
            reminder: Reminder::default(),
            clock,
            timeline: start.timeline,
            lookups,
            trusted: now,
            unread: Reminder::default(),
            client,
            pool,
            schedule,
            windows: Windows::new(start.settled),
            unlogged: Unlogged::default(),
            begun: start.begun,
            settlements: Vec::new(),
            spills: Vec::new(),
            doubled: Vec::new(),
            unwritten_since: None,
            cursor: None,
            progressed: false,
            cursor_written: now,
            marked: Some(now),
            slot,
            log,
            turning: Turning::default(),
            draining: false,
            untidy: Some(now),
            began: now,
            calm: false,
            suspect: None,
            declared: 0,
            polled: now,
            looked: now,
            delay: Duration::ZERO,
            processors: Processors::default(),
            cancelled: Cancelled::Perhaps,
            removing: Removing::new(now),
            walking,
            backlog,
            events: Flow::new(now),
            transactions: Flow::new(now),
            behind: true,
            errors: 0,
            leaving: None,
        })
    }

    /// The loop.
    pub(super) fn lead(&mut self) -> Exit {
        loop {
            let began = Instant::now();
            self.end_if_asked();
            if self.pool.is_broken() {
                return self.start_again("a delivery thread has panicked");
            }
            if self.displaced {
                let exit = self.start_again("this database is armed anew or unarmed");
                // Nothing has gone wrong by that.
                if let Err(TxnError::Failed(message)) = txn::run(self.extension, cursor::calm) {
                    log!("pg_webhook: {message}");
                }
                return exit;
            }
            if self.updated {
                return self.start_again("the extension has another version");
            }
            if let Some(exit) = self.leave() {
                return exit;
            }
            if interrupt::reload_if_asked() {
                self.reconfigure();
            }
            self.renew_trust(began);
            if self.entry.take_changed() {
                registry::set_changed();
                self.delay = Duration::ZERO;
                // Somebody may have imported what waits.
                self.marked = None;
                self.walking.repeat();
            }
            match self.turn(began) {
                Ok(()) => {
                    if std::mem::take(&mut self.errors) > 0 {
                        log!("pg_webhook: working again");
                        self.entry.set_error(self.backlog.said());
                    }
                    self.tell_of_backlog();
                }
                Err(TxnError::ExtensionGone) => {
                    self.entry.set_state(State::Absent);
                    return Exit::Finished;
                }
                Err(TxnError::Ending) => continue,
                Err(TxnError::Failed(message)) => {
                    self.behind = true;
                    self.delay = Duration::ZERO;
                    self.trouble(&message);
                    continue;
                }
            }
            let (threads, in_flight) = self.pool.load();
            self.entry.set_load(threads, in_flight);
            let idle = self.is_idle();
            self.entry.set_idle(idle);
            match self.leaving {
                Some(_) => self.wait_to_leave(),
                None => self.rest(began),
            }
        }
    }

    fn turn(&mut self, now: Instant) -> Result<(), TxnError> {
        self.read_clock();
        self.collect();
        if self.entry.take_cancelled() {
            self.cancelled = Cancelled::Perhaps;
            self.delay = Duration::ZERO;
        }
        if self.leaving.is_none() && now >= self.next_look() {
            let polling = now.duration_since(self.polled) >= settings::poll_interval();
            if polling {
                self.polled = now;
                self.cancelled = Cancelled::Perhaps;
            }
            // Taken in any case: whoever comes later wakes again.
            self.behind |= self.entry.take_wake();
            if self.behind || polling || self.look_is_due() {
                self.look(polling)?;
                self.behind = false;
                self.looked = now;
                self.delay = self.batch_delay(now);
            }
        }
        // After looking, so that what was found does not wait for the disk.
        if self.flush_wait(Instant::now()) == Some(Duration::ZERO) {
            self.flush()?;
        }
        self.mark(now)?;
        self.calm_down(now)?;
        self.retain(now)?;
        if self.untidy.is_some_and(|due| now >= due) {
            self.tidy()?;
        }
        if !self.installation.is_here && self.reminder.is_due(now) {
            let arming = txn::qualified("nothing is sent before webhook_arm()");
            log!("pg_webhook: this database is a copy: {arming}");
        } else if self.unarmed > 0 && self.reminder.is_due(now) {
            let arming = txn::qualified("they send nothing before webhook_arm()");
            let unarmed = self.unarmed;
            log!("pg_webhook: {unarmed} webhooks came with a dump of another database: {arming}");
        }
        self.removing.work(self.extension, now)?;
        let is_due = self.walking.due_in(Instant::now()).is_zero();
        if is_due && self.backlog.again_in(now).is_zero() {
            self.walk()?;
        }
        Ok(())
    }

    /// Sees to a page of what waits in the backlog.
    pub(super) fn walk(&mut self) -> Result<(), TxnError> {
        let (clock, backlog) = (self.time(), &mut self.backlog);
        self.walking.step(self.extension, clock, &self.timeline, &self.schedule, backlog)
    }

    /// Takes away what webhooks have left that ended with their owners; later, where somebody is in the way.
    fn tidy(&mut self) -> Result<(), TxnError> {
        let pause = match txn::tried(self.extension, owner::tidy)? {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(LONGEST_PAUSE),
            Err(message) => {
                log!("pg_webhook: what webhooks without an owner have left stays: {message}");
                Some(MISHAP)
            }
        };
        self.untidy = pause.map(|pause| Instant::now() + pause);
        Ok(())
    }

    /// Turns the ring over when it is time.
    fn retain(&mut self, now: Instant) -> Result<(), TxnError> {
        // What is forgotten with it is in the backlog.
        if !self.backlog.again_in(now).is_zero() {
            return Ok(());
        }
        match self.turning.work(self.extension, now, self.time())? {
            Some(Turn::Turned(slot)) => {
                self.slot = slot;
                self.draining = false;
                // Dead letters may go that the ring has held.
                self.walking.repeat();
            }
            Some(Turn::Blocked) => {
                // The cursor may be further than it has been worth writing.
                self.progressed = true;
                self.behind = true;
                self.draining = !settings::enabled();
            }
            Some(Turn::NotDue) => self.draining = false,
            None => {}
        }
        Ok(())
    }

    /// Where an authority was unknown, the files may know it by now, as they would for a session's `webhook_test`.
    fn renew_trust(&mut self, now: Instant) {
        if !self.client.trust().is_doubted() || now.duration_since(self.trusted) < DOUBT {
            return;
        }
        self.trusted = now;
        let renewed = client(&self.lookups, Some(&self.client), |error| {
            if self.unread.is_due(now) {
                log!("pg_webhook: {error}");
            }
        });
        if !self.client.trust().still_is(renewed.trust()) {
            self.client = renewed;
            registry::set_changed();
            self.entry.wake();
        }
    }

    /// Settings have changed.
    fn reconfigure(&mut self) {
        self.pool.resize(in_flight());
        let renewed = client(&self.lookups, Some(&self.client), complain);
        // Otherwise connections would end, which some servers have a reason for each minute.
        if !self.client.does_as(&renewed) {
            self.client = renewed;
        }
        registry::set_changed();
        self.entry.wake();
        self.delay = Duration::ZERO;
        self.walking.repeat();
    }

    fn trouble(&mut self, message: &str) {
        self.errors = self.errors.saturating_add(1);
        self.entry.set_idle(false);
        let message = obstacle::explained(message);
        if self.errors == 1 {
            log!("pg_webhook: {message}; trying again");
        }
        self.entry.set_error(&message);
        let doublings = (self.errors - 1).min(10);
        let pause = (SHORTEST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE);
        // Who has begun to leave has a time for that, and tries a few times more within it.
        let begun = self.leaving.is_some();
        let pause = if begun { pause.min(PAUSE_IN_LEAVING) } else { pause };
        // Not on the bell: outcomes that cannot be written would ring it without end. Nor on the latch, which commits set.
        interrupt::pause(pause, || match self.entry.leave() {
            Leave::Stay => false,
            Leave::IfIdle | Leave::Soon => !begun,
            Leave::AtOnce => true,
        });
    }

    /// As after a crash, so that an event that is to blame for it is found in the end.
    fn start_again(&mut self, reason: &str) -> Exit {
        log!("pg_webhook: {reason}; starting again");
        self.break_off();
        Exit::Failed
    }
}

/// What a database with so many unarmed webhooks is said to be, or a copy.
pub(super) fn standing(is_here: bool, unarmed: i64) -> State {
    if unarmed > 0 || !is_here { State::Unarmed } else { State::Running }
}

/// How many requests may be in flight.
fn in_flight() -> usize {
    let wanted = settings::max_concurrency();
    let most = files::make_room(wanted);
    if most < wanted {
        log!(
            "pg_webhook: the limit of open files has room for {most} requests at once, not for {wanted}"
        );
    }
    most
}

fn complain(error: &str) {
    log!("pg_webhook: {error}");
}

/// The HTTP client as the settings want it. A file of certificates that cannot be read changes nothing.
fn client(lookups: &Lookups, before: Option<&Client>, complain: impl FnOnce(&str)) -> Client {
    let trust = Trust::load(settings::ca_file().as_deref()).unwrap_or_else(|error| {
        complain(&error.to_string());
        match before {
            Some(client) => client.trust().clone(),
            None => Trust::load(None).expect("without a file nothing can fail"),
        }
    });
    let lacked = before.is_some_and(|client| client.trust().lacks_system_roots());
    if trust.lacks_system_roots() && !lacked {
        log!(
            "pg_webhook: the operating system has no root certificates that the server can read: only certificates in pg_webhook.ca_file are trusted"
        );
    }
    Client::new(lookups.clone(), settings::address_policy(), trust)
}
