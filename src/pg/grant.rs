//! GRANT and REVOKE without a statement.
//!
//! As a statement they fire the event triggers of the database, whose functions would run as the owner of our tables
//! and look names up in somebody else's path.

use std::ffi::CString;

use pgrx::PgList;
use pgrx::prelude::*;

/// Runs one GRANT or REVOKE, whose names PostgreSQL's own `format()` has quoted. There is no literal in it, so it
/// means the same under every setting.
///
/// It is no part of the script of CREATE or ALTER EXTENSION that may have called: PostgreSQL would note what comes of it as the
/// extension's own, which is in no dump, and of which pg_dump complains where it is about the row types of tables.
pub fn run(statement: &str) {
    // SAFETY: a variable of the main thread. After an error the server sets it itself, to false.
    unsafe {
        let creating = pg_sys::creating_extension;
        pg_sys::creating_extension = false;
        execute(statement);
        pg_sys::creating_extension = creating;
    }
}

fn execute(statement: &str) {
    let text = CString::new(statement).expect("text from PostgreSQL has no NUL");
    // SAFETY: main thread in a transaction. The text outlives the calls; the tree lives in the current memory
    // context, and each node is read after its tag.
    unsafe {
        let statements = PgList::<pg_sys::RawStmt>::from_pg(pg_sys::raw_parser(
            text.as_ptr(),
            pg_sys::RawParseMode::RAW_PARSE_DEFAULT,
        ));
        let only = statements.get_ptr(0).filter(|_| statements.len() == 1);
        let grant = only
            .map(|raw| (*raw).stmt)
            .filter(|node| pgrx::is_a(*node, pg_sys::NodeTag::T_GrantStmt));
        let Some(grant) = grant else {
            error!("\"{statement}\" is no GRANT");
        };
        // Callers have locked the catalog's rows; what was waited for is in them, and not in our cache of them yet.
        pg_sys::AcceptInvalidationMessages();
        pg_sys::ExecuteGrantStmt(grant.cast());
        // The next one may change the same object.
        pg_sys::CommandCounterIncrement();
    }
}
