//! What the triggers that fire are for, kept from row to row.
//!
//! Anybody can make a trigger that calls our function, and a dump of a table carries ours elsewhere. So it is looked up
//! what a trigger was made for, and one that is not as it was made is for nothing. That is read from the tables once per
//! backend, and dropped when PostgreSQL says that something has changed that it depends on: see [`super::stale`].

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use sha2::{Digest, Sha256};

use super::source::{Barred, Source, Watched};
use super::stale;
use crate::compose::recipient::Recipient;
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::table::Table;
use crate::pg::trigger::Form;
use crate::pg::{compat, rights, snapshot};
use crate::registry::{self, trigger as made};
use domain::event::Operation;
use domain::key::WebhookId;

/// Triggers that a backend remembers: about 5 kB for each and so 20 MB at most, but for long conditions. With more than that
/// in one session, all are looked up again.
const MOST: usize = 4_000;

/// How often something is looked up again because it has changed meanwhile, before it is taken as it was found: as it was
/// when the last of these began, but for changes that came in the middle of it. The next row looks it up anew.
const REPEATS: usize = 3;

/// A trigger that fires, or would.
pub struct Fired<'a> {
    /// Its oid.
    pub oid: pg_sys::Oid,
    /// The table that it fires on.
    pub relation: pg_sys::Oid,
    /// What it fires for.
    pub operation: Operation,
    /// Its name.
    pub name: &'a CStr,
    /// The argument of our function.
    pub argument: &'a CStr,
    /// The tree of its WHEN.
    pub condition: Option<&'a CStr>,
    /// What it calls, and when.
    pub form: Form,
}

/// What a trigger was for when it was looked up.
struct Known {
    name: CString,
    argument: CString,
    condition: Option<CString>,
    form: Form,
    /// `None` for nothing.
    source: Option<Rc<Source>>,
    /// Why, where it was made by pg_webhook.
    bar: Option<String>,
}

impl Known {
    /// A statement keeps the triggers that it began with, whatever they are in the catalog by now.
    fn is(&self, trigger: &Fired) -> bool {
        self.source.as_ref().is_none_or(|source| source.recipient.is_current())
            && self.name.as_c_str() == trigger.name
            && self.argument.as_c_str() == trigger.argument
            && self.condition.as_deref() == trigger.condition
            && self.form == trigger.form
    }
}

type Sources = BTreeMap<(u32, u32, Operation), Known>;

thread_local! {
    static SOURCES: RefCell<Sources> = RefCell::default();
    static SAID: RefCell<HashSet<(WebhookId, String)>> = RefCell::default();
}

/// What a session remembers to have said. Beyond that it begins anew, and says things again.
const MOST_SAID: usize = 1_000;

/// To the server's log, and to nobody who writes: for them the webhook does not exist.
fn say_once(webhook: WebhookId, Barred { name, reason }: &Barred) {
    let is_new = SAID.with_borrow_mut(|said| {
        if said.len() >= MOST_SAID {
            said.clear();
        }
        said.insert((webhook, reason.clone()))
    });
    if is_new {
        let message = format!("pg_webhook: webhook \"{name}\" captures nothing: {reason}");
        let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        ErrorReport::new(code, message, function_name!()).report(PgLogLevel::LOG_SERVER_ONLY);
    }
}

/// What `trigger` makes events of; `None` where it is for nothing: not made by pg_webhook, not as it was made, or of
/// something that is not watched any more.
///
/// # Safety
///
/// The descriptor is that of the table that the trigger fires on, which is open.
pub unsafe fn find(trigger: &Fired, descriptor: pg_sys::TupleDesc) -> Option<Rc<Source>> {
    // SAFETY: the caller's.
    unsafe { known(trigger, descriptor, |known| known.source.clone()) }
}

/// # Safety
///
/// As for [`find`].
unsafe fn known<R>(
    trigger: &Fired,
    descriptor: pg_sys::TupleDesc,
    part: impl Fn(&Known) -> R,
) -> R {
    let key = (trigger.relation.to_u32(), trigger.oid.to_u32(), trigger.operation);
    let mut repeats = 0;
    loop {
        if stale::take() {
            SOURCES.with_borrow_mut(BTreeMap::clear);
        }
        let found = SOURCES
            .with_borrow(|sources| sources.get(&key).filter(|known| known.is(trigger)).map(&part));
        if let Some(found) = found {
            return found;
        }
        if SOURCES.with_borrow(|sources| sources.len() >= MOST) {
            SOURCES.with_borrow_mut(BTreeMap::clear);
            stale::forget();
        }
        // SAFETY: the caller's.
        let known = stale::while_reading(|| unsafe { load(trigger, descriptor) });
        let found = part(&known);
        // What has changed in the middle could have been read in part before, and in part after.
        if !stale::is() {
            SOURCES.with_borrow_mut(|sources| sources.insert(key, known));
            return found;
        }
        if repeats == REPEATS {
            return found;
        }
        repeats += 1;
    }
}

/// As [`find`], for a trigger of an open table that does not fire.
///
/// # Errors
///
/// Why it is for nothing, where it is one that pg_webhook has made.
pub fn of(table: &Table, trigger: &Fired) -> Result<Rc<Source>, Option<String>> {
    if table.oid() != trigger.relation {
        return Err(None);
    }
    // SAFETY: the table is open, and it is the trigger's.
    let (source, bar) = unsafe {
        known(trigger, table.descriptor(), |known| (known.source.clone(), known.bar.clone()))
    };
    source.ok_or(bar)
}

