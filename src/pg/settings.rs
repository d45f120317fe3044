//! The settings `pg_webhook.*`.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::memory;
use domain::address::AddressPolicy;

static ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
static CAPTURE: GucSetting<bool> = GucSetting::<bool>::new(true);
static ALLOW_HTTP: GucSetting<bool> = GucSetting::<bool>::new(false);
static REQUIRE_RESOLVABLE: GucSetting<bool> = GucSetting::<bool>::new(false);
static ALLOWED_NETWORKS: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c""));
static CA_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static MAX_CONCURRENCY: GucSetting<i32> = GucSetting::<i32>::new(100);
static MAX_CONNECTIONS_PER_ENDPOINT: GucSetting<i32> = GucSetting::<i32>::new(100);
static BATCH_DELAY: GucSetting<i32> = GucSetting::<i32>::new(300);
static MAX_WEBHOOKS: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_PAYLOAD_BYTES: GucSetting<i32> = GucSetting::<i32>::new(1024 * 1024);
static POLL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(5);
static LOG_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(7 * 24 * 60 * 60);
/// In megabytes: a week at some 75 events a second with bodies of 420 bytes. With more it is the age that gives way, not the disk.
static LOG_MAX_SIZE: GucSetting<i32> = GucSetting::<i32>::new(32 * 1024);
/// Of one webhook: two weeks at some 75 events a second, which with bodies of 420 bytes are 38 GB. Nobody who is away for that
/// long loses anything; with less, a busy webhook would.
static MAX_BACKLOG: GucSetting<i32> = GucSetting::<i32>::new(100_000_000);
/// In megabytes.
static MAX_BACKLOG_BYTES: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);
/// Twice the longest `retry_for`, so that retries end by that and what is paused has two months.
static MAX_BACKLOG_AGE: GucSetting<i32> = GucSetting::<i32>::new(60 * 24 * 60 * 60);
/// A quarter: whoever looks at dead letters once a month has seen each of them several times.
static DEAD_LETTER_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(90 * 24 * 60 * 60);
/// An hour: several attempts of the usual back-off have failed by then, and of three days in which they are repeated most are left.
/// Shorter, and each endpoint that is away for some minutes is told of; longer, and less time is left to mend it.
static BACKLOG_ALERT_AGE: GucSetting<i32> = GucSetting::<i32>::new(60 * 60);
static SERVER: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static LOG_LEVEL: GucSetting<LogLevel> = GucSetting::<LogLevel>::new(LogLevel::All);

static SESSION_VARIABLES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static CONTEXT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// The most that `max_payload_bytes` can be, in bytes. Rendering a row may make six bytes of one, and PostgreSQL's texts end at
/// 1 GB, which is the least that has to hold all of an event's rows.
const LARGEST_PAYLOAD: i32 = 32 * 1024 * 1024;

/// Which attempts are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum LogLevel {
    /// Each.
    #[name = c"all"]
    All,
    /// Those that did not deliver.
    #[name = c"failures"]
    Failures,
    /// None. The last failure of what waits or is dead is known from its row in the backlog.
    #[name = c"none"]
    None,
}

/// Delivery is on. Off: events are captured and wait.
pub fn enabled() -> bool {
    ENABLED.get()
}

/// This session's changes become events.
pub fn capture() -> bool {
    CAPTURE.get()
}

/// Plain `http` may be used.
pub fn allow_http() -> bool {
    ALLOW_HTTP.get()
}

/// The name in a new URL has to resolve at once.
pub fn require_resolvable() -> bool {
    REQUIRE_RESOLVABLE.get()
}

/// What the administrator allows to connect to.
pub fn address_policy() -> AddressPolicy {
    let list = text(&ALLOWED_NETWORKS);
    // Checked when it was set; a list that cannot be read allows nothing.
    AddressPolicy::parse(&list).unwrap_or_default()
}

