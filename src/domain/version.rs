//! The version of this code, which that of the tables and functions must be.

/// As it is published.
pub const LIBRARY: &str = env!("CARGO_PKG_VERSION");

/// What is to be done where the extension has another version; `None` where it has the same.
pub fn misfit(extension: &str) -> Option<String> {
    if extension == LIBRARY {
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
        let until =
            |version: &str| misfit(version).unwrap().rsplit_once("until ").unwrap().1.to_owned();
        assert_eq!(until("0.0.0"), "ALTER EXTENSION pg_webhook UPDATE");
        for newer in ["999.0.0", "10.0.0", &format!("{LIBRARY}.1")] {
            assert_eq!(until(newer), "the server is restarted with the library of that version");
        }
    }
}
