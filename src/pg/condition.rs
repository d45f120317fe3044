//! The condition of a trigger, as PostgreSQL has parsed it: a tree that is never text again.

use std::ffi::{CStr, CString};
use std::ptr;

use pgrx::FromDatum;
use pgrx::pg_sys;

use super::compat;
use super::row::Row;
use super::table::Table;
use super::types::Readable;

/// How the catalog numbers the rows of a condition.
const OLD: u32 = pg_sys::PRS2_OLD_VARNO;
const NEW: u32 = pg_sys::PRS2_NEW_VARNO;

/// What the WHEN of a trigger says: `pg_trigger.tgqual`.
pub struct Condition(CString);

// SAFETY: only the server makes values of this type.
unsafe impl Readable<'_> for Condition {
    fn reads(type_oid: pg_sys::Oid) -> bool {
        type_oid == pg_sys::PG_NODE_TREEOID
    }

    unsafe fn read(datum: pg_sys::Datum, null: bool, _: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller's datum is one; it is stored as a text is.
        let text = unsafe { <&str>::from_datum(datum, null) }?;
        CString::new(text).ok().map(Self)
    }
}

impl Condition {
    /// That of a trigger in the catalog.
    pub(super) fn of_catalog(text: CString) -> Self {
        Self(text)
    }

    /// As the catalog has it.
    pub fn text(&self) -> &CStr {
        &self.0
    }

    /// A new tree, in the current memory context.
    pub(super) fn tree(&self) -> *mut pg_sys::Node {
        // SAFETY: a text that the server has written into its catalog.
        unsafe { pg_sys::stringToNode(self.0.as_ptr()).cast() }
    }

    /// Whether it looks at the old row, and at the new one.
    pub fn looks_at(&self) -> (bool, bool) {
        // SAFETY: a whole tree; without subqueries, as every WHEN is.
        unsafe {
            let rows = pg_sys::pull_varnos(ptr::null_mut(), self.tree());
            (pg_sys::bms_is_member(OLD as i32, rows), pg_sys::bms_is_member(NEW as i32, rows))
        }
    }

    /// The numbers of the columns that it names.
    pub fn columns(&self) -> Vec<i16> {
        // SAFETY: as above; the set holds attribute numbers, counted from the lowest that there is.
        unsafe {
            let tree = self.tree();
            let mut set = ptr::null_mut();
            pg_sys::pull_varattnos(tree, OLD, &mut set);
            pg_sys::pull_varattnos(tree, NEW, &mut set);
            let mut columns = Vec::new();
            let mut member = pg_sys::bms_next_member(set, -1);
            while member >= 0 {
                columns.push((member + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16);
                member = pg_sys::bms_next_member(set, member);
            }
            columns.retain(|number| *number > 0);
            columns
        }
    }

    /// Has the trigger depend on the functions, types and columns that it names, as a WHEN that is parsed does.
    ///
    /// # Safety
    ///
    /// `trigger` is one of `table`, with this condition.
    pub(super) unsafe fn record_dependencies(
        &self,
        trigger: &pg_sys::ObjectAddress,
        table: pg_sys::Oid,
    ) {
        // SAFETY: the caller's; an entry for each of the two rows, of which only kind and table are read.
        unsafe {
            let mut rows = ptr::null_mut();
            for _ in [OLD, NEW] {
                let row = pg_sys::palloc0(size_of::<pg_sys::RangeTblEntry>())
                    .cast::<pg_sys::RangeTblEntry>();
                (*row).type_ = pg_sys::NodeTag::T_RangeTblEntry;
                (*row).rtekind = pg_sys::RTEKind::RTE_RELATION;
                (*row).relid = table;
                rows = pg_sys::lappend(rows, row.cast());
            }
            let normal = pg_sys::DependencyType::DEPENDENCY_NORMAL;
            pg_sys::recordDependencyOnExpr(trigger, self.tree(), rows, normal);
        }
    }

    /// Whether it holds for a change of a row of `table`, of which it is a trigger's: evaluated as the server does when
    /// the trigger fires, with the current rights.
    ///
    /// # Safety
    ///
    /// The rows are of that table.
    pub unsafe fn holds(&self, table: &Table, old: &Row<'_>, new: &Row<'_>) -> bool {
        // SAFETY: the caller's, and the table is open; the slots, the tree and what it is evaluated with are of the
        // current memory context, and are released here or by the abort.
        unsafe {
            let tree = compat::expand_generated(self.tree(), table.relation());
            pg_sys::ChangeVarNodes(tree, OLD as i32, pg_sys::INNER_VAR, 0);
            pg_sys::ChangeVarNodes(tree, NEW as i32, pg_sys::OUTER_VAR, 0);
            let executor = pg_sys::CreateExecutorState();
            let parts = pg_sys::make_ands_implicit(tree.cast());
            let prepared = pg_sys::ExecPrepareQual(parts, executor);
            let slot = |row: &Row<'_>| {
                let kind = &raw const pg_sys::TTSOpsHeapTuple;
                let slot = pg_sys::MakeSingleTupleTableSlot(table.descriptor(), kind);
                pg_sys::ExecStoreHeapTuple(row.tuple(), slot, false)
            };
            let (old, new) = (slot(old), slot(new));
            let context = pg_sys::CreateExprContext(executor);
            (*context).ecxt_innertuple = old;
            (*context).ecxt_outertuple = new;
            let holds = pg_sys::ExecQual(prepared, context);
            pg_sys::ExecDropSingleTupleTableSlot(old);
            pg_sys::ExecDropSingleTupleTableSlot(new);
            pg_sys::FreeExecutorState(executor);
            holds
        }
    }
}
