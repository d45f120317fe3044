//! Capture: the trigger that turns a changed row into an event, in the writer's transaction.
//!
//! The trigger's WHEN clause has let the row through, if there is one; here it is decided whether the trigger
//! is one of ours, and the row becomes the body that will be sent, and a row of the ring. Nothing is buffered:
//! an event that is not a row could survive a rollback to a savepoint, or die with PREPARE TRANSACTION.
//!
//! PostgreSQL calls it for each row that a trigger of ours fires for; `webhook_preview` asks it what would come of one. What
//! a writer's statement costs is decided here: definitions are looked up once in a session, and again when somebody tells
//! that they have changed ([`stale`]).

pub mod fired;
mod record;
pub mod source;
mod stale;

use std::borrow::Cow;
use std::ffi::{CStr, c_char};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use self::fired::Fired;
use self::source::Source;
use crate::compose::image::{self, HARMLESS};
use crate::compose::recipient::{Draft, Extent};
use crate::pg::row::Row;
use crate::pg::trigger::Form;
use crate::pg::{memory, output, reserve, settings, subtransaction};
use domain::event::Operation;
use domain::order::ONE;

/// A row may be this many times as large as the largest body, as stored and uncompressed, before it is
/// taken as too large without being rendered.
const LARGEST_ROW: usize = 4;

/// How PostgreSQL says that a text becomes too large for it.
const TOO_LARGE: [PgSqlErrorCode; 2] =
    [PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY];

/// The same of output functions, some of which ask for memory without looking how much.
const UNTELLABLE: [PgSqlErrorCode; 3] =
    [TOO_LARGE[0], TOO_LARGE[1], PgSqlErrorCode::ERRCODE_INTERNAL_ERROR];

/// Tells PostgreSQL how `webhook_capture` is called.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_webhook_capture() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// The trigger function `webhook.capture`.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn webhook_capture(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: PostgreSQL passes a call's frame; `Call::new` checks what kind of call it is.
    if let Some(call) = unsafe { Call::new(fcinfo) }
        && settings::capture()
    {
        reserve::with_reserve(|| call.capture());
    }
    pg_sys::Datum::from(0usize)
}

/// A call of the function by a trigger, after an operation.
struct Call<'a> {
    trigger: Fired<'a>,
    relation: pg_sys::Relation,
    /// The row; of an UPDATE as it was; of a TRUNCATE null.
    row: pg_sys::HeapTuple,
    /// Of an UPDATE as it is now.
    new: pg_sys::HeapTuple,
}

