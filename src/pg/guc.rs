//! Settings that hold for a while, or for the life of the process.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::memory;

/// Sets `name` for the life of this process, whatever the configuration says.
pub fn fix(name: &CStr, value: &CStr) {
    // SAFETY: main thread; strings of the program.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// The value of a setting that need not be defined, if it has one that is not empty.
pub fn text(name: &CStr) -> Option<String> {
    // SAFETY: main thread; the value is copied at once.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        let text = (!value.is_null()).then(|| memory::text(CStr::from_ptr(value)));
        text.filter(|text| !text.is_empty())
    }
}

/// As [`text`], of a setting that the current role may look at.
///
/// Raises the server's error where it may not.
pub fn visible(name: &CStr) -> Option<String> {
    // SAFETY: as above.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, true);
        let text = (!value.is_null()).then(|| memory::text(CStr::from_ptr(value)));
        text.filter(|text| !text.is_empty())
    }
}

/// A changed setting. Dropping it restores the value from before. After an error the abort of the
/// (sub)transaction does.
pub struct Local {
    level: i32,
    /// Others that have been changed meanwhile, for the session or for the transaction, stay so.
    keeps_others: bool,
}

impl Local {
    /// Sets `name` for the lifetime of the result, and has all that is set meanwhile undone with it: for code of others,
    /// whose `set_config(.., false)` would outlive it.
    pub fn set(name: &CStr, value: &CStr) -> Self {
        Self::begin(name, value, false)
    }

    /// Sets `name` for the lifetime of the result, for what the session's own role does, whose settings are its own.
    pub fn set_alone(name: &CStr, value: &CStr) -> Self {
        Self::begin(name, value, true)
    }

    /// As [`Self::set_alone`], for several.
    pub fn set_all(settings: &[(&CStr, &CStr)]) -> Self {
        Self::begin_all(settings, true)
    }

    fn begin(name: &CStr, value: &CStr, keeps_others: bool) -> Self {
        Self::begin_all(&[(name, value)], keeps_others)
    }

    fn begin_all(settings: &[(&CStr, &CStr)], keeps_others: bool) -> Self {
        // SAFETY: main thread in a transaction; the level is closed in drop, or by the abort.
        unsafe {
            let level = pg_sys::NewGUCNestLevel();
            for (name, value) in settings {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
            Self { level, keeps_others }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: closes the level that `begin` opened, as on a commit or as on an abort.
            unsafe { pg_sys::AtEOXact_GUC(self.keeps_others, self.level) };
        }
    }
}
