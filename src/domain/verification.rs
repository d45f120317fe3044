//! Checking a signature as a receiver does, of every scheme that we sign with.
//!
//! Comparisons take the same time wherever they fail.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;

use super::secret::Secret;
use super::signature::{Key, Scheme};

/// Bytes of a hash, and of its base64. What is longer is no signature, and may be too long to be decoded.
const HASH: usize = 32;
const ENCODED: usize = HASH.div_ceil(3) * 4;

/// When a request arrived, and by how many seconds the time that it has signed may differ; by any where `None`.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Unix seconds.
    pub now: i64,
    /// Seconds.
    pub tolerance: Option<i64>,
}

/// The headers of schemes that need nothing else.
const NAMED: [(&str, Scheme); 4] = [
    // The one with a time first: the others say less.
    ("x-fluxbase-signature", Scheme::Timestamped),
    ("x-trulayer-signature", Scheme::Sha256),
    ("x-truss-signature", Scheme::Hex),
    // `timestamped` has a bare signature here as well, which does not count: whoever records a request could leave
    // out the dated one.
    ("x-webhook-signature", Scheme::Sha256),
];

/// Whether one of `headers`, whose names are in lower case, is a good signature of `body`: by the scheme `only`, or by
/// any.
pub fn by_headers(
    body: &str,
    headers: &HashMap<String, String>,
    secret: &Secret,
    clock: Clock,
    only: Option<Scheme>,
) -> bool {
    let header = |name: &str| headers.get(name).map(String::as_str);
    let counts = |scheme: Scheme| only.is_none_or(|only| only == scheme);
    if counts(Scheme::Standard)
        && let (Some(id), Some(time), Some(value)) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
    {
        return standard(body, id, time, value, secret, clock);
    }
    let named = NAMED.iter().filter(|(_, scheme)| counts(*scheme));
    let mut sent = named.filter_map(|(name, scheme)| Some((header(name)?, *scheme)));
    sent.next().is_some_and(|(value, scheme)| {
        scheme_of(value) == scheme && by_signature(body, value, secret, clock)
    })
}

/// What a signature looks like.
fn scheme_of(signature: &str) -> Scheme {
    match signature.trim() {
        text if text.starts_with("t=") => Scheme::Timestamped,
        text if text.starts_with("sha256=") => Scheme::Sha256,
        _ => Scheme::Hex,
    }
}

/// Whether `signature`, of a scheme that needs nothing else, is good for `body`.
pub fn by_signature(body: &str, signature: &str, secret: &Secret, clock: Clock) -> bool {
    let Ok(key) = Key::new(Scheme::Hex, secret) else {
        return false;
    };
    let is_good = |parts: &[&[u8]], text: &str| {
        let mut bytes = [0; HASH];
        hex::decode_to_slice(text, &mut bytes).is_ok()
            && key.over(parts).verify_slice(&bytes).is_ok()
    };
    let body = body.as_bytes();
    let signature = signature.trim();
    if let Some(rest) = signature.strip_prefix("t=") {
        let mut fields = rest.split(',');
        let time = fields.next().unwrap_or_default();
        return is_recent(time, clock)
            && fields
                .filter_map(|field| field.trim().strip_prefix("v1="))
                .any(|text| is_good(&[time.as_bytes(), b".", body], text));
    }
    is_good(&[body], signature.strip_prefix("sha256=").unwrap_or(signature))
}

/// Whether it is a JSON object by its ends, and so a signature of no scheme: headers that are given as one text.
pub fn is_object(signature: &str) -> bool {
    let text = signature.trim();
    text.starts_with('{') && text.ends_with('}')
}

fn standard(
    body: &str,
    id: &str,
    time: &str,
    signatures: &str,
    secret: &Secret,
    clock: Clock,
) -> bool {
    let Ok(key) = Key::new(Scheme::Standard, secret) else {
        return false;
    };
    let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body.as_bytes()];
    is_recent(time, clock)
        && signatures.split_whitespace().filter_map(|one| one.strip_prefix("v1,")).any(|text| {
            text.len() == ENCODED
                && STANDARD
                    .decode(text)
                    .is_ok_and(|bytes| key.over(&parts).verify_slice(&bytes).is_ok())
        })
}

