//! SQL statements kept as files, run through SPI with plans that are kept.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::marker::PhantomData;
use std::ptr;

use pgrx::IntoDatum;
use pgrx::prelude::*;

use super::row::is_named;
use super::types::{Readable, Writable};
use super::{compat, report};
use domain::refusal::Refusal;

/// A statement in `sql/query/`.
#[derive(Clone, Copy)]
pub struct Sql {
    /// The file's name, for messages.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The statement in the file of this name under `sql/query/`.
macro_rules! sql {
    ($name:literal) => {
        $crate::pg::spi::Sql {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/query/", $name, ".sql")),
        }
    };
}
pub(crate) use sql;

/// One value with its type: an argument of a statement, or a column of a row to be written.
#[derive(Clone, Copy)]
pub struct Arg {
    pub(super) type_oid: pg_sys::Oid,
    pub(super) datum: Option<pg_sys::Datum>,
}

impl Arg {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        self.datum.is_none()
    }
}

/// Makes the argument of any value that SQL has a type for; `None` is NULL.
pub fn arg<T: Writable>(value: T) -> Arg {
    Arg { type_oid: T::Sql::type_oid(), datum: value.into_sql().into_datum() }
}

/// An open SPI connection.
pub struct Session {
    /// SPI belongs to the main thread.
    _main_thread: PhantomData<*const ()>,
}

/// What a statement returned, or how many rows it changed.
pub struct Rows<'s> {
    statement: &'static str,
    table: *mut pg_sys::SPITupleTable,
    count: usize,
    _session: PhantomData<&'s Session>,
}

/// One row.
#[derive(Clone, Copy)]
pub struct Row<'r> {
    statement: &'static str,
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    _rows: PhantomData<&'r ()>,
}

/// Runs `work` with SPI connected. Memory of rows ends with it.
pub fn connect<R>(work: impl FnOnce(&Session) -> R) -> R {
    // SAFETY: main thread (pgrx checks it); an error on the way out leaves the connection to the
    // transaction's abort, as PostgreSQL documents.
    unsafe { pg_sys::SPI_connect() };
    let _open = Open::begin();
    let result = work(&Session { _main_thread: PhantomData });
    // SAFETY: connected above, and `Session` cannot leave `work`.
    unsafe { pg_sys::SPI_finish() };
    result
}

thread_local! {
    /// How many sessions are open, one inside the other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether a function of ours is about to run a statement, or is running one.
pub fn is_open() -> bool {
    DEPTH.get() > 0
}

/// Counts an open session, until it is dropped, on the way of an error as well.
struct Open;

impl Open {
    fn begin() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

impl Session {
    /// Runs a statement as a client would: it sees what has committed by now (by the begin of the
    /// transaction from REPEATABLE READ on) and all that this transaction did, and may change things.
    pub fn run(&self, sql: Sql, args: &[Arg]) -> Rows<'_> {
        self.execute(sql, args, false, Planning::Server)
    }

    /// As [`Session::run`], for what takes longer to plan than to run: it is planned once in a session, and not for these arguments.
    pub fn run_generic(&self, sql: Sql, args: &[Arg]) -> Rows<'_> {
        self.execute(sql, args, false, Planning::Once)
    }

    /// Runs a statement that only reads, in the active snapshot: it sees nothing that happened after
    /// that was taken, not even in this transaction.
    pub fn read(&self, sql: Sql, args: &[Arg]) -> Rows<'_> {
        self.execute(sql, args, true, Planning::Server)
    }

    /// As [`Session::read`], for what takes longer to plan than to run: it is planned once in a session, and not for
    /// these arguments.
    pub fn look_up(&self, sql: Sql, args: &[Arg]) -> Rows<'_> {
        self.execute(sql, args, true, Planning::Once)
    }

    fn execute(&self, sql: Sql, args: &[Arg], read_only: bool, planning: Planning) -> Rows<'_> {
        let plan = prepared(sql, args, planning);
        let (mut values, nulls) = bound(args);
        // SAFETY: connected (self exists); the plan is kept and was prepared for these types; values and
        // nulls have its number of arguments.
        let (status, table, count) = unsafe {
            pg_sys::SPI_tuptable = ptr::null_mut();
            let status =
                pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0);
            (status, pg_sys::SPI_tuptable, pg_sys::SPI_processed)
        };
        check(sql, status);
        Rows { statement: sql.name, table, count: count as usize, _session: PhantomData }
    }

    /// Asks once: one query, whose text PostgreSQL's own `format()` has quoted.
    pub fn ask(&self, statement: &str, args: &[Arg]) -> Rows<'_> {
        let text = CString::new(statement).expect("text from PostgreSQL has no NUL");
        let mut types: Vec<pg_sys::Oid> = args.iter().map(|arg| arg.type_oid).collect();
        let (mut values, nulls) = bound(args);
        // SAFETY: connected; text and arrays outlive the call and have one entry for each argument.
        let (status, table, count) = unsafe {
            pg_sys::SPI_tuptable = ptr::null_mut();
            let status = pg_sys::SPI_execute_with_args(
                text.as_ptr(),
                args.len() as i32,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr(),
                false,
                0,
            );
            (status, pg_sys::SPI_tuptable, pg_sys::SPI_processed)
        };
        let sql = Sql { name: "a generated query", text: "" };
        check(sql, status);
        Rows { statement: sql.name, table, count: count as usize, _session: PhantomData }
    }

    /// Runs one statement of data definition, whose text PostgreSQL's own `format()` has quoted.
    pub fn define(&self, statement: &str) {
        let text = CString::new(statement).expect("text from PostgreSQL has no NUL");
        // SAFETY: connected; the text outlives the call.
        let status = unsafe { pg_sys::SPI_execute(text.as_ptr(), false, 0) };
        check(Sql { name: "data definition", text: "" }, status);
    }
}

