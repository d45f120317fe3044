//! A sequence as the place of a number that outlives crashes, rollbacks and sessions.
//!
//! What `setval(.., false)` does, without what that leaves behind: it locks the sequence until the
//! transaction ends, keeps a state of it in the session, asks for a right on it and refuses read-only
//! transactions. Here the page's own lock makes a reading and a writing one step.

use pgrx::prelude::*;

use domain::ids::Ledger;

/// The one page of a sequence has this in its special space (commands/sequence.c).
const MAGIC: u32 = 0x1717;

/// The columns of a sequence's one row.
#[repr(C)]
struct Row {
    last_value: i64,
    log_cnt: i64,
    is_called: bool,
}

const _: () = assert!(std::mem::offset_of!(Row, is_called) == 16 && align_of::<Row>() == 8);

/// A sequence whose page is locked.
pub struct Locked {
    relation: pg_sys::Relation,
    buffer: pg_sys::Buffer,
}

/// Runs `work` while nobody else can read or write `sequence`. It must be short and know nothing of the
/// server but numbers: until it returns, the session cannot be cancelled.
pub fn locked<R>(sequence: pg_sys::Oid, work: impl FnOnce(&mut Locked) -> R) -> R {
    let lock = pg_sys::RowExclusiveLock as i32;
    // SAFETY: in a transaction. An oid of no relation raises an error, that of another kind is refused; a
    // sequence has one page. What is taken is given back in reverse order, or by the abort.
    unsafe {
        let relation = pg_sys::relation_open(sequence, lock);
        if (*(*relation).rd_rel).relkind as u8 != pg_sys::RELKIND_SEQUENCE {
            error!("relation {} is no sequence", u32::from(sequence));
        }
        let buffer = pg_sys::ReadBuffer(relation, 0);
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
        let mut locked = Locked { relation, buffer };
        locked.check();
        let result = work(&mut locked);
        pg_sys::UnlockReleaseBuffer(buffer);
        pg_sys::relation_close(relation, lock);
        result
    }
}

/// Makes sure that what `sequence` holds is on disk.
pub fn flush(sequence: pg_sys::Oid) {
    let position = locked(sequence, |locked| {
        // SAFETY: the page is locked.
        unsafe {
            let header = pg_sys::BufferGetPage(locked.buffer).cast::<pg_sys::PageHeaderData>();
            u64::from((*header).pd_lsn.xlogid) << 32 | u64::from((*header).pd_lsn.xrecoff)
        }
    });
    // SAFETY: a position that the server wrote there; it is past already where the page was not changed.
    unsafe { pg_sys::XLogFlush(position) };
}

impl Locked {
    /// Raises an error where the page is not what a sequence has, so that nothing is written over.
    fn check(&self) {
        // SAFETY: the page is locked, and its header is that of every page.
        let good = unsafe {
            let page = pg_sys::BufferGetPage(self.buffer);
            let header = page.cast::<pg_sys::PageHeaderData>();
            let (special, lower) = ((*header).pd_special as usize, (*header).pd_lower as usize);
            let first = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);
            lower >= first + size_of::<pg_sys::ItemIdData>()
                && lower < special
                && special + size_of::<u32>() <= pg_sys::BLCKSZ as usize
                && page.add(special).cast::<u32>().read_unaligned() == MAGIC
        };
        if !good {
            error!("the page of a sequence is not one");
        }
    }
}

/// The row on a page of a sequence.
///
/// # Safety
///
/// [`Locked::check`] has found the page good, or it is a copy of one.
unsafe fn row(page: pg_sys::Page) -> *mut Row {
    // SAFETY: the caller's: there is a first item, a row whose columns begin at its header's end.
    unsafe {
        let header = page.cast::<pg_sys::PageHeaderData>();
        let offset = (*(*header).pd_linp.as_ptr()).lp_off() as usize;
        let tuple = page.byte_add(offset).cast::<pg_sys::HeapTupleHeaderData>();
        tuple.byte_add((*tuple).t_hoff as usize).cast()
    }
}

impl Locked {
    /// A number, and beside it another one: where it was noted.
    pub fn noted(&self) -> (i64, i64) {
        // SAFETY: the page is locked, and a good one.
        let row = unsafe { &*row(pg_sys::BufferGetPage(self.buffer)) };
        (row.last_value, row.log_cnt)
    }

    /// Sets both. The second one is where the server keeps how many numbers it may still give without writing to the
    /// write-ahead log: of such a sequence nobody may draw any.
    pub fn note(&mut self, number: i64, place: i64) {
        self.write(Row { last_value: number, log_cnt: place, is_called: false });
    }

    fn write(&mut self, new: Row) {
        // SAFETY: the page is locked, and a good one; what is changed is the copy that the second call returns
        // and the third one writes to the write-ahead log and to the page.
        unsafe {
            let state = pg_sys::GenericXLogStart(self.relation);
            let page = pg_sys::GenericXLogRegisterBuffer(state, self.buffer, 0);
            *row(page) = new;
            pg_sys::GenericXLogFinish(state);
        }
    }
}

impl Ledger for Locked {
    fn mark(&self) -> i64 {
        // SAFETY: the page is locked, and a good one.
        let row = unsafe { &*row(pg_sys::BufferGetPage(self.buffer)) };
        row.last_value.saturating_add(i64::from(row.is_called))
    }

    fn raise(&mut self, mark: i64) {
        self.write(Row { last_value: mark, log_cnt: 0, is_called: false });
    }
}
