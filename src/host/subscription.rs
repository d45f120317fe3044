//! Subscriptions of logical replication: our tables are in none.
//!
//! A publication of all tables carries ours, and a subscriber takes nothing of them. Most of it is done by what is said here,
//! to PostgreSQL: a table that is not among those of the subscription is neither copied nor changed, and nobody is asked
//! for a right on it. What comes all the same, where somebody subscribes without us, is left out by triggers:
//! [`crate::pg::applied`].

use pgrx::is_a;
use pgrx::prelude::*;

use crate::pg::{catalog, ffi, identity};

/// States of a table in which nothing would be left behind at the publisher: it waits to be copied, or has been. Who is
/// about to begin copying it finds it gone, and ends with an error.
const AT_REST: [u8; 2] = [b'i', b'r'];

/// Whether the statement makes a subscription, or changes one.
///
/// # Safety
///
/// `node` is a utility statement.
pub unsafe fn is_changed_by(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's.
    unsafe {
        is_a(node, pg_sys::NodeTag::T_CreateSubscriptionStmt)
            || is_a(node, pg_sys::NodeTag::T_AlterSubscriptionStmt)
    }
}

/// Such a statement has run: ours are taken out of what it has put in.
///
/// # Safety
///
/// `node` is one, in the transaction in which it has run.
#[pg_guard]
pub unsafe extern "C-unwind" fn after(node: *mut pg_sys::Node) {
    // SAFETY: the caller's; the node is what its tag says.
    unsafe {
        if identity::extension().is_none() {
            return;
        }
        let name = match (*node).type_ {
            pg_sys::NodeTag::T_CreateSubscriptionStmt => {
                (*node.cast::<pg_sys::CreateSubscriptionStmt>()).subname
            }
            _ => (*node.cast::<pg_sys::AlterSubscriptionStmt>()).subname,
        };
        pg_sys::CommandCounterIncrement();
        let subscription = ffi::subscription(name);
        for table in ours(subscription) {
            ffi::remove_from_subscription(subscription, table);
        }
    }
}

/// Our tables among those of the subscription.
fn ours(subscription: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let schema = identity::schema();
    let of_it = (ffi::SubscriptionTable::SUBSCRIPTION, subscription);
    let table = |row: &ffi::SubscriptionTable| {
        // SAFETY: looks at the catalog.
        let is_ours = unsafe { pg_sys::get_rel_namespace(row.table) } == schema;
        (is_ours && AT_REST.contains(&(row.state as u8))).then_some(row.table)
    };
    // SAFETY: in a transaction; rows of that catalog begin with that struct, and its index begins with the table.
    unsafe { catalog::rows(ffi::SUBSCRIPTION_TABLES, None, of_it, table) }
}
