//! Writing a row without a statement.

use pgrx::pg_sys;

/// Inserts a row of all columns of `relation`, in their order, in the current transaction. Needs no
/// right on the table, runs no trigger, and costs half of what a prepared INSERT does.
///
/// # Panics
///
/// The table has another number of columns.
pub fn insert<const COLUMNS: usize>(
    relation: pg_sys::Oid,
    columns: [Option<pg_sys::Datum>; COLUMNS],
) {
    let mut values = columns.map(|column| column.unwrap_or(pg_sys::Datum::null()));
    let mut nulls = columns.map(|column| column.is_none());
    // SAFETY: in a transaction; the tuple is made for the table's descriptor, of which the number of
    // columns is checked, and the lock is kept until the transaction ends, as for any insert.
    unsafe {
        let relation = pg_sys::table_open(relation, pg_sys::RowExclusiveLock as i32);
        let descriptor = (*relation).rd_att;
        assert_eq!((*descriptor).natts as usize, COLUMNS, "columns of the relation");
        let tuple = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::CatalogTupleInsert(relation, tuple);
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
    }
}
