//! What differs between the major versions of PostgreSQL. Nothing else in the code asks which one it is built for.
//!
//! Conditions name the older majors, so that one that is new is built as the newest that is known.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::submodules::ffi::pg_guard_ffi_boundary as guard;

mod raw {
    use super::pg_sys;

    unsafe extern "C-unwind" {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        pub fn DefineDomain(statement: *mut pg_sys::CreateDomainStmt) -> pg_sys::ObjectAddress;
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        pub fn DefineDomain(
            parser: *mut pg_sys::ParseState,
            statement: *mut pg_sys::CreateDomainStmt,
        ) -> pg_sys::ObjectAddress;
    }
}

/// Settings of a worker's session that only some majors have: timeouts that would end its transactions.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const TIMEOUTS: [(&CStr, &CStr); 0] = [];
/// Settings of a worker's session that only some majors have: timeouts that would end its transactions.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub const TIMEOUTS: [(&CStr, &CStr); 1] = [(c"transaction_timeout", c"0")];

/// Puts a row that has just been inserted into all indexes, summarizing ones included.
///
/// # Safety
///
/// `indexes` are those of an open table, opened with ExecOpenIndices; `slot` holds the row with its position in
/// that table; `executor` is live.
pub unsafe fn insert_into_indexes(
    indexes: &mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    executor: *mut pg_sys::EState,
) {
    let (no_report, everywhere) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the caller's.
    unsafe {
        pg_sys::ExecInsertIndexTuples(
            indexes,
            slot,
            executor,
            false,
            false,
            no_report,
            everywhere,
            #[cfg(not(feature = "pg15"))]
            false,
        );
    }
}

/// commands/tablecmds.h: TRUNCATE, of which logical decoding sees nothing.
///
/// # Safety
///
/// In a transaction; the relations are open tables to which no foreign key of another table refers, and locked against everybody
/// else.
pub unsafe fn truncate(relations: &[pg_sys::Relation]) {
    let nobody = std::ptr::null_mut();
    // SAFETY: the caller's; the lists are of the current memory context. The relations stay open: who is to close them
    // is in the first list.
    unsafe {
        let (mut tables, mut numbers) = (nobody, nobody);
        for relation in relations {
            tables = pg_sys::lappend(tables, relation.cast());
            numbers = pg_sys::lappend_oid(numbers, (**relation).rd_id);
        }
        pg_sys::ExecuteTruncateGuts(
            tables,
            numbers,
            nobody,
            pg_sys::DropBehavior::DROP_RESTRICT,
            false,
            #[cfg(not(feature = "pg15"))]
            false,
        );
    }
}

/// The columns of a table, those that have been dropped among them.
///
/// # Safety
///
/// The descriptor stays as it is for `'a`.
pub unsafe fn attributes<'a>(descriptor: pg_sys::TupleDesc) -> &'a [pg_sys::FormData_pg_attribute] {
    // SAFETY: the caller's; the array has `natts` entries, and none may be asked for where there are no columns.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        let first = (*descriptor).attrs.as_ptr();
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        let first = match (*descriptor).natts {
            0 => return &[],
            _ => pg_sys::TupleDescAttr(descriptor, 0),
        };
        std::slice::from_raw_parts(first, (*descriptor).natts as usize)
    }
}

/// The number of this process among those that have one.
pub fn process_number() -> i32 {
    // SAFETY: a background worker has one for life.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        let number = (*pg_sys::MyProc).pgprocno;
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        let number = pg_sys::MyProcNumber;
        number
    }
}

/// Has `handler` called at a signal, as the server has its own called.
///
/// # Safety
///
/// The handler does only what a signal handler may.
pub unsafe fn on_signal(signal: u32, handler: unsafe extern "C-unwind" fn(i32)) {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        pg_sys::pqsignal(signal as i32, Some(handler));
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        pg_sys::pqsignal_be(signal as i32, Some(handler));
    }
}

/// Runs the server's own clean-up and ends this process.
pub fn exit(code: i32) -> ! {
    // SAFETY: ends the process; nothing of ours is used afterwards.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        pg_sys::proc_exit(code);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        {
            pg_sys::proc_exit(code);
            unreachable!("proc_exit does not return")
        }
    }
}

/// What pg_stat_activity shows as the event that a process of ours waits for: `name`, where the major lets
/// extensions name theirs, otherwise `Extension`. The name is kept in shared memory for the life of the server, so
/// there must be few.
pub fn wait_event(name: &'static CStr) -> u32 {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    {
        let _ = name;
        pg_sys::PG_WAIT_EXTENSION
    }
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    // SAFETY: main thread of a process with shared memory; the same name gives the same number.
    unsafe {
        pg_sys::WaitEventExtensionNew(name.as_ptr())
    }
}

/// A trigger's condition with virtual generated columns, which rows in triggers do not hold, put in as what they are
/// computed from.
///
/// # Safety
///
/// `condition` is the tree of a trigger of the open table, with OLD and NEW as the catalog numbers them.
pub unsafe fn expand_generated(
    condition: *mut pg_sys::Node,
    relation: pg_sys::Relation,
) -> *mut pg_sys::Node {
    #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
    // SAFETY: the caller's.
    unsafe {
        let condition = pg_sys::expand_generated_columns_in_expr(
            condition,
            relation,
            pg_sys::PRS2_OLD_VARNO as i32,
        );
        pg_sys::expand_generated_columns_in_expr(condition, relation, pg_sys::PRS2_NEW_VARNO as i32)
    }
    #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
    {
        let _ = relation;
        condition
    }
}

/// Whether the current role may drop the extension. In a transaction.
pub fn owns_extension(extension: pg_sys::Oid) -> bool {
    // SAFETY: looks at the catalog.
    unsafe {
        let role = pg_sys::GetUserId();
        #[cfg(feature = "pg15")]
        let owns = pg_sys::pg_extension_ownercheck(extension, role);
        #[cfg(not(feature = "pg15"))]
        let owns = pg_sys::object_ownercheck(pg_sys::ExtensionRelationId, extension, role);
        owns
    }
}

/// commands/typecmds.h: CREATE DOMAIN, without the event triggers of the statement.
///
/// # Safety
///
/// In a transaction; the statement is whole.
pub unsafe fn define_domain(statement: *mut pg_sys::CreateDomainStmt) -> pg_sys::ObjectAddress {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        let made = guard(|| raw::DefineDomain(statement));
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        let made = {
            let parser = pg_sys::make_parsestate(std::ptr::null_mut());
            guard(|| raw::DefineDomain(parser, statement))
        };
        made
    }
}

/// utils/guc_tables.h: the server's record of a setting, which stays as long as the process; `None` where it has none of
/// that name, which has to be in lower case.
pub fn setting(name: &CStr) -> Option<*mut pg_sys::config_generic> {
    // SAFETY: main thread; the list has as many records as there are settings.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            let records = pg_sys::get_guc_variables();
            let count = pg_sys::GetNumConfigOptions() as usize;
            let mut records = (0..count).map(|index| *records.add(index));
            records.find(|record| CStr::from_ptr((**record).name) == name)
        }
        #[cfg(not(feature = "pg15"))]
        {
            let record = pg_sys::find_option(name.as_ptr(), false, true, 0);
            (!record.is_null()).then_some(record)
        }
    }
}
