//! Whoever sends, for the leader: the HTTP client as the settings want it, and the threads.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use crate::pg::settings;
use delivery::client::Client;
use delivery::files;
use delivery::lookup::Lookups;
use delivery::pool::{OUTCOMES, Pool};
use delivery::trust::Trust;
use domain::reminder::Reminder;
use transit::moment::Moment;
use transit::schedule::Schedule;
use transit::sending::Outcome;

/// How often certificates are read again while an endpoint's authority is unknown. Reading takes milliseconds; more seldom,
/// and roots that have been installed count late.
const DOUBT: Duration = Duration::from_secs(60);

/// The client and the threads.
pub(super) struct Sender {
    lookups: Lookups,
    client: Client,
    pool: Pool,
    /// When certificates were last read because an authority was unknown.
    trusted: Instant,
    /// Of a file of certificates that cannot be read then.
    unread: Reminder,
    /// The file could not be read when that was last tried.
    lacks_certificates: bool,
}

impl Sender {
    /// As the settings are now.
    ///
    /// # Errors
    ///
    /// The operating system's limit on file descriptors.
    pub(super) fn new(now: Instant) -> io::Result<Self> {
        let lookups = Lookups::default();
        let (client, lacks_certificates) = client(&lookups, None, complain);
        let pool = Pool::new(permits())?;
        let unread = Reminder::default();
        Ok(Self { lookups, client, pool, trusted: now, unread, lacks_certificates })
    }

    /// What makes the queues of endpoints.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Hands over what has been taken.
    pub(super) fn send(&self, schedule: &mut Schedule<Client>, at: Moment) {
        for (queue, parcels) in schedule.take_outbox(at) {
            if let Err(error) = self.pool.send(&queue, parcels) {
                log!("pg_webhook: could not start a thread: {error}; requests wait");
            }
        }
    }

    /// The outcomes that have come in, at most `most` of them.
    pub(super) fn collect(&self, most: usize) -> Vec<Outcome> {
        self.pool.collect(most)
    }

    /// Outcomes have come in that nobody has collected.
    pub(super) fn has_outcomes(&self) -> bool {
        self.pool.uncollected() > 0
    }

    /// So many that the threads will soon wait for them to be collected.
    pub(super) fn has_many_outcomes(&self) -> bool {
        self.pool.uncollected() >= OUTCOMES / 2
    }

    /// Readable when outcomes have come in.
    pub(super) fn wakeup(&self) -> BorrowedFd<'_> {
        self.pool.wakeup()
    }

    /// Something has panicked, and parcels may be left that never have an outcome.
    pub(super) fn is_broken(&self) -> bool {
        self.pool.is_broken()
    }

    /// Whether the file of certificates could not be read when that was last tried.
    pub(super) fn lacks_certificates(&self) -> bool {
        self.lacks_certificates
    }

    /// Threads, and requests under way.
    pub(super) fn load(&self) -> (usize, usize) {
        self.pool.load()
    }

    /// Processors that this process may use.
    pub(super) fn processors(&self) -> usize {
        self.pool.processors()
    }

    /// Settings have changed.
    pub(super) fn reconfigure(&mut self) {
        self.pool.resize(permits());
        let (renewed, lacks) = client(&self.lookups, Some(&self.client), complain);
        self.lacks_certificates = lacks;
        // A new client ends the connections that are kept, and some servers reload their settings each minute.
        if !self.client.does_as(&renewed) {
            self.client = renewed;
        }
    }

    /// Where an authority was unknown, the files may know it by now, as they would for a session's `webhook_test`. Returns
    /// whether the client is another one.
    pub(super) fn renew_trust(&mut self, now: Instant) -> bool {
        if !self.client.trust().is_doubted() || now.duration_since(self.trusted) < DOUBT {
            return false;
        }
        self.trusted = now;
        let (renewed, lacks) = client(&self.lookups, Some(&self.client), |error| {
            if self.unread.fall_due(now) {
                log!("pg_webhook: {error}");
            }
        });
        self.lacks_certificates = lacks;
        let is_another = !self.client.trust().still_is(renewed.trust());
        if is_another {
            self.client = renewed;
        }
        is_another
    }
}

/// How many requests may be in flight.
fn permits() -> usize {
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

/// The HTTP client as the settings want it. A file of certificates that cannot be read changes nothing; returns whether there is one.
fn client(
    lookups: &Lookups,
    before: Option<&Client>,
    complain: impl FnOnce(&str),
) -> (Client, bool) {
    let mut lacks = false;
    let trust = Trust::load(settings::ca_file().as_deref()).unwrap_or_else(|error| {
        complain(&error.to_string());
        lacks = true;
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
    (Client::new(lookups.clone(), settings::address_policy(), trust), lacks)
}