/// Certificates to trust beside the operating system's.
pub fn ca_file() -> Option<PathBuf> {
    Some(text(&CA_FILE)).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Requests in flight, per database.
pub fn max_concurrency() -> usize {
    MAX_CONCURRENCY.get().unsigned_abs() as usize
}

/// Requests in flight to one endpoint, whatever its webhook allows.
pub fn max_connections_per_endpoint() -> usize {
    MAX_CONNECTIONS_PER_ENDPOINT.get().unsigned_abs() as usize
}

/// The longest time that events of a busy server wait for others.
pub fn batch_delay() -> Duration {
    Duration::from_millis(BATCH_DELAY.get().unsigned_abs().into())
}

/// Webhooks in this database; `None` for no limit.
pub fn max_webhooks() -> Option<i32> {
    Some(MAX_WEBHOOKS.get()).filter(|most| *most > 0)
}

/// The largest body.
pub fn max_payload_bytes() -> usize {
    MAX_PAYLOAD_BYTES.get().unsigned_abs() as usize
}

/// How often a worker looks for events that nobody has announced.
pub fn poll_interval() -> Duration {
    Duration::from_secs(POLL_INTERVAL.get().unsigned_abs().into())
}

/// How long events and attempts are kept after their end.
pub fn log_retention() -> Duration {
    Duration::from_secs(LOG_RETENTION.get().unsigned_abs().into())
}

/// Bytes that events and attempts may take before they are kept for less than their time.
pub fn log_max_size() -> u64 {
    u64::from(LOG_MAX_SIZE.get().unsigned_abs()) * 1024 * 1024
}

/// Events of a webhook that may wait, and dead letters that it may have.
pub fn max_backlog() -> u64 {
    MAX_BACKLOG.get().unsigned_abs().into()
}

/// Bytes of their bodies, of either.
pub fn max_backlog_bytes() -> u64 {
    u64::from(MAX_BACKLOG_BYTES.get().unsigned_abs()) * 1024 * 1024
}

/// How long they may wait.
pub fn max_backlog_age() -> Duration {
    Duration::from_secs(MAX_BACKLOG_AGE.get().unsigned_abs().into())
}

/// How long dead letters are kept.
pub fn dead_letter_retention() -> Duration {
    Duration::from_secs(DEAD_LETTER_RETENTION.get().unsigned_abs().into())
}

/// How long an event may wait before somebody is told of it; `None` for any time.
pub fn backlog_alert_age() -> Option<Duration> {
    let seconds = BACKLOG_ALERT_AGE.get().unsigned_abs();
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// What this server is called, so that a copy of it is not taken for it.
pub fn server() -> String {
    text(&SERVER)
}

/// Whether it is called that.
pub fn is_server(name: &str) -> bool {
    // SAFETY: main thread; the value is a string or null, and looked at at once.
    let value = unsafe { *SERVER.as_ptr() };
    if value.is_null() {
        return name.is_empty();
    }
    // SAFETY: as above.
    let called = unsafe { CStr::from_ptr(value) };
    // Each row asks, and mostly it is.
    called.to_bytes() == name.as_bytes() || called.to_string_lossy() == name
}

/// Which attempts are logged.
pub fn log_level() -> LogLevel {
    LOG_LEVEL.get()
}

/// Who this session acts for, as JSON.
pub fn session_variables() -> Option<String> {
    copy(&SESSION_VARIABLES)
}

/// What this session wants to have sent along, as a JSON object.
pub fn context() -> Option<String> {
    copy(&CONTEXT)
}

/// A value of any size, unless it is empty.
fn copy(setting: &GucSetting<Option<CString>>) -> Option<String> {
    // SAFETY: main thread; the value is a string or null, and copied at once.
    let value = unsafe { *setting.as_ptr() };
    // SAFETY: as above.
    let text = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })?;
    (!text.is_empty()).then(|| memory::text(text))
}

