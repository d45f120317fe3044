//! The headers that a user adds to a webhook's requests.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

/// Bytes of all names and values together.
pub const LARGEST: usize = 8 * 1024;

/// The longest name, in bytes. Servers that take longer ones are rare.
pub const LONGEST_NAME: usize = 200;

/// Bytes of JSON beyond which it is not read: quotes, and escapes of half of the characters, take less.
const LARGEST_TEXT: usize = 8 * LARGEST;

/// Why headers are refused. Values may be credentials and are never quoted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The JSON is not an object.
    #[error("headers must be a JSON object of names and strings")]
    NotAnObject,
    /// Not a header name (RFC 9110 token).
    #[error("\"{}\" is not a header name", .0.escape_debug())]
    Name(String),
    /// Beyond [`LONGEST_NAME`].
    #[error("the name of a header is longer than {LONGEST_NAME} bytes")]
    LongName,
    /// Not a string.
    #[error("the value of header \"{0}\" is not a string")]
    NotAString(String),
    /// Control characters or characters outside ASCII.
    #[error(
        "the value of header \"{0}\" has a line break, a control character or a character outside ASCII"
    )]
    Value(String),
    /// Set by us, or dangerous in the hands of a user.
    #[error("header \"{0}\" is reserved")]
    Reserved(String),
    /// The same name twice, in different case.
    #[error("header \"{0}\" is given twice")]
    Twice(String),
    /// The scheme sends something else in it.
    #[error("signature \"timestamped\" has another value in header \"{0}\"")]
    SecondSignature(String),
    /// Beyond [`LARGEST`].
    #[error("the headers are larger than {LARGEST} bytes")]
    TooLarge,
}

/// Names that only the sender may set: those that frame the message or say what it is, and one that would have
/// receivers answer in a way that nobody reads.
const RESERVED: [HeaderName; 11] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ACCEPT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
];

/// Passes a name under which a signature can be sent.
///
/// # Errors
///
/// Not a name, or the name of a header with another meaning.
pub fn signature_name(text: &str) -> Result<HeaderName, HeaderError> {
    let name = name(text)?;
    let taken = ["webhook-id", "webhook-timestamp", "webhook-attempt", "user-agent"];
    if is_reserved(&name) || taken.contains(&name.as_str()) {
        return Err(HeaderError::Reserved(text.to_owned()));
    }
    Ok(name)
}

fn name(text: &str) -> Result<HeaderName, HeaderError> {
    if text.len() > LONGEST_NAME {
        return Err(HeaderError::LongName);
    }
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| HeaderError::Name(text.chars().take(100).collect()))
}

fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(name) || name.as_str().starts_with("proxy-") || name == "keep-alive"
}

/// Reads the text of a JSON object of headers; see [`parse`].
///
/// # Errors
///
/// The first header that is refused.
pub fn read(text: &str) -> Result<Value, HeaderError> {
    if text.len() > LARGEST_TEXT {
        return Err(HeaderError::TooLarge);
    }
    // PostgreSQL knows larger numbers and deeper nesting, neither of which is a string.
    let object = serde_json::from_str(text).map_err(|_| HeaderError::NotAnObject)?;
    parse(&object)?;
    Ok(object)
}

/// Reads a JSON object of header names and string values.
///
/// # Errors
///
/// The first header that is refused.
pub fn parse(object: &Value) -> Result<HeaderMap, HeaderError> {
    let object = object.as_object().ok_or(HeaderError::NotAnObject)?;
    let length = |(name, value): (&String, &Value)| name.len() + value.as_str().map_or(0, str::len);
    // Before anything is made of them: a map of headers takes some ten thousand, and panics beyond.
    if object.iter().map(length).sum::<usize>() > LARGEST {
        return Err(HeaderError::TooLarge);
    }
    let mut headers = HeaderMap::with_capacity(object.len());
    for (text, value) in object {
        let name = name(text)?;
        if is_reserved(&name)
            || name.as_str().starts_with("webhook-")
            || name == "x-webhook-signature"
        {
            return Err(HeaderError::Reserved(text.clone()));
        }
        let value = value.as_str().ok_or_else(|| HeaderError::NotAString(text.clone()))?;
        let value = HeaderValue::from_str(value)
            .ok()
            .filter(|value| value.to_str().is_ok())
            .ok_or_else(|| HeaderError::Value(text.clone()))?;
        if headers.insert(name, value).is_some() {
            return Err(HeaderError::Twice(text.clone()));
        }
    }
    Ok(headers)
}

