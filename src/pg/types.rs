//! Domain values as SQL values.

use std::ffi::CString;

use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum, direct_function_call_as_datum};

use crate::domain::snapshot::{Snapshot, Xid8};
use crate::domain::time::Timestamp;

macro_rules! eight_bytes {
    ($type:ident, $inner:ty, $oid:expr) => {
        impl IntoDatum for $type {
            fn into_datum(self) -> Option<pg_sys::Datum> {
                Some(pg_sys::Datum::from(self.0))
            }

            fn type_oid() -> pg_sys::Oid {
                $oid
            }
        }

        impl FromDatum for $type {
            unsafe fn from_polymorphic_datum(
                datum: pg_sys::Datum,
                is_null: bool,
                _: pg_sys::Oid,
            ) -> Option<Self> {
                (!is_null).then(|| Self(datum.value() as $inner))
            }
        }
    };
}

eight_bytes!(Xid8, u64, pg_sys::XID8OID);
eight_bytes!(Timestamp, i64, pg_sys::TIMESTAMPTZOID);

impl IntoDatum for Snapshot {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let text = CString::new(self.to_string()).ok()?;
        // SAFETY: the input function of the type, on a text that outlives the call.
        unsafe {
            direct_function_call_as_datum(pg_sys::pg_snapshot_in, &[Some(text.as_ptr().into())])
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::PG_SNAPSHOTOID
    }
}
