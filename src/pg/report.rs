//! Refusals as PostgreSQL errors: the one table of SQLSTATEs.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::identity;
use domain::batch::BatchFormat;
use domain::event::Operation;
use domain::format::Format;
use domain::if_exists::IfExists;
use domain::level::Level;
use domain::on_error::OnTransformError;
use domain::order::{OnFailure, Ordering};
use domain::refusal::{EACH_EVENT, Refusal};
use domain::secret::SecretError;
use domain::signature::Scheme;
use domain::status::Status;
use domain::url::UrlError;

/// As an error that a function returns.
pub fn of(refusal: Refusal) -> ErrorReport {
    let report = new(sqlstate(&refusal), refusal.to_string());
    let report = match detail(&refusal) {
        Some(detail) => report.set_detail(detail),
        None => report,
    };
    match hint(&refusal) {
        Some(hint) => report.set_hint(hint),
        None => report,
    }
}

/// What `work` comes to, as a function returns it.
pub fn answer<R>(work: impl FnOnce() -> Result<R, Refusal>) -> Result<R, ErrorReport> {
    work().map_err(of)
}

/// Raises it as an error.
pub fn raise(refusal: Refusal) -> ! {
    of(refusal).report(PgLogLevel::ERROR);
    unreachable!()
}

/// A report of this kind, to be completed.
#[track_caller]
pub fn new(code: PgSqlErrorCode, message: String) -> ErrorReport {
    ErrorReport::new(code, message, function_name!())
}

/// The SQLSTATE.
pub fn sqlstate(refusal: &Refusal) -> PgSqlErrorCode {
    use PgSqlErrorCode::*;
    match refusal {
        Refusal::Null(_) => ERRCODE_NULL_VALUE_NOT_ALLOWED,
        Refusal::OutOfRange { .. }
        | Refusal::NotAnEventId
        | Refusal::TooLong { .. }
        | Refusal::TooManyWords { .. }
        | Refusal::Name(_)
        | Refusal::Url(_)
        | Refusal::Secret(_)
        | Refusal::KeptSecret { .. }
        | Refusal::HeadersAsSignature
        | Refusal::SameSecret
        | Refusal::NotOfKind { .. }
        | Refusal::UnknownKey { .. }
        | Refusal::NotASetting(_)
        | Refusal::TableTwice(_)
        | Refusal::Header(_)
        | Refusal::Scheme(_)
        | Refusal::Event(_)
        | Refusal::Format(_)
        | Refusal::OnTransformError(_)
        | Refusal::BatchFormat(_)
        | Refusal::Ordering(_)
        | Refusal::OnFailure(_)
        | Refusal::IfExists(_)
        | Refusal::NotAType(_)
        | Refusal::Pattern(_)
        | Refusal::NoOperations
        | Refusal::Level(_)
        | Refusal::Status(_)
        | Refusal::StatusUnfit { .. }
        | Refusal::NoEvents
        | Refusal::KeepAndNew
        | Refusal::NeedsTable(_)
        | Refusal::WhichTable(..)
        | Refusal::Together(..)
        | Refusal::NoDefault { .. }
        | Refusal::GivenAndReset { .. }
        | Refusal::ColumnsWithoutUpdate => ERRCODE_INVALID_PARAMETER_VALUE,
        Refusal::NotAnExpression => ERRCODE_SYNTAX_ERROR,
        Refusal::ReservedType(_) => ERRCODE_RESERVED_NAME,
        Refusal::NoFunction(_) | Refusal::TransformGone => ERRCODE_UNDEFINED_FUNCTION,
        Refusal::NotATransform(_) => ERRCODE_INVALID_FUNCTION_DEFINITION,
        Refusal::TooLarge(_) | Refusal::TransformedTooLarge { .. } | Refusal::TooManySecrets(_) => {
            ERRCODE_PROGRAM_LIMIT_EXCEEDED
        }
        Refusal::DuplicateName(_) | Refusal::AlreadyWatched { .. } | Refusal::Overlap { .. } => {
            ERRCODE_DUPLICATE_OBJECT
        }
        Refusal::MadeSince(_) => ERRCODE_T_R_SERIALIZATION_FAILURE,
        Refusal::AmbiguousWebhook(_) => ERRCODE_AMBIGUOUS_FUNCTION,
        Refusal::UnknownWebhook(_)
        | Refusal::UnknownDelivery(_)
        | Refusal::NotSet(_)
        | Refusal::NoValue(_)
        | Refusal::UnknownJob(_)
        | Refusal::NotWatched { .. }
        | Refusal::UnknownRole(_)
        | Refusal::NoLevel { .. }
        | Refusal::Dropped => ERRCODE_UNDEFINED_OBJECT,
        Refusal::PayloadGone(_)
        | Refusal::ReplayOfTest(_)
        | Refusal::JobOfThisTransaction(_)
        | Refusal::JobFailed(..)
        | Refusal::NoWorker(..)
        | Refusal::ConditionLost { .. }
        | Refusal::ConditionOfAnother { .. }
        | Refusal::Disturbed { .. }
        | Refusal::InSnapshot(_)
        | Refusal::Unarmed(_)
        | Refusal::Altered { .. }
        | Refusal::OtherType { .. }
        | Refusal::NoSchema
        | Refusal::SchemaGiven { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        Refusal::ConditionUnfit { .. } => ERRCODE_INVALID_OBJECT_DEFINITION,
        Refusal::NotUtf8 | Refusal::VirtualColumn { .. } => ERRCODE_FEATURE_NOT_SUPPORTED,
        Refusal::TooMany(_) | Refusal::TooManyJobs(_) => ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        Refusal::Unwatchable { .. } => ERRCODE_WRONG_OBJECT_TYPE,
        Refusal::MayNotWatch { .. }
        | Refusal::MayNotCall(_)
        | Refusal::OthersFunction { .. }
        | Refusal::NotForEmitter(_)
        | Refusal::Unconfirmed { .. }
        | Refusal::MayNotBring { .. }
        | Refusal::MayNotGive { .. }
        | Refusal::MayNotAdminister(_)
        | Refusal::ByForeignCode => ERRCODE_INSUFFICIENT_PRIVILEGE,
        Refusal::PrivilegesInUse(_) | Refusal::OwnerInUse { .. } => ERRCODE_LOCK_NOT_AVAILABLE,
        Refusal::UnknownColumn { .. }
        | Refusal::NoColumnOfRow { .. }
        | Refusal::NotOfABacklog { .. } => ERRCODE_UNDEFINED_COLUMN,
        Refusal::NoThread(_) | Refusal::NoRandomBytes => ERRCODE_INSUFFICIENT_RESOURCES,
    }
}

/// What more there is to say.
pub fn detail(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::Url(error) => Some(format!("{}: {error}", error.key())),
        Refusal::Secret(error) | Refusal::KeptSecret { why: error, .. } => {
            Some(sentence(&error.to_string()))
        }
        Refusal::Header(error) => Some(sentence(&error.to_string())),
        Refusal::Overlap { other, table, .. } => Some(format!(
            "One of {other} and {table} is a partition of the other, so a change would be two events."
        )),
        Refusal::Unwatchable { reason, .. } => Some(sentence(reason)),
        Refusal::MayNotWatch { missing, .. } => Some(sentence(missing)),
        Refusal::MayNotBring { .. } => Some(sentence(
            "it runs with the rights of the webhook's owner, which the caller does not have",
        )),
        Refusal::MayNotGive { .. } => {
            Some(sentence("it takes the rights of the webhook's owner and of the other role"))
        }
        Refusal::OthersFunction { owner, .. } => Some(format!(
            "Role {owner} could put into the function what would run with the rights of the webhook's owner."
        )),
        _ => None,
    }
}

