//! Looking at SQL text with the server's own grammar.

use std::ffi::CString;

use pgrx::PgList;
use pgrx::pg_sys;

/// Whether `text` is one expression and nothing else: no alias, no second expression, no clause, no
/// second statement. Such a text keeps its meaning between parentheses.
///
/// Raises the server's syntax error where it does not parse.
pub fn is_single_expression(text: &str) -> bool {
    let Ok(statement) = CString::new(format!("SELECT {text}")) else {
        return false;
    };
    // SAFETY: the text outlives the call and ends with NUL. The tree lives in the current memory context and is only
    // read: the parser returns a list of RawStmt, a SelectStmt is cast to after its tag has been seen, its lists are
    // lists of nodes or null, and its targets are ResTargets, each of which is looked at after its tag as well.
    unsafe {
        let statements = PgList::<pg_sys::RawStmt>::from_pg(pg_sys::raw_parser(
            statement.as_ptr(),
            pg_sys::RawParseMode::RAW_PARSE_DEFAULT,
        ));
        let Some(raw) = statements.get_ptr(0).filter(|_| statements.len() == 1) else {
            return false;
        };
        if !pgrx::is_a((*raw).stmt, pg_sys::NodeTag::T_SelectStmt) {
            return false;
        }
        let select = &*(*raw).stmt.cast::<pg_sys::SelectStmt>();
        let targets = PgList::<pg_sys::ResTarget>::from_pg(select.targetList);
        let bare = select.op == pg_sys::SetOperation::SETOP_NONE
            && select.distinctClause.is_null()
            && select.intoClause.is_null()
            && select.fromClause.is_null()
            && select.whereClause.is_null()
            && select.groupClause.is_null()
            && select.havingClause.is_null()
            && select.windowClause.is_null()
            && select.valuesLists.is_null()
            && select.sortClause.is_null()
            && select.limitOffset.is_null()
            && select.limitCount.is_null()
            && select.lockingClause.is_null()
            && select.withClause.is_null();
        bare && targets.len() == 1
            && targets.get_ptr(0).is_some_and(|target| {
                pgrx::is_a(target.cast(), pg_sys::NodeTag::T_ResTarget) && (*target).name.is_null()
            })
    }
}
