//! Network calls that a user waits for, made on another thread so that the session can be cancelled.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::guc::Local;
use crate::pg::memory::{self, ROOM};
use crate::pg::{interrupt, settings, subtransaction};
use delivery::client::Client;
use delivery::lookup::Lookups;
use delivery::resolver::JudgingResolver;
use delivery::thread;
use delivery::trust::Trust;
use delivery::wakeup::Wakeup;
use domain::refusal::Refusal;
use domain::url::EndpointUrl;

/// How long registration waits for a name's addresses.
const LOOKUP: Duration = Duration::from_secs(5);

/// Threads of one session that are at work, those of cancelled calls among them, which go on to the end of their time. Beyond it calls
/// are refused; more hold more memory and connections.
const MOST: usize = 16;

/// Those that are at work.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// One thread looks names up for the whole session, and ends when there has been nothing to do for a while.
static LOOKUPS: LazyLock<Lookups> = LazyLock::new(|| Lookups::with_threads(1));

/// Counts one thread until it is dropped.
struct AtWork;

impl AtWork {
    fn begin() -> Result<Self, Refusal> {
        if AT_WORK.fetch_add(1, Ordering::Relaxed) < MOST {
            return Ok(Self);
        }
        drop(Self);
        Err(Refusal::NoThread("too many requests of this session have not ended".to_owned()))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `work` on a thread of its own and waits for it. Where the session is cancelled meanwhile, the
/// thread ends by itself, at its own deadline.
///
/// # Errors
///
/// The system gives no thread, or it panicked.
pub fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let failed = |error: &dyn std::fmt::Display| Refusal::NoThread(error.to_string());
    // A thread cannot raise an error where it finds no memory.
    memory::ensure(ROOM);
    let at_work = AtWork::begin()?;
    let done = Wakeup::new().map(Arc::new).map_err(|error| failed(&error))?;
    let signal = Arc::clone(&done);
    let thread = thread::spawn("webhook session", move || {
        let _at_work = at_work;
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        signal.wake();
        result
    })
    .map_err(|error| failed(&error))?;
    interrupt::wait_in_session(done.as_fd());
    match thread.join() {
        Ok(Ok(result)) => Ok(result),
        _ => Err(failed(&"the thread panicked")),
    }
}

/// A client with the settings of this session. A file of certificates that cannot be read counts as not set, where a worker keeps
/// those that it had. Its path goes to the server's log only: it is not for every user.
pub fn client() -> Client {
    let trust = Trust::load(settings::ca_file().as_deref()).unwrap_or_else(|error| {
        let code = PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR;
        ErrorReport::new(code, format!("pg_webhook: {error}"), function_name!())
            .report(PgLogLevel::LOG_SERVER_ONLY);
        Trust::load(None).expect("without a file nothing can fail")
    });
    Client::new(LOOKUPS.clone(), settings::address_policy(), trust)
}

/// Looks up the names in new URLs, as [`judge_name`] does, where `pg_webhook.require_resolvable` asks for that, after [`rehearse`].
///
/// # Errors
///
/// Those of either.
pub fn judge_names<'a, R>(
    urls: impl IntoIterator<Item = &'a EndpointUrl>,
    work: impl FnOnce() -> Result<R, Refusal>,
) -> Result<(), Refusal> {
    let mut urls = urls.into_iter().filter(|_| settings::require_resolvable()).peekable();
    if urls.peek().is_none() {
        return Ok(());
    }
    rehearse(work)?;
    urls.try_for_each(judge_name)
}

/// Does what is to be done with URLs, and undoes it, so that whatever else is refused is refused before their names are looked up, and
/// nothing is locked meanwhile, for seconds.
///
/// # Errors
///
/// Those of `work`.
pub fn rehearse<R>(work: impl FnOnce() -> Result<R, Refusal>) -> Result<(), Refusal> {
    subtransaction::undone(|| {
        // What it says it says again when it is done.
        let _quietly = Local::set_alone(c"client_min_messages", c"error");
        work().map(drop)
    })
}

/// Looks up the name in a URL, and judges its addresses, as every attempt will.
///
/// # Errors
///
/// [`Refusal::Url`].
pub fn judge_name(url: &EndpointUrl) -> Result<(), Refusal> {
    let (host, policy) = (url.host().to_owned(), Arc::new(settings::address_policy()));
    let resolver = JudgingResolver::new(LOOKUPS.clone(), policy);
    run(move || resolver.check(&host, LOOKUP))??;
    Ok(())
}