/// Reads in the latest snapshot, not in the transaction's: what an old snapshot sees must not stay in
/// the cache after its transaction.
///
/// # Safety
///
/// As for [`find`].
unsafe fn load(trigger: &Fired, descriptor: pg_sys::TupleDesc) -> Known {
    let mut known = Known {
        name: trigger.name.to_owned(),
        argument: trigger.argument.to_owned(),
        condition: trigger.condition.map(CStr::to_owned),
        form: trigger.form,
        source: None,
        bar: None,
    };
    stale::note_relations([trigger.relation]);
    let argument = trigger.argument.to_str().ok();
    let Some(watch) = argument.and_then(|text| uuid::Uuid::try_parse(text).ok()) else {
        return known;
    };
    let watch = Uuid::from_bytes(watch.into_bytes());
    let read = || {
        stale::note_relations([registry::relation()]);
        spi::connect(|session| {
            // SAFETY: the caller's.
            let own = unsafe { own(session, trigger, watch, descriptor) };
            let Some(watched) = own.or_else(|| of_above(session, trigger, watch)) else {
                return;
            };
            stale::note_owner(&watched.owner);
            let webhook = watched.webhook;
            let recipient = recipient(session, webhook);
            let fires = (trigger.relation, trigger.operation);
            // SAFETY: the caller's; the numbers are those of the table's columns.
            match unsafe { Source::read(session, watched, recipient, fires, descriptor) } {
                Ok(source) => known.source = source.map(Rc::new),
                Err(barred) => {
                    say_once(webhook, &barred);
                    known.bar = Some(barred.reason);
                }
            }
        });
    };
    snapshot::with_latest(|| rights::as_owner(read));
    known
}

/// The recipient of a source that is known, or one that is read now. What makes a recipient outdated makes all sources so, so a
/// known one is good.
fn recipient(session: &Session, webhook: WebhookId) -> Option<Rc<Recipient>> {
    let known = SOURCES.with_borrow(|sources| {
        let mut recipients = sources
            .values()
            .filter_map(|known| known.source.as_ref())
            .map(|source| &source.recipient);
        recipients.find(|recipient| recipient.webhook == webhook && recipient.is_current()).cloned()
    });
    known.or_else(|| Recipient::load(session, webhook).map(Rc::new))
}

/// What the trigger of a watched table is for. Most are such: the trigger that fires is compared with what pg_webhook makes,
/// and only what was recorded of the watch is read.
///
/// # Safety
///
/// As for [`find`].
unsafe fn own(
    session: &Session,
    trigger: &Fired,
    watch: Uuid,
    descriptor: pg_sys::TupleDesc,
) -> Option<Watched> {
    let is_ours = trigger.form.is_made_for(trigger.operation)
        && trigger.name == made::name_of(watch, trigger.operation).as_c_str()
        && trigger.argument.to_bytes() == made::text_of(watch).as_bytes();
    if !is_ours {
        return None;
    }
    let args = [
        arg(watch),
        arg(trigger.relation),
        arg(trigger.operation.as_str()),
        arg(hash(trigger)),
        arg(trigger.form.function),
    ];
    let rows = session.look_up(sql!("capture/own"), &args);
    let row = rows.first()?;
    let columns: Option<Vec<String>> = row.get("columns");
    let columns = columns.filter(|_| trigger.operation == Operation::Update);
    Some(Watched {
        watch,
        webhook: row.value("webhook"),
        owner: row.value("owner"),
        relation: trigger.relation,
        chosen: row.value("chosen"),
        // SAFETY: the caller's.
        columns: columns.map(|names| unsafe { numbers(descriptor, row.get("numbers"), &names) }),
        key: row.get("key").unwrap_or_default(),
        inherited: None,
    })
}

/// The columns of these names, or those that had them when they were recorded.
///
/// # Safety
///
/// The descriptor is that of an open table.
unsafe fn numbers(
    descriptor: pg_sys::TupleDesc,
    recorded: Option<Vec<i16>>,
    names: &[String],
) -> Vec<i16> {
    // SAFETY: the caller's.
    let attributes = unsafe { compat::attributes(descriptor) }.iter();
    let is_meant = |attribute: &&pg_sys::FormData_pg_attribute| {
        let is_named = || names.iter().any(|name| name == name_data_to_str(&attribute.attname));
        let named = |numbers: &Vec<i16>| numbers.contains(&attribute.attnum);
        !attribute.attisdropped && recorded.as_ref().map_or_else(is_named, named)
    };
    attributes.filter(is_meant).map(|attribute| attribute.attnum).collect()
}

/// What the trigger of a partition, or of a table that inherits, is for.
fn of_above(session: &Session, trigger: &Fired, watch: Uuid) -> Option<Watched> {
    let args = [
        arg(watch),
        arg(trigger.relation),
        arg(trigger.oid),
        arg(trigger.name.to_string_lossy().into_owned()),
        arg(hash(trigger)),
        arg(trigger.operation.as_str()),
    ];
    let rows = session.look_up(sql!("capture/source"), &args);
    let row = rows.first()?;
    stale::note_relations(row.get::<Vec<pg_sys::Oid>>("relations").unwrap_or_default());
    Some(Watched {
        watch,
        webhook: row.get("webhook")?,
        key: row.get("key").unwrap_or_default(),
        inherited: row.get("inherited"),
        columns: row.get("columns"),
        chosen: row.value("chosen"),
        owner: row.value("owner"),
        relation: row.value("relation"),
    })
}

/// That of the trigger's WHEN, as it is recorded.
fn hash(trigger: &Fired) -> Option<Vec<u8>> {
    trigger.condition.map(|tree| Sha256::digest(tree.to_bytes()).to_vec())
}
