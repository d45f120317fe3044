//! The `Retry-After` header (RFC 9110, 10.2.3): a number of seconds or a date.

use std::time::{Duration, SystemTime};

/// How long the receiver asks to wait from `now`; `None` where the value is neither form. A date in
/// the past is no wait. The caller clamps: the value is the receiver's word and nothing more.
pub fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates() {
        let now = httpdate::parse_http_date("Fri, 20 Nov 2026 12:00:00 GMT").unwrap();
        let cases = [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("1000000000000", Some(1_000_000_000_000)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Fri, 20 Nov 2026 12:01:30 GMT", Some(90)),
            ("Friday, 20-Nov-26 12:01:30 GMT", Some(90)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("NaN", None),
            ("", None),
            ("soon", None),
            ("Fri, 99 Nov 2026 12:01:30 GMT", None),
        ];
        for (value, seconds) in cases {
            assert_eq!(parse(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }
}
