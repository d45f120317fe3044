//! Values of Rust as SQL has them: what goes into a statement or a row, and what comes out.

use std::ffi::CString;

use pgrx::datum::{Interval, JsonB, TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;
use pgrx::{FromDatum, IntoDatum, direct_function_call_as_datum};

use super::memory;
use domain::key::{BatchId, DeliveryId, WebhookId};
use domain::snapshot::{Snapshot, Xid8};
use domain::time::Timestamp;

/// What can be an argument of a statement, or a column of a row to be written.
///
/// pgrx's own trait cannot be implemented for types of other rooms.
pub trait Writable {
    /// As pgrx knows it.
    type Sql: IntoDatum;

    /// The same value.
    fn into_sql(self) -> Self::Sql;
}

macro_rules! writable {
    ($($own:ty),*) => {
        $(
            impl Writable for $own {
                type Sql = Self;

                fn into_sql(self) -> Self {
                    self
                }
            }
        )*
    };
}

writable!(bool, i16, i32, i64, f64, &str, String, Vec<u8>, pg_sys::Oid, Uuid, JsonB, Interval);
writable!(TimestampWithTimeZone);

impl<T: Writable> Writable for Option<T> {
    type Sql = Option<T::Sql>;

    fn into_sql(self) -> Self::Sql {
        self.map(T::into_sql)
    }
}

impl<T: Writable> Writable for Vec<T> {
    type Sql = Vec<T::Sql>;

    fn into_sql(self) -> Self::Sql {
        self.into_iter().map(T::into_sql).collect()
    }
}

/// Eight bytes of a type that is passed by value.
pub struct Eight<const OID: u32>(u64);

impl<const OID: u32> IntoDatum for Eight<OID> {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.0))
    }

    fn type_oid() -> pg_sys::Oid {
        OID.into()
    }
}

macro_rules! eight_bytes {
    ($type:ident, $inner:ty, $oid:expr) => {
        impl Writable for $type {
            type Sql = Eight<{ $oid.to_u32() }>;

            fn into_sql(self) -> Self::Sql {
                Eight(self.0 as u64)
            }
        }

        // SAFETY: a value of that type is its eight bytes.
        unsafe impl Readable<'_> for $type {
            fn reads(type_oid: pg_sys::Oid) -> bool {
                type_oid == $oid
            }

            unsafe fn read(datum: pg_sys::Datum, null: bool, _: pg_sys::Oid) -> Option<Self> {
                (!null).then(|| Self(datum.value() as $inner))
            }
        }
    };
}

eight_bytes!(Xid8, u64, pg_sys::XID8OID);
eight_bytes!(Timestamp, i64, pg_sys::TIMESTAMPTZOID);

/// A `pg_snapshot`.
pub struct SnapshotValue(CString);

impl Writable for &Snapshot {
    type Sql = SnapshotValue;

    fn into_sql(self) -> SnapshotValue {
        SnapshotValue(CString::new(self.to_string()).expect("numbers have no NUL"))
    }
}

impl IntoDatum for SnapshotValue {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // SAFETY: the input function of the type, on a text that outlives the call.
        unsafe {
            direct_function_call_as_datum(pg_sys::pg_snapshot_in, &[Some(self.0.as_ptr().into())])
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::PG_SNAPSHOTOID
    }
}

/// What a column of a row that is there for as long as `'r` may be read as.
///
/// # Safety
///
/// Of a value of any type that `reads` accepts, `read` makes a sound value of this one, which holds nothing of the row that
/// `'r` does not say.
pub unsafe trait Readable<'r>: Sized {
    /// Whether it can be made of values of that type.
    fn reads(type_oid: pg_sys::Oid) -> bool;

    /// Of a value; `None` for NULL.
    ///
    /// # Safety
    ///
    /// It is one of that type, which `reads` has accepted.
    unsafe fn read(datum: pg_sys::Datum, null: bool, type_oid: pg_sys::Oid) -> Option<Self>;
}

macro_rules! readable {
    ($($owned:ty),*) => {
        $(
            // SAFETY: pgrx makes a value of those types that it says it is compatible with, and copies what it needs.
            unsafe impl Readable<'_> for $owned {
                fn reads(type_oid: pg_sys::Oid) -> bool {
                    <$owned>::is_compatible_with(type_oid)
                }

                unsafe fn read(
                    datum: pg_sys::Datum,
                    null: bool,
                    type_oid: pg_sys::Oid,
                ) -> Option<Self> {
                    // SAFETY: the caller's.
                    unsafe { Self::from_polymorphic_datum(datum, null, type_oid) }
                }
            }
        )*
    };
}

readable!(bool, i8, i16, i32, i64, f64, Vec<u8>, pg_sys::Oid, Uuid, TimestampWithTimeZone, JsonB);
readable!(pg_sys::ItemPointerData, Vec<i16>, Vec<i32>, Vec<i64>, Vec<String>, Vec<pg_sys::Oid>);
readable!(Vec<Uuid>, Vec<TimestampWithTimeZone>);

macro_rules! key {
    ($($key:ident: $number:ty),*) => {
        $(
            impl Writable for $key {
                type Sql = $number;

                fn into_sql(self) -> $number {
                    self.0
                }
            }

            // SAFETY: that of the number.
            unsafe impl Readable<'_> for $key {
                fn reads(type_oid: pg_sys::Oid) -> bool {
                    <$number as Readable>::reads(type_oid)
                }

                unsafe fn read(
                    datum: pg_sys::Datum,
                    null: bool,
                    type_oid: pg_sys::Oid,
                ) -> Option<Self> {
                    // SAFETY: the caller's.
                    unsafe { <$number as Readable>::read(datum, null, type_oid) }.map(Self)
                }
            }

            // SAFETY: that of the numbers.
            unsafe impl Readable<'_> for Vec<$key> {
                fn reads(type_oid: pg_sys::Oid) -> bool {
                    <Vec<$number> as Readable>::reads(type_oid)
                }

                unsafe fn read(
                    datum: pg_sys::Datum,
                    null: bool,
                    type_oid: pg_sys::Oid,
                ) -> Option<Self> {
                    // SAFETY: the caller's.
                    let numbers = unsafe { <Vec<$number> as Readable>::read(datum, null, type_oid) };
                    Some(numbers?.into_iter().map($key).collect())
                }
            }
        )*
    };
}

key!(WebhookId: i32, DeliveryId: i64, BatchId: i64);

// SAFETY: the text of a type that pgrx would read it from; a copy.
unsafe impl Readable<'_> for String {
    fn reads(type_oid: pg_sys::Oid) -> bool {
        Self::is_compatible_with(type_oid)
    }

    /// It can be a body, of any size.
    unsafe fn read(datum: pg_sys::Datum, null: bool, _: pg_sys::Oid) -> Option<Self> {
        if null {
            return None;
        }
        // SAFETY: the caller's: a varlena, which is read where it is unless it is compressed or elsewhere.
        unsafe {
            let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
            let whole = pg_sys::pg_detoast_datum_packed(stored);
            let text = memory::copy(pgrx::varlena_to_byte_slice(whole));
            if whole != stored {
                pg_sys::pfree(whole.cast());
            }
            Some(text)
        }
    }
}