/// The headers `stored` with those of `set` in the place of any of the same name, and without those of the names `unset`. A name
/// is the same in any case of its letters.
///
/// # Errors
///
/// The first header that is refused, as by [`parse`]; or one that is both set and unset.
pub fn merge(stored: &Value, set: &Value, unset: &[String]) -> Result<Value, HeaderError> {
    let set = set.as_object().ok_or(HeaderError::NotAnObject)?;
    let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
    if let Some(both) = unset.iter().find(|name| set.keys().any(|other| is(name, other))) {
        return Err(HeaderError::Twice(both.chars().take(100).collect()));
    }
    let goes = |name: &str| unset.iter().chain(set.keys()).any(|other| is(name, other));
    let stored = stored.as_object().ok_or(HeaderError::NotAnObject)?;
    let kept = stored.iter().filter(|(name, _)| !goes(name));
    let merged = kept.chain(set).map(|(name, value)| (name.clone(), value.clone())).collect();
    let merged = Value::Object(merged);
    parse(&merged)?;
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(value: Value) -> HeaderError {
        parse(&value).unwrap_err()
    }

    #[test]
    fn good_headers() {
        let headers =
            parse(&json!({"Authorization": "Bearer x.y", "X-Tab": "a\tb", "x-empty": ""}));
        assert_eq!(headers.unwrap()["authorization"], "Bearer x.y");
        assert!(parse(&json!({})).unwrap().is_empty());
    }

    #[test]
    fn splitting_and_framing_are_refused() {
        for value in ["a\r\nHost: evil", "a\nb", "a\rb", "a\0b", "a\u{7f}b", "caf\u{e9}", "\u{1}"] {
            assert_eq!(
                refusal(json!({"X-A": value})),
                HeaderError::Value("X-A".into()),
                "{value:?}"
            );
        }
        for name in ["", "a b", "a:b", "a\r\nb", "caf\u{e9}", "a\0"] {
            assert!(matches!(refusal(json!({name: "x"})), HeaderError::Name(_)), "{name:?}");
        }
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "CONNECTION",
            "TE",
            "Upgrade",
            "Expect",
            "Trailer",
            "webhook-id",
            "Webhook-Signature",
            "webhook-anything",
            "X-Webhook-Signature",
            "Proxy-Authorization",
            "Keep-Alive",
            "Content-Type",
            "content-encoding",
            "Accept-Encoding",
        ] {
            assert_eq!(refusal(json!({name: "x"})), HeaderError::Reserved(name.into()));
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        assert_eq!(refusal(json!(["a"])), HeaderError::NotAnObject);
        assert_eq!(refusal(json!(null)), HeaderError::NotAnObject);
        assert_eq!(refusal(json!({"X-A": 1})), HeaderError::NotAString("X-A".into()));
        assert_eq!(refusal(json!({"X-A": null})), HeaderError::NotAString("X-A".into()));
        assert_eq!(refusal(json!({"X-A": "1", "x-a": "2"})), HeaderError::Twice("x-a".into()));
        assert_eq!(refusal(json!({"X-A": "x".repeat(LARGEST)})), HeaderError::TooLarge);
    }

    #[test]
    fn whatever_is_too_much_is_refused_and_nothing_panics() {
        let many = |count: usize| (0..count).map(|n| (format!("x{n}"), json!(""))).collect();
        assert_eq!(refusal(Value::Object(many(40_000))), HeaderError::TooLarge);
        assert_eq!(parse(&Value::Object(many(1_500))).unwrap().len(), 1_500);
        let name = |length| json!({"x".repeat(length): "1"});
        assert!(parse(&name(LONGEST_NAME)).is_ok());
        assert_eq!(refusal(name(LONGEST_NAME + 1)), HeaderError::LongName);
        assert!(signature_name(&"x".repeat(LONGEST_NAME)).is_ok());
        assert_eq!(signature_name(&"x".repeat(20_000)), Err(HeaderError::LongName));
        let text = json!({"X-A": "\"".repeat(LARGEST - 3)}).to_string();
        assert!(read(&text).is_ok());
        assert_eq!(read(&" ".repeat(LARGEST_TEXT + 1)), Err(HeaderError::TooLarge));
    }

    #[test]
    fn single_headers_are_set_and_unset() {
        let stored = json!({"X-A": "1", "X-B": "2"});
        let merged = |set: Value, unset: &[&str]| {
            let unset: Vec<String> = unset.iter().map(ToString::to_string).collect();
            merge(&stored, &set, &unset)
        };
        assert_eq!(merged(json!({"x-a": "3"}), &[]), Ok(json!({"x-a": "3", "X-B": "2"})));
        assert_eq!(merged(json!({}), &["x-b", "X-None"]), Ok(json!({"X-A": "1"})));
        assert_eq!(merged(json!({"X-C": "4"}), &["X-A"]), Ok(json!({"X-B": "2", "X-C": "4"})));
        let twice = |name: &str| Err(HeaderError::Twice(name.into()));
        assert_eq!(merged(json!({"X-C": "4"}), &["x-c"]), twice("x-c"));
        assert_eq!(merged(json!({"X-C": "4", "x-c": "5"}), &[]), twice("x-c"));
        assert_eq!(merged(json!({"Host": "x"}), &[]), Err(HeaderError::Reserved("Host".into())));
        assert_eq!(merged(json!(["X-A"]), &[]), Err(HeaderError::NotAnObject));
        let long = json!({"X-C": "x".repeat(LARGEST - 6)});
        assert_eq!(merged(long, &[]), Err(HeaderError::TooLarge), "together");
    }

    #[test]
    fn what_carries_a_signature() {
        for name in ["X-Signature", "webhook-signature", "X-Webhook-Signature", "Authorization"] {
            assert!(signature_name(name).is_ok(), "{name}");
        }
        for name in ["webhook-id", "Content-Type", "user-agent", "Host", "accept-encoding"] {
            assert_eq!(signature_name(name), Err(HeaderError::Reserved(name.into())));
        }
    }
}
