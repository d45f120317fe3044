//! Triggers as objects of the catalog: looked at, made, changed and dropped by calls into the server.
//!
//! No SQL is parsed, no event trigger fires, and nobody needs to own the table: whether it may be done is for the
//! caller to check.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use pgrx::pg_sys;

use super::condition::Condition;
use super::identity::Extension;
use super::table::Table;
use domain::event::Operation;

/// A trigger of a table.
pub struct Trigger {
    /// Its oid.
    pub oid: pg_sys::Oid,
    /// Its name.
    pub name: CString,
    /// What the function is given.
    pub arguments: Vec<CString>,
    /// A partition's, made with that of the parent.
    pub clone: bool,
    /// What it calls, and when.
    pub form: Form,
    /// How it fires, in a letter of `pg_trigger.tgenabled`.
    pub enabled: Firing,
    /// What its WHEN says.
    pub condition: Option<Condition>,
}

/// What of a trigger is neither its name nor its condition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The function that it calls.
    pub function: pg_sys::Oid,
    /// The bits of `pg_trigger.tgtype`.
    kind: i16,
    /// It is not a partition's, of no constraint, for any column and without transition tables.
    plain: bool,
}

impl Form {
    /// That of a trigger of an open table.
    pub fn of(trigger: &pg_sys::Trigger) -> Self {
        let plain = !trigger.tgisclone
            && trigger.tgconstraint == pg_sys::InvalidOid
            && trigger.tgnattr == 0
            && trigger.tgoldtable.is_null()
            && trigger.tgnewtable.is_null();
        Self { function: trigger.tgfoid, kind: trigger.tgtype, plain }
    }

    /// Whether [`create`] makes triggers for `operation` so.
    pub fn is_made_for(self, operation: Operation) -> bool {
        let each_row = operation != Operation::Truncate;
        let row = if each_row { pg_sys::TRIGGER_TYPE_ROW } else { 0 };
        self.plain && self.kind as u32 == event_of(operation) | row
    }
}

/// The bit of an operation in `pg_trigger.tgtype`.
fn event_of(operation: Operation) -> u32 {
    match operation {
        Operation::Insert => pg_sys::TRIGGER_TYPE_INSERT,
        Operation::Update => pg_sys::TRIGGER_TYPE_UPDATE,
        Operation::Delete => pg_sys::TRIGGER_TYPE_DELETE,
        Operation::Truncate => pg_sys::TRIGGER_TYPE_TRUNCATE,
    }
}

/// How a trigger fires: `pg_trigger.tgenabled`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Firing(c_char);

impl Firing {
    /// Not with `session_replication_role = replica`: as triggers are made.
    pub const ORIGIN: Self = Self(b'O' as c_char);
    /// Only then.
    pub const REPLICA: Self = Self(b'R' as c_char);
    /// Always.
    pub const ALWAYS: Self = Self(b'A' as c_char);
    /// Never.
    pub const DISABLED: Self = Self(b'D' as c_char);

    /// Whether a trigger that fires so does in this session.
    pub fn is_now(self) -> bool {
        // SAFETY: reads an int of this process.
        let role = unsafe { pg_sys::SessionReplicationRole };
        match self {
            Self::ALWAYS => true,
            Self::DISABLED => false,
            Self::REPLICA => role == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as c_int,
            _ => role != pg_sys::SESSION_REPLICATION_ROLE_REPLICA as c_int,
        }
    }

    /// That of this letter; as triggers are made, for one that is none.
    pub fn of(letter: i8) -> Self {
        [Self::REPLICA, Self::ALWAYS, Self::DISABLED]
            .into_iter()
            .find(|firing| firing.0 == letter as c_char)
            .unwrap_or(Self::ORIGIN)
    }
}

/// The triggers of a table, internal ones among them.
pub fn all_of(table: &Table) -> Vec<Trigger> {
    // SAFETY: open and locked, so that the list stays while it is copied; it has as many entries as it says, and
    // their texts end with NUL.
    unsafe {
        let list = (*table.relation()).trigdesc;
        let count = if list.is_null() { 0 } else { (*list).numtriggers as usize };
        (0..count)
            .map(|index| {
                let trigger = &*(*list).triggers.add(index);
                let text = |text: *mut c_char| CStr::from_ptr(text).to_owned();
                let arguments = 0..trigger.tgnargs as usize;
                Trigger {
                    oid: trigger.tgoid,
                    name: text(trigger.tgname),
                    arguments: arguments.map(|at| text(*trigger.tgargs.add(at))).collect(),
                    clone: trigger.tgisclone,
                    form: Form::of(trigger),
                    enabled: Firing(trigger.tgenabled),
                    condition: (!trigger.tgqual.is_null())
                        .then(|| Condition::of_catalog(text(trigger.tgqual))),
                }
            })
            .collect()
    }
}

/// A trigger to be made, AFTER its operation.
pub struct New<'a> {
    /// Its table.
    pub table: pg_sys::Oid,
    /// Its name.
    pub name: &'a CStr,
    /// The operation.
    pub operation: Operation,
    /// The function.
    pub function: pg_sys::Oid,
    /// What the function is given.
    pub argument: &'a CStr,
    /// The condition of another trigger of the table.
    pub condition: Option<&'a Condition>,
    /// How it fires.
    pub firing: Firing,
}

