//! The session's cursors, kept apart from code of others.
//!
//! A cursor is open to all code of its session, by its name and whatever its owner may read; and it stays open until
//! the transaction ends. Neither is for a function that runs because somebody else has written a row.

use std::ffi::CStr;

use pgrx::pg_sys;

/// How the server names the context that holds those of all portals.
const CONTEXTS: &CStr = c"TopPortalContext";

/// How it calls a portal without a name there.
const UNNAMED: &CStr = c"<unnamed>";

/// A cursor, and what it is put back to.
struct Cursor {
    portal: pg_sys::Portal,
    status: pg_sys::PortalStatus::Type,
    at_end: bool,
}

/// The cursors that were there, which nobody can use as long as it lives.
pub struct Hidden(Vec<Cursor>);

/// Hides all cursors of the session. In a transaction.
pub fn hide() -> Hidden {
    let usable = [pg_sys::PortalStatus::PORTAL_READY, pg_sys::PortalStatus::PORTAL_DONE];
    // SAFETY: portals that are there; an active one can be neither run nor closed, so they stay. One that is at its end
    // has no row for WHERE CURRENT OF.
    unsafe {
        let mut found: Vec<_> = all()
            .into_iter()
            .map(|portal| Cursor { portal, status: (*portal).status, at_end: (*portal).atEnd })
            .collect();
        found.retain(|cursor| usable.contains(&cursor.status));
        for cursor in &found {
            (*cursor.portal).status = pg_sys::PortalStatus::PORTAL_ACTIVE;
            (*cursor.portal).atEnd = true;
        }
        Hidden(found)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        for cursor in &self.0 {
            // SAFETY: it could not be closed meanwhile; an abort, which ends it, comes after this.
            unsafe {
                (*cursor.portal).status = cursor.status;
                (*cursor.portal).atEnd = cursor.at_end;
            }
        }
    }
}

/// Closes the cursors that were opened in the current subtransaction.
pub fn close_opened() {
    // SAFETY: in a transaction; each is there until it is dropped, once.
    unsafe {
        let current = pg_sys::GetCurrentSubTransactionId();
        for portal in all() {
            if (*portal).createSubid != current {
                continue;
            }
            // A language pins the cursors that its code opens, and looks them up by name when that lets them go.
            if (*portal).portalPinned {
                pg_sys::UnpinPortal(portal);
            }
            pg_sys::PortalDrop(portal, false);
        }
    }
}

/// # Safety
///
/// On the main thread. The portals are there until somebody drops them.
unsafe fn all() -> Vec<pg_sys::Portal> {
    // SAFETY: contexts form a tree of valid nodes with names of the program; that of a portal is identified by the
    // portal's name, or by one that a cursor can have as well.
    unsafe {
        let top = children(pg_sys::TopMemoryContext)
            .find(|context| CStr::from_ptr((**context).name) == CONTEXTS);
        let named = |context: pg_sys::MemoryContext| {
            let identifier = (*context).ident;
            if identifier.is_null() {
                return std::ptr::null_mut();
            }
            let portal = pg_sys::GetPortalByName(identifier);
            let of_context =
                |portal: &pg_sys::Portal| !portal.is_null() && (**portal).portalContext == context;
            if of_context(&portal) || CStr::from_ptr(identifier) != UNNAMED {
                return portal;
            }
            pg_sys::GetPortalByName(c"".as_ptr())
        };
        let portals = top.into_iter().flat_map(|top| children(top)).map(named);
        portals.filter(|portal| !portal.is_null()).collect()
    }
}

/// # Safety
///
/// A context, whose children stay as they are while the iterator is used.
unsafe fn children(context: pg_sys::MemoryContext) -> impl Iterator<Item = pg_sys::MemoryContext> {
    let there = |context: pg_sys::MemoryContext| (!context.is_null()).then_some(context);
    // SAFETY: the caller's.
    let first = unsafe { there((*context).firstchild) };
    // SAFETY: a child, and so is the next one.
    std::iter::successors(first, move |child| unsafe { there((**child).nextchild) })
}