fn text(setting: &GucSetting<Option<CString>>) -> String {
    setting.get().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Defines all settings; called once per process, from `_PG_init`.
pub fn define() {
    GucRegistry::define_bool_guc(
        c"pg_webhook.enabled",
        c"Sends requests.",
        c"When off, events are captured and wait.",
        &ENABLED,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_webhook.capture",
        c"Turns this session's row changes into events.",
        c"When off, changes of this session are lost to webhooks for good; meant for imports.",
        &CAPTURE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_webhook.allow_http",
        c"Allows webhook URLs without TLS.",
        c"",
        &ALLOW_HTTP,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_webhook.require_resolvable",
        c"Refuses a new webhook URL whose host name does not resolve.",
        c"When off, no name is looked up before the first request. Addresses are judged at each connect in any case.",
        &REQUIRE_RESOLVABLE,
        GucContext::Suset,
        GucFlags::default(),
    );
    // SAFETY: the hook is guarded against panics.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"pg_webhook.allowed_networks",
            c"Networks that requests may go to although they are not public.",
            c"Comma-separated addresses and CIDR networks. Link-local and metadata addresses stay refused.",
            &ALLOWED_NETWORKS,
            GucContext::Sighup,
            GucFlags::SUPERUSER_ONLY,
            Some(check_allowed_networks),
            None,
            None,
        );
    }
    GucRegistry::define_string_guc(
        c"pg_webhook.ca_file",
        c"PEM file of certificates to trust beside those of the operating system.",
        c"",
        &CA_FILE,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.max_concurrency",
        c"Requests in flight at once, per database.",
        c"Each costs memory and a connection while there is work.",
        &MAX_CONCURRENCY,
        1,
        // Two endpoints that take their time, each with all that it may have: such have half of it.
        4000,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.max_connections_per_endpoint",
        c"Requests in flight at once to one endpoint.",
        c"The most that a webhook's max_concurrency counts for.",
        &MAX_CONNECTIONS_PER_ENDPOINT,
        1,
        1000,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.batch_delay",
        c"The longest time that events of a busy server wait to be sent together.",
        c"The more transactions with events commit and the busier the processors are, the longer; long batches leave more of them to those who write.",
        &BATCH_DELAY,
        0,
        1000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.max_webhooks",
        c"Webhooks that a database may have.",
        c"0 is no limit.",
        &MAX_WEBHOOKS,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.max_payload_bytes",
        c"The largest request body.",
        c"An event beyond it carries the row's primary key only, and says so.",
        &MAX_PAYLOAD_BYTES,
        1024,
        LARGEST_PAYLOAD,
        GucContext::Suset,
        GucFlags::UNIT_BYTE,
    );
    // Seconds. A shorter one costs a query each time, a longer one is how late an event can be whose announcement was lost.
    GucRegistry::define_int_guc(
        c"pg_webhook.poll_interval",
        c"How often a worker looks for events that nobody has announced.",
        c"Those of a session that was killed between its commit and its announcement. Longer for tests only.",
        &POLL_INTERVAL,
        1,
        24 * 60 * 60,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.log_retention",
        c"How long events and attempts are kept.",
        c"Events that are not finished are kept beyond it.",
        &LOG_RETENTION,
        60,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.log_max_size",
        c"How large the log may grow before it is cut by an eighth earlier than log_retention says.",
        c"Events that are not finished are kept beyond it.",
        &LOG_MAX_SIZE,
        16,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.max_backlog",
        c"Events of a webhook that may wait, unless it says otherwise.",
        c"Beyond it the oldest become dead letters, and of as many dead letters the oldest end.",
        &MAX_BACKLOG,
        1,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.max_backlog_bytes",
        c"Bytes of bodies of a webhook's events that may wait, unless it says otherwise.",
        c"Beyond it the oldest become dead letters, and of as many bytes of dead letters the oldest end.",
        &MAX_BACKLOG_BYTES,
        1,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.max_backlog_age",
        c"How long events may wait before they become dead letters, unless their webhook says otherwise.",
        c"",
        &MAX_BACKLOG_AGE,
        60,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.dead_letter_retention",
        c"How long dead letters are kept, unless their webhook says otherwise.",
        c"",
        &DEAD_LETTER_RETENTION,
        60,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"pg_webhook.backlog_alert_age",
        c"How long an event of a webhook may wait before an operational event and the server's log tell of it.",
        c"0 tells of none.",
        &BACKLOG_ALERT_AGE,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_string_guc(
        c"pg_webhook.server",
        c"What this server is called. Where it is called otherwise than when it was armed, it sends nothing.",
        c"Meant for a place that no copy of the data directory brings along.",
        &SERVER,
        GucContext::Sighup,
        GucFlags::DISALLOW_IN_AUTO_FILE,
    );
    GucRegistry::define_enum_guc(
        c"pg_webhook.log_level",
        c"Which attempts are logged.",
        c"What is not logged can be repeated after a crash, as far as it was delivered in the last second.",
        &LOG_LEVEL,
        GucContext::Sighup,
        GucFlags::default(),
    );
    // SAFETY: the hooks are guarded against panics.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"pg_webhook.session_variables",
            c"Who this session acts for: JSON, sent as session_variables in format hasura.",
            c"The setting hasura.user goes before it.",
            &SESSION_VARIABLES,
            GucContext::Userset,
            GucFlags::default(),
            Some(check_json),
            None,
            None,
        );
        GucRegistry::define_string_guc_with_hooks(
            c"pg_webhook.context",
            c"A JSON object that is sent along with this session's events.",
            c"",
            &CONTEXT,
            GucContext::Userset,
            GucFlags::default(),
            Some(check_object),
            None,
            None,
        );
    }
    // SAFETY: all settings of the prefix are defined.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"pg_webhook".as_ptr()) };
}

#[pg_guard]
unsafe extern "C-unwind" fn check_allowed_networks(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: what PostgreSQL passes to a check hook.
    unsafe { check(new, |list| AddressPolicy::parse(list).map(drop).map_err(|e| e.to_string())) }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_json(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: what PostgreSQL passes to a check hook.
    unsafe { check(new, |text| json::<IgnoredAny>(text, "JSON")) }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_object(
    new: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: what PostgreSQL passes to a check hook.
    unsafe { check(new, |text| json::<HashMap<String, IgnoredAny>>(text, "a JSON object")) }
}

/// Passes `text` that reads as `T`, which is called `kind`, and the empty one.
fn json<T: for<'a> Deserialize<'a>>(text: &str, kind: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    serde_json::from_str::<T>(text)
        .map(drop)
        .map_err(|error| format!("It must be {kind}: {error}."))
}

/// # Safety
///
/// `new` points to a string, or to null.
unsafe fn check(new: *mut *mut c_char, judge: impl FnOnce(&str) -> Result<(), String>) -> bool {
    // SAFETY: the caller's.
    let value = unsafe { (!(*new).is_null()).then(|| CStr::from_ptr(*new).to_string_lossy()) };
    match judge(value.as_deref().unwrap_or_default()) {
        Ok(()) => true,
        Err(error) => {
            // SAFETY: the documented way of a check hook to say why; the string outlives the report.
            unsafe {
                pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE as i32);
                pg_sys::GUC_check_errdetail_string =
                    pg_sys::pstrdup(CString::new(error).unwrap_or_default().as_ptr());
            }
            false
        }
    }
}
