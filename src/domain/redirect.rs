//! Where a redirect points to, as it may be shown.

use http::Uri;

use super::brief::brief;

/// Bytes of it that are kept: enough for a host's name and the beginning of a path. With more, an endpoint would write as
/// much into every view of errors as it likes.
const MOST: usize = 200;

/// The value of a `Location` header without what may be secret in it: user and password, query, fragment. `None` for what
/// is no URL.
pub fn place(location: &str) -> Option<String> {
    // Some take these for slashes, and what follows for a host.
    if location.contains('\\') {
        return None;
    }
    let (scheme, uri): (_, Uri) = match location.strip_prefix("//") {
        Some(_) => ("", format!("https:{location}").parse().ok()?),
        None => ("//", location.parse().ok()?),
    };
    let scheme = match (scheme, uri.scheme_str()) {
        ("", _) => "//".to_owned(),
        (_, Some(scheme)) => format!("{scheme}://"),
        (_, None) => String::new(),
    };
    let port = uri.port().map_or_else(String::new, |port| format!(":{port}"));
    let place = format!("{scheme}{}{port}{}", uri.host().unwrap_or_default(), uri.path());
    Some(brief(&place, MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_without_secrets() {
        for (location, told) in [
            ("https://example.com/a/b", "https://example.com/a/b"),
            ("https://user:word@example.com:8443/a?token=b#c", "https://example.com:8443/a"),
            ("http://[::1]:80/?a=@b", "http://[::1]:80/"),
            ("//user:word@example.com/a?b", "//example.com/a"),
            ("/a/b?token=c", "/a/b"),
            ("user:word@example.com", "example.com"),
            ("a", "a"),
        ] {
            assert_eq!(place(location).as_deref(), Some(told), "{location}");
        }
        for location in
            ["", "?token=c", "///user@b", "/\\user:word@a", "user:word@a/b", "mailto:a@b/c", "a b"]
        {
            assert_eq!(place(location), None, "{location}");
        }
    }

    #[test]
    fn it_is_cut() {
        let told = place(&format!("https://example.com/{}", "a".repeat(2000))).unwrap();
        assert_eq!(told.len(), MOST);
    }
}
