//! Everything that a user can do wrong, typed. `pg::report` maps each to its SQLSTATE.

use super::batch::UnknownBatchFormat;
use super::event::UnknownEvent;
use super::format::UnknownFormat;
use super::header::HeaderError;
use super::if_exists::UnknownIfExists;
use super::key::DeliveryId;
use super::level::UnknownLevel;
use super::on_error::UnknownOnTransformError;
use super::order::{UnknownOnFailure, UnknownOrdering};
use super::secret::SecretError;
use super::signature::UnknownScheme;
use super::status::UnknownStatus;
use super::url::UrlError;

/// What to do about a condition that does not fit one of the events.
pub const EACH_EVENT: &str = "The condition is evaluated for each event of the list: leave out the event, or watch it \
                              through a webhook of its own.";

/// A request that is refused. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// An argument that has no default was null.
    #[error("{0} must not be null")]
    Null(&'static str),
    /// An argument, or a column of an imported row, outside its limits.
    #[error("{argument} must be between {least} and {most}")]
    OutOfRange {
        /// The argument.
        argument: &'static str,
        /// Its least value, with the unit where it has one.
        least: &'static str,
        /// Its largest value.
        most: &'static str,
    },
    /// It is sent as a header.
    #[error("event_id must be 1 to 200 visible ASCII characters")]
    NotAnEventId,
    /// A text argument.
    #[error("{argument} is longer than {most} bytes")]
    TooLong {
        /// The argument.
        argument: &'static str,
        /// The limit.
        most: usize,
    },
    /// A list argument.
    #[error("{argument} has more than {most} elements")]
    TooManyWords {
        /// The argument.
        argument: &'static str,
        /// The limit.
        most: usize,
    },
    /// A name that a person could not type back.
    #[error("\"{0}\" cannot be the name of a webhook")]
    Name(String),
    /// The owner has a webhook of this name; names are unique for each owner.
    #[error("webhook \"{0}\" already exists")]
    DuplicateName(String),
    /// The transaction keeps to what there was when it began, and does not have it.
    #[error("webhook \"{0}\" was made by another transaction since this one began")]
    MadeSince(String),
    /// Also for webhooks of others: to the caller they do not exist.
    #[error("webhook \"{0}\" does not exist")]
    UnknownWebhook(String),
    /// Several owners, with whose webhooks the caller may do this, have one of this name.
    #[error("webhook name \"{0}\" is ambiguous")]
    AmbiguousWebhook(String),
    /// No such delivery, or not the caller's.
    #[error("delivery {0} does not exist")]
    UnknownDelivery(DeliveryId),
    /// Its body is no longer kept.
    #[error("the payload of delivery {0} is no longer kept")]
    PayloadGone(DeliveryId),
    /// A test is sent by the session that makes it, never by the worker.
    #[error("delivery {0} is a test")]
    ReplayOfTest(DeliveryId),
    /// No such job, or not the caller's.
    #[error("job {0} does not exist")]
    UnknownJob(DeliveryId),
    /// The worker cannot see it yet.
    #[error("job {0} begins when this transaction has committed")]
    JobOfThisTransaction(DeliveryId),
    /// The worker has given it up.
    #[error("job {0} has failed: {1}")]
    JobFailed(DeliveryId, String),
    /// Nobody will come to it.
    #[error("job {0} waits for a worker, and {1}")]
    NoWorker(DeliveryId, &'static str),
    /// Jobs of one role that have not ended.
    #[error("the limit of {0} unfinished jobs is reached")]
    TooManyJobs(i64),
    /// Deliveries that nothing of that kind can be done with.
    #[error("deliveries that are {status} cannot be {done}")]
    StatusUnfit {
        /// Their status.
        status: &'static str,
        /// What was to be done.
        done: &'static str,
    },
    /// The status of deliveries.
    #[error(transparent)]
    Status(#[from] UnknownStatus),
    /// `pg_webhook.max_webhooks`.
    #[error("the limit of {0} webhooks is reached")]
    TooMany(i32),
    /// The endpoint.
    #[error("invalid webhook URL")]
    Url(#[from] UrlError),
    /// The secret.
    #[error("invalid secret")]
    Secret(#[from] SecretError),
    /// The secret that the webhook has, where another signature is chosen and no other secret.
    #[error("the secret of webhook \"{webhook}\" does not fit signature \"{signature}\"")]
    KeptSecret {
        /// The webhook.
        webhook: String,
        /// The signature that was chosen, or that a format has brought.
        signature: &'static str,
        /// The one that it has, which goes with the secret.
        before: &'static str,
        /// Why it does not fit.
        why: SecretError,
    },
    /// All headers of a request, where one signature is asked for: an untyped literal is taken for a text.
    #[error("signature is a JSON object, which no signature is")]
    HeadersAsSignature,
    /// A value of a configuration, or a row of a change, that is of another kind.
    #[error("\"{key}\" must be {kind}")]
    NotOfKind {
        /// Its key.
        key: String,
        /// What it must be.
        kind: &'static str,
    },
    /// A key that a configuration does not have.
    #[error("\"{key}\" is not a key of {of}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        of: &'static str,
        /// Those that there are.
        known: Vec<&'static str>,
    },
    /// Where a secret should be named, something else stands, which can be the secret.
    #[error("\"{0}\" does not name a setting")]
    NotASetting(String),
    /// A secret that is named and not there.
    #[error("the setting that \"{0}\" names is not set")]
    NotSet(String),
    /// A header of which nothing says what it is.
    #[error("header \"{0}\" has no value")]
    NoValue(String),
    /// Two names of a configuration are those of one table.
    #[error("table \"{0}\" is there under another name as well")]
    TableTwice(String),
    /// A rotation to what there is.
    #[error("the webhook has this secret already")]
    SameSecret,
    /// Secrets whose overlaps have not ended.
    #[error("more than {0} secrets of the webhook would sign")]
    TooManySecrets(usize),
    /// A header.
    #[error("invalid headers")]
    Header(#[from] HeaderError),
    /// The signature scheme.
    #[error(transparent)]
    Scheme(#[from] UnknownScheme),
    /// The list of events.
    #[error(transparent)]
    Event(#[from] UnknownEvent),
    /// A word that cannot be the type of an emitted event.
    #[error("\"{0}\" cannot be the type of an emitted event")]
    NotAType(String),
    /// An event has one type.
    #[error("\"{0}\" is a pattern; an event has one type")]
    Pattern(String),
    /// What happens to webhooks themselves is told by types of ours.
    #[error("\"{0}\" is a type of operational events, which nobody else emits")]
    ReservedType(String),
    /// The format.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// A transform that does not exist.
    #[error("function {0} does not exist")]
    NoFunction(String),
    /// A function of another kind.
    #[error("function {0} is not a transform")]
    NotATransform(String),
    /// What an error of a transform means.
    #[error(transparent)]
    OnTransformError(#[from] UnknownOnTransformError),
    /// What is delivered in order.
    #[error(transparent)]
    Ordering(#[from] UnknownOrdering),
    /// What becomes of those behind one that is not delivered.
    #[error(transparent)]
    OnFailure(#[from] UnknownOnFailure),
    /// How batches are put together.
    #[error(transparent)]
    BatchFormat(#[from] UnknownBatchFormat),
    /// What is to become of a webhook that is there.
    #[error(transparent)]
    IfExists(#[from] UnknownIfExists),
    /// Whoever owns the function could put something else into it, which would run with the webhook's owner's rights.
    #[error("function {function} of role {owner} cannot run as role {role}")]
    OthersFunction {
        /// The function.
        function: String,
        /// Its owner.
        owner: String,
        /// The webhook's owner.
        role: String,
    },
    /// It would run in the session of somebody who has not asked for that.
    #[error(
        "the transform does not run in a session of role {0}, whose rights the webhook's owner does not have"
    )]
    NotForEmitter(String),
    /// A dump has ended up with another role.
    #[error(
        "the webhook came with a dump in which it belonged to role {named}, and belongs to role {role} here"
    )]
    Unconfirmed {
        /// The role in the dump.
        named: String,
        /// The role that it belongs to.
        role: String,
    },
    /// The anchor that says which function it is has been changed or dropped.
    #[error("the transform of the webhook has been dropped")]
    TransformGone,
    /// A body that a transform has made.
    #[error("the payload of {bytes} bytes that the transform has made is larger than {most} bytes")]
    TransformedTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// A transform that the webhook's owner may not call.
    #[error("permission denied for function {0}")]
    MayNotCall(String),
    /// Code that would run with the rights of somebody else.
    #[error("permission denied to set the {part} of webhook \"{webhook}\"")]
    MayNotBring {
        /// What was brought.
        part: &'static str,
        /// The webhook.
        webhook: String,
    },
    /// Not the caller's to give, or not to that role.
    #[error("permission denied to give webhook \"{webhook}\" to role {role}")]
    MayNotGive {
        /// The webhook.
        webhook: String,
        /// The other role.
        role: String,
    },
    /// A body that is larger than allowed and cannot be shortened.
    #[error("the payload is larger than {0} bytes")]
    TooLarge(usize),
    /// `webhook_unwatch` is for that.
    #[error("events must name at least one operation of the table")]
    NoOperations,
    /// An empty list.
    #[error("events must name at least one event")]
    NoEvents,
    /// What to watch was said, but not where.
    #[error("{0} needs a table_name")]
    NeedsTable(&'static str),
    /// Two arguments of which one says what the other says.
    #[error("{0} and {1} must not both be given")]
    Together(&'static str, &'static str),
    /// Not one of the settings that have a default.
    #[error("\"{name}\" is not a setting that can be reset")]
    NoDefault {
        /// What was named.
        name: String,
        /// Those that have one.
        known: Vec<&'static str>,
    },
    /// `reset` names what another argument gives.
    #[error("reset names {setting}, and {argument} is given")]
    GivenAndReset {
        /// The setting.
        setting: &'static str,
        /// The argument that gives it.
        argument: &'static str,
    },
    /// `webhook_update` cannot tell which table is meant.
    #[error("webhook \"{0}\" watches {1} tables")]
    WhichTable(String, usize),
    /// The same table twice.
    #[error("webhook \"{webhook}\" already watches table {table}")]
    AlreadyWatched {
        /// The webhook.
        webhook: String,
        /// The table.
        table: String,
    },
    /// A table and a partition of it.
    #[error("webhook \"{webhook}\" already watches table {other}")]
    Overlap {
        /// The webhook.
        webhook: String,
        /// The table that it watches.
        other: String,
        /// The table to be watched.
        table: String,
    },
    /// The webhook does not watch that table.
    #[error("webhook \"{webhook}\" does not watch table {table}")]
    NotWatched {
        /// The webhook.
        webhook: String,
        /// The table.
        table: String,
    },
    /// A relation whose rows cannot be watched.
    #[error("{table} cannot be watched")]
    Unwatchable {
        /// The relation.
        table: String,
        /// What it is.
        reason: &'static str,
    },
    /// Rights on the watched table.
    #[error("permission denied to watch table {table}")]
    MayNotWatch {
        /// The table.
        table: String,
        /// The right that is missing.
        missing: &'static str,
    },
    /// A column that the table does not have.
    #[error("column \"{column}\" of table {table} does not exist")]
    UnknownColumn {
        /// The column.
        column: String,
        /// The table.
        table: String,
    },
    /// A key of a row that is asked about.
    #[error("{argument} has the key \"{key}\", which is no column of table {table}")]
    NoColumnOfRow {
        /// The row.
        argument: &'static str,
        /// The key.
        key: String,
        /// The table.
        table: String,
    },
    /// A column whose value is not there when triggers fire.
    #[error("column \"{column}\" of table {table} is a virtual generated column")]
    VirtualColumn {
        /// The column.
        column: String,
        /// The table.
        table: String,
    },
    /// `columns` without UPDATE.
    #[error("columns narrow UPDATE, which is not among the events")]
    ColumnsWithoutUpdate,
    /// More than one expression, or none.
    #[error("the condition is not a single SQL expression")]
    NotAnExpression,
    /// A condition looks at a row that an operation does not have. In PostgreSQL's words.
    #[error(
        "cannot watch {table} for {operation}: {kind} trigger's WHEN condition cannot reference {values} values"
    )]
    ConditionUnfit {
        /// The table.
        table: String,
        /// The operation.
        operation: &'static str,
        /// The trigger that would be made.
        kind: &'static str,
        /// What the condition looks at.
        values: &'static str,
    },
    /// Conditions are kept as trees, in the triggers.
    #[error("no trigger on {table} has the condition any more")]
    ConditionLost {
        /// The table.
        table: String,
    },
    /// A condition holds for the table that it was made for, and is not taken over to another.
    #[error("the condition is one over rows of {table}")]
    ConditionOfAnother {
        /// The table that it was made for.
        table: String,
    },
    /// Code that ran while a trigger was made has undone it.
    #[error("the trigger for {operation} on {table} was changed while it was made")]
    Disturbed {
        /// The operation.
        operation: &'static str,
        /// The table.
        table: String,
    },
    /// The level.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    /// Only the extension's owner and admins may.
    #[error("permission denied to {0}")]
    MayNotAdminister(&'static str),
    /// `keep` says that the original of a copy is gone, `new` that it is not.
    #[error("keep and new must not both be true")]
    KeepAndNew,
    /// An old snapshot does not show what others have changed meanwhile, which would be left as it is.
    #[error("a database is {0} at isolation level read committed alone")]
    InSnapshot(&'static str),
    /// It came with a dump or a copy of another database.
    #[error("webhook \"{0}\" is unarmed")]
    Unarmed(String),
    /// A number that is no role's.
    #[error("role {0} does not exist")]
    UnknownRole(u32),
    /// A level that the role does not have.
    #[error("role \"{role}\" does not have level {level}")]
    NoLevel {
        /// The role.
        role: String,
        /// The level.
        level: &'static str,
    },
    /// Another transaction changes levels, emitters or privileges, and stays open; how many seconds it was waited for.
    #[error(
        "privileges are being changed by another transaction, which did not end within {0} seconds"
    )]
    PrivilegesInUse(u32),
    /// Another transaction makes what stands for a role as an owner, and stays open.
    #[error(
        "another transaction makes the first webhook of role \"{role}\", and did not end within {seconds} seconds"
    )]
    OwnerInUse {
        /// The role.
        role: String,
        /// How long it was waited for.
        seconds: u32,
    },
    /// A database whose text is not UTF-8.
    #[error("pg_webhook needs a database with encoding UTF8")]
    NotUtf8,
    /// Called by code that runs because somebody has written a row.
    #[error(
        "a transform or a cast can call no function of pg_webhook but those that make an event"
    )]
    ByForeignCode,
    /// A row that is none of those that webhook_backlog_export returns.
    #[error("the row has no column \"{column}\" of type {kind}")]
    NotOfABacklog {
        /// The column.
        column: &'static str,
        /// Its type.
        kind: &'static str,
    },
    /// A table of the extension, which an administrator has changed.
    #[error("table \"{table}\" {how}")]
    Altered {
        /// The table.
        table: String,
        /// What it is now.
        how: &'static str,
    },
    /// As [`Refusal::Altered`], found out by what a statement returns.
    #[error("column \"{column}\" of statement \"{statement}\" is of another type (oid {found})")]
    OtherType {
        /// The column.
        column: &'static str,
        /// The statement.
        statement: &'static str,
        /// Its type, 0 where there is no such column.
        found: u32,
    },
    /// DROP EXTENSION committed while the caller waited for it.
    #[error("extension pg_webhook has been dropped meanwhile")]
    Dropped,
    /// An administrator has renamed it.
    #[error("schema webhook, in which pg_webhook keeps what it has, is not there")]
    NoSchema,
    /// An administrator has given it away without what is in it.
    #[error(
        "schema webhook belongs to role \"{role}\", and the tables of pg_webhook in it to role \"{of_tables}\""
    )]
    SchemaGiven {
        /// Whose the schema is.
        role: String,
        /// Whose the tables are.
        of_tables: String,
    },
    /// The server's random source, without which nothing is secret.
    #[error("the server has no random bytes")]
    NoRandomBytes,
    /// A thread or socket that the system does not give.
    #[error("could not start a request: {0}")]
    NoThread(String),
}

impl Refusal {
    /// A table that was there when it was looked up, and has been dropped since.
    pub fn gone(table: &str) -> Self {
        Self::Unwatchable { table: table.to_owned(), reason: "it does not exist" }
    }
}