/// What to do.
pub fn hint(refusal: &Refusal) -> Option<String> {
    let text = match refusal {
        Refusal::Name(_) => {
            "A name has 1 to 200 characters, no control characters and no space at its ends, and is not a uuid."
        }
        Refusal::Url(UrlError::NotHttps(scheme)) if scheme == "http" => {
            "pg_webhook.allow_http allows URLs without TLS."
        }
        Refusal::Url(UrlError::PrivateIp { .. }) => {
            "pg_webhook.allowed_networks lists networks that requests may go to although they are not public."
        }
        Refusal::Secret(SecretError::NotBase64) => {
            "Leave secret out to have one generated, or choose signature => 'sha256'."
        }
        Refusal::KeptSecret { before, .. } => {
            return Some(identity::qualified(&format!(
                "Give it another secret with secret => '..', or call webhook_rotate_secret first, which makes one that fits any \
                 signature; or keep the signature that it has, with signature => '{before}'."
            )));
        }
        Refusal::HeadersAsSignature => {
            "The headers of a request are given with their type or name: '{..}'::jsonb, or headers => '{..}'."
        }
        Refusal::NotAType(_) => {
            "A type such as invoice.paid has 1 to 200 characters and no white space. It is neither an operation on rows, such as INSERT, nor another word of capitals alone."
        }
        Refusal::NoColumnOfRow { .. } => "The keys of a row are the names of its table's columns.",
        Refusal::UnknownKey { known, .. } => return Some(one_of_list(known)),
        Refusal::NotASetting(_) => {
            "Secrets are not written in a configuration. It has the name of a setting that holds one when it is applied, such as app.secret."
        }
        Refusal::NotSet(_) => {
            "SET or PGOPTIONS gives it a value. ALTER ROLE .. SET would show it to everybody."
        }
        Refusal::NoValue(_) => {
            "A header that the webhook does not have is given the name of a setting that holds its value, such as app.token."
        }
        Refusal::TooManySecrets(_) => {
            "Rotate again when an overlap has ended, or with overlap => '0', which ends all of them."
        }
        Refusal::Scheme(_) => return Some(one_of(Scheme::ALL.map(Scheme::name))),
        Refusal::Event(_) => {
            return Some(format!(
                "{} Types of emitted events such as invoice.paid and invoice.* have no white space.",
                one_of(Operation::ALL.map(Operation::as_str))
            ));
        }
        Refusal::Format(_) => return Some(one_of(Format::ALL.map(Format::name))),
        Refusal::Ordering(_) => return Some(one_of(Ordering::ALL.map(Ordering::name))),
        Refusal::OnFailure(_) => return Some(one_of(OnFailure::ALL.map(OnFailure::name))),
        Refusal::BatchFormat(_) => return Some(one_of(BatchFormat::ALL.map(BatchFormat::name))),
        Refusal::OnTransformError(_) => {
            return Some(one_of(OnTransformError::ALL.map(OnTransformError::name)));
        }
        Refusal::IfExists(_) => return Some(one_of(IfExists::ALL.map(IfExists::name))),
        Refusal::OthersFunction { .. } => {
            "A transform belongs to the webhook's owner or to a superuser. A webhook with a transform of a group is made by SET ROLE to the group."
        }
        Refusal::NotForEmitter(_) => {
            "A member of that role has its rights. Without a transform the event is sent as it is."
        }
        Refusal::Unconfirmed { .. } => {
            "webhook_update with owner confirms that what it runs may have the rights of that role."
        }
        Refusal::TransformGone => "webhook_update sets another one, or none with transform => '-'.",
        Refusal::VirtualColumn { .. } => {
            "Its value is computed when it is read, and is not there when triggers fire. Name the columns that it is computed from."
        }
        Refusal::NotATransform(_) => "It must take one jsonb and return jsonb.",
        Refusal::TooLarge(_) | Refusal::TransformedTooLarge { .. } => {
            "pg_webhook.max_payload_bytes sets the limit."
        }
        Refusal::AmbiguousWebhook(_) => {
            "Roles can have webhooks of the same name. Use the uuid, which webhook.webhooks shows as id."
        }
        Refusal::NoOperations => "Use webhook_unwatch to stop watching a table.",
        Refusal::Level(_) => return Some(one_of(Level::ALL.map(Level::name))),
        Refusal::MayNotAdminister(_) => "The owner of the extension and admins may.",
        Refusal::KeepAndNew => {
            "keep goes on as the original, which is gone; new makes an installation beside it."
        }
        Refusal::MadeSince(_) => "Try the transaction again.",
        Refusal::InSnapshot(_) => "BEGIN ISOLATION LEVEL READ COMMITTED before it.",
        Refusal::Unarmed(_) => {
            "It came with a dump or a copy of another database. webhook_arm() lets it send."
        }
        Refusal::WhichTable(..) => "table_name says which of them is meant.",
        Refusal::NoDefault { known, .. } => {
            return Some(one_of_list(known));
        }
        Refusal::AlreadyWatched { .. } => {
            "Use webhook_update, or webhook_unwatch and webhook_watch in one transaction, to change how."
        }
        Refusal::Status(_) => return Some(one_of(Status::ALL.map(Status::name))),
        Refusal::ReplayOfTest(_) => "Use webhook_test to send another one.",
        Refusal::PayloadGone(_) => "pg_webhook.log_retention says how long payloads are kept.",
        Refusal::StatusUnfit { done: "replayed", .. } => {
            "They are going to be sent anyway. webhook_replay sends one of them twice."
        }
        Refusal::JobOfThisTransaction(_) => "Call webhook_wait in a transaction after it.",
        Refusal::TooManyJobs(_) => "webhook.jobs shows them; webhook_cancel_job ends one.",
        Refusal::TooMany(_) => "pg_webhook.max_webhooks sets the limit.",
        Refusal::ConditionUnfit { .. } => EACH_EVENT,
        Refusal::ConditionLost { .. } | Refusal::ConditionOfAnother { .. } => {
            "Give it again with condition => '...', or end it with condition => ''."
        }
        Refusal::PrivilegesInUse(_) => {
            "It changes levels, emitters or privileges on what belongs to pg_webhook. Try again when it has ended."
        }
        Refusal::Altered { .. } | Refusal::OtherType { .. } => {
            "A table of schema webhook is not as pg_webhook has made it."
        }
        Refusal::NoSchema => {
            "Where it has been renamed, its owner or a superuser gives it its name back by ALTER SCHEMA ... RENAME TO webhook."
        }
        Refusal::SchemaGiven { .. } => {
            "A superuser gives it back to the role that owns the tables, by ALTER SCHEMA webhook OWNER TO. Where all is to go to another role, the tables, views and functions in it go first."
        }
        Refusal::NotOfABacklog { .. } => "It takes rows as webhook_backlog_export returns them.",
        Refusal::NotAnExpression => {
            "Write it as in CREATE TRIGGER ... WHEN, for example 'NEW.total > 100'."
        }
        Refusal::ByForeignCode => "webhook_emit and webhook_invoke do.",
        _ => return None,
    };
    Some(identity::qualified(text))
}

fn one_of<const N: usize>(names: [&str; N]) -> String {
    one_of_list(&names)
}

fn one_of_list(names: &[&str]) -> String {
    format!("It is one of {}.", names.join(", "))
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}