fn is_recent(time: &str, clock: Clock) -> bool {
    time.parse::<i64>().is_ok_and(|time| {
        clock.tolerance.is_none_or(|most| clock.now.abs_diff(time) <= most.unsigned_abs())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::signature::{Previous, Signer};

    const BODY: &str = r#"{"a":1}"#;

    fn secret(last: char) -> Secret {
        Secret::parse(&format!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS{last}")).expect("a secret")
    }

    fn signed(scheme: Scheme) -> HashMap<String, String> {
        let previous = Previous { secret: secret('x'), until: 2000 };
        let header = HeaderName::from_static(scheme.header());
        let signer = Signer::new(scheme, header, &secret('w'), &[previous]).expect("a signer");
        let mut headers: HashMap<_, _> = signer
            .sign("evt_1", 1000, BODY.as_bytes())
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect();
        headers.insert("webhook-id".into(), "evt_1".into());
        headers.insert("webhook-timestamp".into(), "1000".into());
        headers
    }

    #[test]
    fn what_is_signed_verifies_and_nothing_else() {
        let clock = Clock { now: 1100, tolerance: Some(300) };
        for scheme in Scheme::ALL.into_iter().filter(|scheme| *scheme != Scheme::None) {
            let headers = signed(scheme);
            for only in [None, Some(scheme)] {
                assert!(by_headers(BODY, &headers, &secret('x'), clock, only), "{scheme:?}");
                assert!(!by_headers("{}", &headers, &secret('x'), clock, only), "{scheme:?}");
                assert!(!by_headers(BODY, &headers, &secret('y'), clock, only), "{scheme:?}");
            }
            for other in Scheme::ALL.into_iter().filter(|other| *other != scheme) {
                let only = Some(other);
                assert!(!by_headers(BODY, &headers, &secret('x'), clock, only), "{scheme:?}");
            }
        }
        for scheme in [Scheme::Standard, Scheme::Timestamped] {
            assert!(by_headers(BODY, &signed(scheme), &secret('w'), clock, None));
        }
    }

    /// Somebody has recorded a request and sends it again without what tells its age.
    #[test]
    fn a_dated_signature_is_not_replaced_by_an_undated_one() {
        let clock = Clock { now: 1_000_000, tolerance: Some(300) };
        let recorded = signed(Scheme::Timestamped);
        let bare = recorded["x-webhook-signature"].clone();
        let good = |headers: &HashMap<String, String>, only| {
            by_headers(BODY, headers, &secret('x'), clock, only)
        };
        assert!(!good(&recorded, None));
        let mut stripped = recorded.clone();
        stripped.remove("x-fluxbase-signature");
        assert!(!good(&stripped, None));
        stripped.insert("x-fluxbase-signature".into(), bare.clone());
        assert!(!good(&stripped, None));
        // What it looks like elsewhere only the receiver can know.
        for (name, value) in
            [("x-truss-signature", &bare), ("x-webhook-signature", &format!("sha256={bare}"))]
        {
            let moved = HashMap::from([(name.to_owned(), value.clone())]);
            assert!(good(&moved, None), "{name}");
            assert!(!good(&moved, Some(Scheme::Timestamped)), "{name}");
        }
    }

    #[test]
    fn old_ones_count_only_where_any_age_is_good() {
        let late = Clock { now: 1301, tolerance: Some(300) };
        for scheme in [Scheme::Standard, Scheme::Timestamped] {
            let headers = signed(scheme);
            assert!(!by_headers(BODY, &headers, &secret('w'), late, None));
            let any = Clock { tolerance: None, ..late };
            assert!(by_headers(BODY, &headers, &secret('w'), any, None));
        }
    }

    #[test]
    fn headers_are_told_from_a_signature() {
        for scheme in Scheme::ALL {
            assert!(!signed(scheme).values().any(|value| is_object(value)), "{scheme:?}");
        }
        assert!(is_object(" {\"webhook-id\": \"evt_1\"}\n") && is_object("{}"));
        assert!(!is_object("{") && !is_object("}") && !is_object(""));
    }

    #[test]
    fn nonsense_is_no_signature() {
        let clock = Clock { now: i64::MIN, tolerance: Some(i64::MAX) };
        for text in ["", "t=", "t=x,v1=", "sha256=", "v1,", "t=9223372036854775807,v1=zz", "\u{0}"]
        {
            assert!(!by_signature(BODY, text, &secret('w'), clock), "{text:?}");
        }
    }
}
