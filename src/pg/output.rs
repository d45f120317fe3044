//! Values as text that does not depend on the session.
//!
//! Output functions read these settings: TimeZone, DateStyle, IntervalStyle, bytea_output and
//! extra_float_digits. Setting them through the settings machinery for each row would cost more than
//! rendering the row, so the variables behind them are set and put back.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

use pgrx::pg_sys;

use super::ffi;
use domain::time::Timestamp;

/// What output functions read.
struct Variables {
    zone: *mut pg_sys::pg_tz,
    date_style: c_int,
    date_order: c_int,
    interval_style: c_int,
    bytea: c_int,
    float_digits: c_int,
}

/// The values of `bytea_output = hex` (BYTEA_OUTPUT_HEX) and `extra_float_digits = 1` (its default).
const HEX: c_int = 1;
const SHORTEST_PRECISE: c_int = 1;

impl Variables {
    fn now() -> Self {
        // SAFETY: plain variables of the main thread.
        unsafe {
            Self {
                zone: pg_sys::session_timezone,
                date_style: pg_sys::DateStyle,
                date_order: pg_sys::DateOrder,
                interval_style: pg_sys::IntervalStyle,
                bytea: ffi::bytea_output,
                float_digits: pg_sys::extra_float_digits,
            }
        }
    }

    fn restore(&self) {
        // SAFETY: values that were found in them; zones are never freed. A SET by code that was called meanwhile would
        // be undone by halves, which harms nothing but its own meaning.
        unsafe {
            pg_sys::session_timezone = self.zone;
            pg_sys::DateStyle = self.date_style;
            pg_sys::DateOrder = self.date_order;
            pg_sys::IntervalStyle = self.interval_style;
            ffi::bytea_output = self.bytea;
            pg_sys::extra_float_digits = self.float_digits;
        }
    }
}

/// While it lives, output functions write ISO dates in UTC, `postgres` intervals, hex bytea and
/// shortest-precise floats. Dropping it restores the session's own, also on the way out of an error.
pub struct Canonical {
    before: Variables,
}

impl Canonical {
    /// Takes effect at once.
    pub fn begin() -> Self {
        let before = Variables::now();
        // If it raises an error, nothing has been changed yet.
        let utc = utc();
        // SAFETY: variables of the main thread of types that the constants have, each set to a value that its setting
        // can have, so that whatever the server calls meanwhile finds what it could always find.
        unsafe {
            pg_sys::session_timezone = utc;
            pg_sys::DateStyle = pg_sys::USE_ISO_DATES as c_int;
            pg_sys::DateOrder = pg_sys::DATEORDER_MDY as c_int;
            pg_sys::IntervalStyle = pg_sys::INTSTYLE_POSTGRES as c_int;
            ffi::bytea_output = HEX;
            pg_sys::extra_float_digits = SHORTEST_PRECISE;
        }
        Self { before }
    }
}

/// The zone. Raises an error where there is no memory for it.
fn utc() -> *mut pg_sys::pg_tz {
    thread_local! {
        // The server finds zones by their names, which for each row would cost a fiftieth of capturing it.
        static UTC: Cell<*mut pg_sys::pg_tz> = const { Cell::new(ptr::null_mut()) };
    }
    if UTC.get().is_null() {
        // SAFETY: names that end with NUL. What is returned is in a cache for the life of the process. UTC is read from a
        // file, which a server can lack; GMT is made without, and only what writes a zone's name tells one from the other.
        UTC.set(unsafe {
            let utc = pg_sys::pg_tzset(c"UTC".as_ptr());
            if utc.is_null() { pg_sys::pg_tzset(c"GMT".as_ptr()) } else { utc }
        });
    }
    UTC.get()
}

impl Drop for Canonical {
    fn drop(&mut self) {
        self.before.restore();
    }
}

/// Output stays as it is now. A setting that is rolled back sets the variable behind it to the session's value,
/// whatever [`Canonical`] has put there; dropping this puts it there again.
pub struct Kept(Variables);

impl Kept {
    /// As it is now.
    pub fn now() -> Self {
        Self(Variables::now())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// RFC 3339 in UTC, with microseconds.
pub fn rfc3339(timestamp: Timestamp) -> String {
    let (tm, fraction) = ffi::utc_fields(timestamp.0);
    let fields = [
        (tm.tm_year, 1000, '-'),
        (tm.tm_mon, 10, '-'),
        (tm.tm_mday, 10, 'T'),
        (tm.tm_hour, 10, ':'),
        (tm.tm_min, 10, ':'),
        (tm.tm_sec, 10, '.'),
        (fraction, 100_000, 'Z'),
    ];
    // Once for each captured row, where format! would take a tenth of all.
    let mut text = String::with_capacity("2026-01-01T00:00:00.000000Z".len());
    for (field, mut unit, end) in fields {
        while unit > 0 {
            text.push(char::from(b'0' + (field / unit % 10) as u8));
            unit /= 10;
        }
        text.push(end);
    }
    text
}