fn check(sql: Sql, status: i32) {
    if status < 0 {
        // A programming error: everything that data can do arrives as an ERROR of its own.
        ereport!(
            ERROR,
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("statement \"{}\" failed with SPI status {status}", sql.name)
        );
    }
}

/// Values and marks of NULL, as SPI takes them.
fn bound(args: &[Arg]) -> (Vec<pg_sys::Datum>, Vec<c_char>) {
    let value = |arg: &Arg| arg.datum.unwrap_or(pg_sys::Datum::from(0usize));
    let null = |arg: &Arg| if arg.datum.is_some() { b' ' } else { b'n' } as c_char;
    (args.iter().map(value).collect(), args.iter().map(null).collect())
}

/// A kept plan, and the types of the arguments that it takes.
struct Plan {
    types: Box<[pg_sys::Oid]>,
    plan: pg_sys::SPIPlanPtr,
}

impl Plan {
    fn takes(&self, args: &[Arg]) -> bool {
        self.types.iter().copied().eq(args.iter().map(|arg| arg.type_oid))
    }
}

/// For which arguments a statement is planned.
#[derive(Clone, Copy)]
enum Planning {
    /// As PostgreSQL does: for those of each of the first five calls, and then for any, if that does no worse.
    Server = 0,
    /// For any.
    Once = pg_sys::CURSOR_OPT_GENERIC_PLAN as isize,
}

/// The kept plan of a statement for arguments of these types. Plans live as long as the process; PostgreSQL
/// replans them when what they refer to changes.
fn prepared(sql: Sql, args: &[Arg], planning: Planning) -> pg_sys::SPIPlanPtr {
    thread_local! {
        /// By the address and length of the text, which is never freed.
        static PLANS: RefCell<HashMap<*const str, Vec<Plan>>> = RefCell::default();
    }
    let key = ptr::from_ref(sql.text);
    let known = PLANS.with_borrow(|plans| {
        plans.get(&key)?.iter().find(|plan| plan.takes(args)).map(|known| known.plan)
    });
    if let Some(plan) = known {
        return plan;
    }
    let text = CString::new(sql.text).expect("statements have no NUL");
    let mut types: Box<[pg_sys::Oid]> = args.iter().map(|arg| arg.type_oid).collect();
    // SAFETY: connected (the caller holds a Session); text and types outlive the call.
    let plan = unsafe {
        let (count, types) = (types.len() as i32, types.as_mut_ptr());
        pg_sys::SPI_prepare_cursor(text.as_ptr(), count, types, planning as i32)
    };
    if plan.is_null() {
        // SAFETY: reads an int of the main thread.
        check(sql, unsafe { pg_sys::SPI_result });
    }
    // SAFETY: a plan that was just prepared.
    check(sql, unsafe { pg_sys::SPI_keepplan(plan) }.min(0));
    PLANS.with_borrow_mut(|plans| plans.entry(key).or_default().push(Plan { types, plan }));
    plan
}

impl Rows<'_> {
    /// Rows returned or changed.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// The rows that were returned.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        // SAFETY: the table lives as long as the session.
        let returned = unsafe { self.table.as_ref() }.map_or(0, |table| table.numvals as usize);
        (0..returned).map(|index| {
            // SAFETY: as above; it has so many tuples.
            let (tuple, descriptor) =
                unsafe { (*(*self.table).vals.add(index), (*self.table).tupdesc) };
            Row { statement: self.statement, tuple, descriptor, _rows: PhantomData }
        })
    }
}

impl<'r> Row<'r> {
    /// The column of that name; `None` for NULL. Raises an error where it is of another type than the caller takes it for, or
    /// there is none.
    pub fn get<T: Readable<'r>>(&self, column: &'static str) -> Option<T> {
        // SAFETY: the descriptor is the result's, which lives as long as the session.
        let columns = unsafe { compat::attributes(self.descriptor) };
        let Some(at) = columns.iter().position(|found| is_named(found, column)) else {
            self.refuse(column, pg_sys::InvalidOid);
        };
        let type_oid = columns[at].atttypid;
        if !T::reads(type_oid) {
            self.refuse(column, type_oid);
        }
        let mut null = false;
        // SAFETY: tuple and descriptor belong together and live as long as the session, and the column, which there is, is of
        // a type that `T` is made from.
        unsafe {
            let number = at as i32 + 1;
            let datum = pg_sys::SPI_getbinval(self.tuple, self.descriptor, number, &mut null);
            T::read(datum, null, type_oid)
        }
    }

    /// An administrator has changed a table.
    #[cold]
    fn refuse(&self, column: &'static str, found: pg_sys::Oid) -> ! {
        let (statement, found) = (self.statement, found.into());
        report::raise(Refusal::OtherType { column, statement, found })
    }

    /// A column that is never NULL.
    pub fn value<T: Readable<'r>>(&self, column: &'static str) -> T {
        self.get(column).expect("a column that is declared NOT NULL")
    }
}
