//! The version of this code, which that of the tables and functions must be.

/// As it is published.
pub const LIBRARY: &str = env!("CARGO_PKG_VERSION");

/// Released versions whose tables and functions it works with as well: those of the extension as it is between the restart of the
/// server with this library and ALTER EXTENSION UPDATE.
const KNOWN: &[&str] = &[];

/// How a version of the extension goes together with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It is the same.
    Same,
    /// It is an earlier one, with which events are captured and sent all the same.
    Older,
    /// It is another one, of which nothing is known.
    Unknown,
}

/// How this version of the extension goes together with this code.
pub fn fit(extension: &str) -> Fit {
    match extension {
        LIBRARY => Fit::Same,
        known if KNOWN.contains(&known) => Fit::Older,
        _ => Fit::Unknown,
    }
}

/// What is to be done where this code cannot work with that version of the extension; `None` where it can.
pub fn misfit(extension: &str) -> Option<String> {
    if fit(extension) != Fit::Unknown {
        return None;
    }
    let until = if parts(extension) > parts(LIBRARY) {
        "the server is restarted with the library of that version"
    } else {
        "ALTER EXTENSION pg_webhook UPDATE"
    };
    Some(format!(
        "the extension has version {extension}, the library {LIBRARY}: nothing is sent until {until}"
    ))
}

/// Its numbers, which are compared one by one.
fn parts(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_one_is_to_be_renewed() {
        assert_eq!(misfit(LIBRARY), None);
        assert_eq!(fit(LIBRARY), Fit::Same);
        let until =
            |version: &str| misfit(version).unwrap().rsplit_once("until ").unwrap().1.to_owned();
        assert_eq!(until("0.0.0"), "ALTER EXTENSION pg_webhook UPDATE");
        for newer in ["999.0.0", "10.0.0", &format!("{LIBRARY}.1")] {
            assert_eq!(until(newer), "the server is restarted with the library of that version");
        }
    }

    #[test]
    fn it_works_with_earlier_versions_that_are_listed() {
        for known in KNOWN {
            assert_eq!((fit(known), misfit(known)), (Fit::Older, None));
            assert!(parts(known) < parts(LIBRARY), "{known} is no earlier version");
        }
    }
}