impl Call<'_> {
    /// # Safety
    ///
    /// `fcinfo` is the frame of the call.
    unsafe fn new(fcinfo: pg_sys::FunctionCallInfo) -> Option<Self> {
        // SAFETY: the caller's; the trigger data is read only if it is that.
        unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || !pgrx::is_a(context, pg_sys::NodeTag::T_TriggerData) {
                misuse("webhook.capture can only be called by a trigger");
            }
            let data = &*context.cast::<pg_sys::TriggerData>();
            let event = data.tg_event;
            let after = event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_AFTER;
            let row = event & pg_sys::TRIGGER_EVENT_ROW != 0;
            let operation = match event & pg_sys::TRIGGER_EVENT_OPMASK {
                pg_sys::TRIGGER_EVENT_INSERT if after && row => Operation::Insert,
                pg_sys::TRIGGER_EVENT_UPDATE if after && row => Operation::Update,
                pg_sys::TRIGGER_EVENT_DELETE if after && row => Operation::Delete,
                pg_sys::TRIGGER_EVENT_TRUNCATE if after && !row => Operation::Truncate,
                _ => misuse(
                    "webhook.capture can only be called AFTER INSERT, UPDATE or DELETE FOR EACH ROW, or AFTER TRUNCATE",
                ),
            };
            let trigger = &*data.tg_trigger;
            if trigger.tgnargs != 1 {
                misuse("webhook.capture needs the id of what is watched as its argument");
            }
            let text = |text: *mut c_char| (!text.is_null()).then(|| CStr::from_ptr(text));
            let trigger = Fired {
                oid: trigger.tgoid,
                relation: (*data.tg_relation).rd_id,
                operation,
                name: text(trigger.tgname)?,
                argument: text(*trigger.tgargs)?,
                condition: text(trigger.tgqual),
                form: Form::of(trigger),
            };
            Some(Self {
                trigger,
                relation: data.tg_relation,
                row: data.tg_trigtuple,
                new: data.tg_newtuple,
            })
        }
    }

    fn capture(&self) {
        // SAFETY: the relation that fired is open for the duration of the call, and the descriptor its own.
        let source = unsafe { fired::find(&self.trigger, (*self.relation).rd_att) };
        let Some(source) = source else {
            return;
        };
        if !source.recipient.enabled {
            return;
        }
        let (new, old) = self.rows();
        if let (Some(new), Some(old)) = (&new, &old)
            && !source.is_change(old, new)
        {
            return;
        }
        let draft = source.recipient.draft(&source.envelope).in_order(self.keys(&source));
        let body = self.body(&source, &draft, new.as_ref(), old.as_ref());
        let Some(stored) = source.recipient.prepare(&body) else {
            return;
        };
        let table = Some((source.schema.as_str(), source.table.as_str()));
        source.recipient.append(&draft, self.trigger.operation.as_str(), table, &stored);
    }

    /// The body; where that would be too large, with the row's primary key only, and where that is too large as
    /// well, without what the session adds.
    fn body<'c>(
        &self,
        source: &Source,
        draft: &Draft,
        new: Option<&'c Row<'c>>,
        old: Option<&'c Row<'c>>,
    ) -> String {
        let largest = settings::max_payload_bytes();
        let _canonical = output::Canonical::begin();
        let render = |image: &dyn Fn(&'c Row<'c>) -> Cow<'c, str>, extent, most| {
            let (new, old) = (new.map(image), old.map(image));
            draft.render(&source.envelope, new.as_deref(), old.as_deref(), extent, most)
        };
        let by_server = |numbers: Option<&[i16]>, extent| {
            image::calling_casts(&source.casts, source.recipient.owner, |calling| {
                // SAFETY: the rows are of the table that the source describes. They are the call's, as is the memory
                // context that it began with, and here it is that one.
                let json = |row| unsafe { image::json(row, numbers, &source.casts, calling) };
                let image = |row: &'c Row<'c>| json(row).into();
                render(&image, extent, largest)
            })
        };
        let payload = source.payload.as_deref();
        let whole = || by_server(payload, Extent::Whole);
        let size: usize = new.into_iter().chain(old).map(image::raw_size).sum();
        let body = match (size, &source.record) {
            (0..=HARMLESS, Some(writer)) => {
                // SAFETY: as above; a table that we write has no casts that are called.
                let by_server = |row| unsafe { image::json(row, payload, &source.casts, false) };
                let by_us = |row: &'c Row<'c>| {
                    writer.write(row).map_or_else(|| by_server(row).into(), Cow::from)
                };
                render(&by_us, Extent::Whole, largest)
            }
            (0..=HARMLESS, None) => whole(),
            (size, _) if size <= largest.saturating_mul(LARGEST_ROW) => {
                subtransaction::tolerating(&TOO_LARGE, whole).flatten()
            }
            _ => None,
        };
        let key = Some(source.key.as_slice());
        body.or_else(|| by_server(key, Extent::Keys))
            .or_else(|| by_server(key, Extent::Bare))
            .or_else(|| render(&|_| "{}".into(), Extent::Bare, usize::MAX))
            .unwrap_or_else(|| memory::exhausted())
    }

    /// By what its event is ordered, if it is.
    fn keys(&self, source: &Source) -> Option<Vec<i64>> {
        if !source.has_order() {
            return None;
        }
        let (new, old) = self.rows();
        let _canonical = output::Canonical::begin();
        // SAFETY: the rows are of the table that fires.
        let keys = || unsafe { source.keys(new.as_ref(), old.as_ref()) };
        match new.iter().chain(&old).map(image::raw_size).sum::<usize>() {
            0..=HARMLESS => keys(),
            // The write does not fail because of a key that has no text.
            _ => subtransaction::tolerating(&UNTELLABLE, keys).unwrap_or_else(|| Some(vec![ONE])),
        }
    }

    /// The row as it is and as it was.
    fn rows(&self) -> (Option<Row<'_>>, Option<Row<'_>>) {
        // SAFETY: both tuples are of the relation, and it and they stay for the duration of the call.
        let row = |tuple| Some(unsafe { Row::new(tuple, (*self.relation).rd_att) });
        match self.trigger.operation {
            Operation::Insert => (row(self.row), None),
            Operation::Update => (row(self.new), row(self.row)),
            Operation::Delete => (None, row(self.row)),
            Operation::Truncate => (None, None),
        }
    }
}

fn misuse(message: &'static str) -> ! {
    let code = PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED;
    ErrorReport::new(code, message, function_name!()).report(PgLogLevel::ERROR);
    unreachable!()
}
