//! Subscriptions of logical replication: our tables are in none.
//!
//! A publication of all tables carries ours, and a subscriber takes nothing of them. Most of it is done by what is said here,
//! to PostgreSQL: a table that is not among those of the subscription is neither copied nor changed, and nobody is asked
//! for a right on it. What comes all the same, where somebody subscribes without us, triggers leave out: [`super::applied`].

use pgrx::is_a;
use pgrx::prelude::*;

use super::{ffi, identity};

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
    let mut tables = Vec::new();
    // SAFETY: in a transaction; a catalog scan, of which each tuple begins with that struct and is read before the next.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhook".as_ptr(), true);
        let lock = pg_sys::AccessShareLock as i32;
        let catalog = pg_sys::table_open(ffi::SUBSCRIPTION_TABLES, lock);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            ffi::SubscriptionTable::SUBSCRIPTION,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_OIDEQ.into(),
            subscription.into(),
        );
        let (none, nobody) = (pg_sys::InvalidOid, std::ptr::null_mut());
        let scan = pg_sys::systable_beginscan(catalog, none, false, nobody, 1, &mut key);
        loop {
            let found = pg_sys::systable_getnext(scan);
            if found.is_null() {
                break;
            }
            let form = &*pg_sys::GETSTRUCT(found).cast::<ffi::SubscriptionTable>();
            let is_ours = pg_sys::get_rel_namespace(form.table) == schema;
            if is_ours && AT_REST.contains(&(form.state as u8)) {
                tables.push(form.table);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, lock);
    }
    tables
}
