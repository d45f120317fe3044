//! ALTER EXTENSION UPDATE has the extension to itself, as DROP EXTENSION does.
//!
//! Its script locks our tables one after the other. The worker, and the functions that change or show webhooks, use several of them in
//! a transaction, in another order. So it waits for their transactions before it begins, and they for its.

use std::ffi::CStr;

use pgrx::is_a;
use pgrx::prelude::*;

use super::lock;
use crate::pg::{compat, identity};

/// A statement is about to run: where it updates the extension, nobody else uses that until the transaction ends. Whoever may not
/// is refused by PostgreSQL, which has waited for nobody by then.
///
/// # Safety
///
/// `node` is a utility statement, in a session that PostgreSQL runs it in.
#[pg_guard]
pub unsafe extern "C-unwind" fn before(node: *mut pg_sys::Node) {
    // SAFETY: the caller's; the node is what its tag says, and its name ends with NUL. Reads variables of this process.
    unsafe {
        if !is_a(node, pg_sys::NodeTag::T_AlterExtensionStmt)
            || CStr::from_ptr((*node.cast::<pg_sys::AlterExtensionStmt>()).extname)
                != identity::NAME
            || pg_sys::XactReadOnly
            || pg_sys::RecoveryInProgress()
        {
            return;
        }
    }
    if let Some(extension) = identity::extension()
        && compat::owns_extension(extension.oid)
    {
        lock::bar_extension(extension);
    }
}