/// Makes a trigger, in the place of one of that name; partitions get theirs. Nothing is parsed and nothing evaluated:
/// the condition is a tree already.
pub fn create(new: &New) -> pg_sys::Oid {
    let none = pg_sys::InvalidOid;
    // SAFETY: in a transaction. The statement is a node of this memory context; what it leaves out is zero, as in one that
    // the parser has made. A table or function that does not exist raises an error.
    unsafe {
        let argument = pg_sys::makeString(pg_sys::pstrdup(new.argument.as_ptr()));
        let statement =
            pg_sys::palloc0(size_of::<pg_sys::CreateTrigStmt>()).cast::<pg_sys::CreateTrigStmt>();
        (*statement).type_ = pg_sys::NodeTag::T_CreateTrigStmt;
        (*statement).replace = true;
        (*statement).trigname = pg_sys::pstrdup(new.name.as_ptr());
        (*statement).args = pg_sys::lappend(ptr::null_mut(), argument.cast());
        (*statement).row = new.operation != Operation::Truncate;
        (*statement).timing = pg_sys::TRIGGER_TYPE_AFTER as i16;
        (*statement).events = event_of(new.operation) as i16;
        let condition = new.condition.map_or(ptr::null_mut(), Condition::tree);
        let made = pg_sys::CreateTriggerFiringOn(
            statement,
            ptr::null(),
            new.table,
            none,
            none,
            none,
            new.function,
            none,
            condition,
            false,
            false,
            new.firing.0,
        );
        pg_sys::CommandCounterIncrement();
        // The server does so only for a condition that it has parsed itself.
        if let Some(condition) = new.condition {
            condition.record_dependencies(&made, new.table);
        }
        made.objectId
    }
}

/// Drops a trigger, with those of partitions that were made with it.
pub fn remove(trigger: pg_sys::Oid) {
    let restrict = pg_sys::DropBehavior::DROP_RESTRICT;
    // SAFETY: in a transaction; raises an error where there is no such trigger.
    unsafe {
        pg_sys::performDeletion(&address(pg_sys::TriggerRelationId, trigger, 0), restrict, 0)
    };
}

/// Has a trigger go with `extension`, as ALTER TRIGGER ... DEPENDS ON EXTENSION would.
pub fn depend_on_extension(trigger: pg_sys::Oid, extension: Extension) {
    // SAFETY: in a transaction; both exist.
    unsafe {
        let known = pg_sys::getAutoExtensionsOfObject(pg_sys::TriggerRelationId, trigger);
        if !pg_sys::list_member_oid(known, extension.oid) {
            pg_sys::recordDependencyOn(
                &address(pg_sys::TriggerRelationId, trigger, 0),
                &address(pg_sys::ExtensionRelationId, extension.oid, 0),
                pg_sys::DependencyType::DEPENDENCY_AUTO_EXTENSION,
            );
        }
    }
}

/// Has `columns` of the trigger's table be dropped with CASCADE only, and the trigger with them; other columns no
/// longer.
pub fn depend_on_columns(trigger: pg_sys::Oid, table: pg_sys::Oid, columns: &[i16]) {
    let normal = pg_sys::DependencyType::DEPENDENCY_NORMAL;
    // SAFETY: in a transaction; all of them exist.
    unsafe {
        pg_sys::deleteDependencyRecordsForSpecific(
            pg_sys::TriggerRelationId,
            trigger,
            normal as c_char,
            pg_sys::RelationRelationId,
            table,
        );
        for column in columns {
            pg_sys::recordDependencyOn(
                &address(pg_sys::TriggerRelationId, trigger, 0),
                &address(pg_sys::RelationRelationId, table, (*column).into()),
                normal,
            );
        }
    }
}

/// Sets how a trigger fires, as ALTER TABLE ... ENABLE TRIGGER would.
pub fn set_firing(trigger: pg_sys::Oid, firing: Firing) {
    // SAFETY: in a transaction. The tuple is a copy of the catalog's row, and has the form of its table.
    unsafe {
        let catalog =
            pg_sys::table_open(pg_sys::TriggerRelationId, pg_sys::RowExclusiveLock as c_int);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_trigger_oid as i16,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_OIDEQ.into(),
            trigger.into(),
        );
        let scan = pg_sys::systable_beginscan(
            catalog,
            pg_sys::TriggerOidIndexId.into(),
            true,
            ptr::null_mut(),
            1,
            &mut key,
        );
        let found = pg_sys::systable_getnext(scan);
        if !found.is_null() {
            let tuple = pg_sys::heap_copytuple(found);
            let row = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_trigger>();
            (*row).tgenabled = firing.0;
            pg_sys::CatalogTupleUpdate(catalog, &mut (*tuple).t_self, tuple);
            pg_sys::CacheInvalidateRelcacheByRelid((*row).tgrelid);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::RowExclusiveLock as c_int);
        pg_sys::CommandCounterIncrement();
    }
}

fn address(class: pg_sys::Oid, object: pg_sys::Oid, part: i32) -> pg_sys::ObjectAddress {
    pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: part }
}
