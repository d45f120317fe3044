//! A webhook's transform: whether it may run, what it makes of a body, and what becomes of its errors.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReportWithLevel;
use pgrx::prelude::*;

use crate::host::anchor as anchors;
use crate::pg::output::Canonical;
use crate::pg::spi::Session;
use crate::pg::{call, context, foreign, memory, report, settings};
use crate::registry::transform as registered;
use domain::refusal::Refusal;

/// Characters that the log keeps of an error, which could be as long as its function likes.
const LONGEST_ERROR: usize = 2000;

/// Why a transform has made nothing of a body.
#[derive(Debug, Clone)]
pub struct Failure {
    code: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    /// The function, where there is one.
    function: Option<String>,
}

/// A webhook's transform.
pub struct Transform {
    /// The function that is named, be it one that may not be called.
    pub named: Option<pg_sys::Oid>,
    /// The function and its signature, or why none may be called.
    function: Result<(pg_sys::Oid, String), Failure>,
    /// What says which function it is.
    pub anchor: String,
    /// The webhook's owner, as whom it runs.
    role: pg_sys::Oid,
    /// An error is one of the statement.
    fails: bool,
}

impl Transform {
    /// The function that `anchor` names, for a webhook of `role`.
    pub fn load(session: &Session, anchor: String, role: pg_sys::Oid, fails: bool) -> Self {
        let named = anchors::function(&anchor, role);
        let function = match named {
            Some(function) => registered::check(session, function, role)
                .map(|name| (function, name))
                .map_err(|refusal| Failure::of(&refusal)),
            None => Err(Failure::of(&Refusal::TransformGone)),
        };
        Self { named, function, anchor, role, fails }
    }

    /// The same, whose errors are never those of a statement.
    pub fn never_failing(self) -> Self {
        Self { fails: false, ..self }
    }

    /// The same, which is not called: its events are dead letters for this reason.
    pub fn barred(self, refusal: &Refusal) -> Self {
        Self { function: Err(Failure::of(refusal)), ..self.never_failing() }
    }

    /// Why there is no function that may be called, if so.
    pub fn bar(&self) -> Option<&Failure> {
        self.function.as_ref().err()
    }

    /// Whether an error of it is one of the statement, and not of the event alone.
    pub fn fails_the_statement(&self) -> bool {
        self.fails
    }

    /// What the function makes of a body; `None` where that is NULL, which drops the event.
    ///
    /// # Errors
    ///
    /// There is no function that may be called, it fails, or what it makes is too large.
    pub fn apply(&self, body: &str) -> Result<Option<String>, Failure> {
        let (function, name) = self.function.as_ref().map_err(Failure::clone)?;
        let _canonical = Canonical::begin();
        let most = settings::max_payload_bytes();
        let made = foreign::run(self.role, || {
            // Copied where it does not cost more memory than a body may have.
            let copy = |text: &CStr| match text.count_bytes() {
                bytes if bytes > most => Err(bytes),
                _ => Ok(memory::text(text)),
            };
            // SAFETY: `load` has had the function checked for what it takes and returns.
            unsafe { call::jsonb(*function, body, copy) }
        });
        match made {
            Ok(None) => Ok(None),
            Ok(Some(Ok(text))) => Ok(Some(text)),
            Ok(Some(Err(bytes))) => Err(Failure::too_large(bytes, most).by(name)),
            Err(error) => Err(Failure::raised(&error).by(name)),
        }
    }
}

impl Failure {
    fn of(refusal: &Refusal) -> Self {
        Self {
            code: report::sqlstate(refusal),
            message: refusal.to_string(),
            detail: report::detail(refusal),
            hint: report::hint(refusal),
            function: None,
        }
    }

    fn raised(error: &ErrorReportWithLevel) -> Self {
        Self {
            code: error.sql_error_code(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
            function: None,
        }
    }

    fn too_large(bytes: usize, most: usize) -> Self {
        Self::of(&Refusal::TransformedTooLarge { bytes, most })
    }

    fn by(self, function: &str) -> Self {
        Self { function: Some(function.to_owned()), ..self }
    }

    /// As the log of deliveries says it.
    pub fn describe(&self) -> String {
        let message: String = self.message.chars().take(LONGEST_ERROR).collect();
        match &self.function {
            Some(function) => format!("transform {function}: {message}"),
            None => message,
        }
    }

    /// Raises it, with a context that names the webhook and the function.
    pub fn raise(self, webhook: &str) -> ! {
        let transform = self.function.map_or_else(String::new, |function| format!(" {function}"));
        let at = format!("transform{transform} of webhook \"{webhook}\"");
        let mut report = report::new(self.code, self.message);
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        context::raise(report, &at)
    }
}
