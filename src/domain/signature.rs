//! Signing a request so that the receiver knows that it is ours and unchanged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderName;
use sha2::Sha256;

use super::header::HeaderError;
use super::secret::{Secret, SecretError};
use super::words::words;

words! {
    /// How a webhook signs: always with HMAC-SHA256.
    Scheme, UnknownScheme: "\"{0}\" is not a signature scheme";
    /// [Standard Webhooks 1.0](https://www.standardwebhooks.com): `v1,` and the base64 over
    /// `id.timestamp.body`, keyed with the bytes that the secret encodes.
    Standard = "standard",
    /// `sha256=` and the hex over the body, keyed with the secret's own bytes.
    Sha256 = "sha256",
    /// The hex over the body, keyed with the secret's own bytes.
    Hex = "hex",
    /// `t=<unix seconds>,v1=` and the hex over `timestamp.body`, keyed with the secret's own bytes; and
    /// the bare hex over the body in [`BARE`].
    Timestamped = "timestamped",
    /// Not at all.
    None = "none",
}

/// The second header of [`Scheme::Timestamped`].
pub const BARE: HeaderName = HeaderName::from_static("x-webhook-signature");

impl Scheme {
    /// The header that carries the signature, unless the webhook names another.
    pub fn header(self) -> &'static str {
        match self {
            Self::Standard | Self::None => "webhook-signature",
            Self::Sha256 => "x-webhook-signature",
            Self::Hex => "x-truss-signature",
            Self::Timestamped => "x-fluxbase-signature",
        }
    }

    /// Passes `header` as that of the signature; `None` is the scheme's own.
    ///
    /// # Errors
    ///
    /// The scheme sends something else in it.
    pub fn check_header(self, header: Option<&str>) -> Result<(), HeaderError> {
        match header {
            Some(name) if self == Self::Timestamped && name == BARE.as_str() => {
                Err(HeaderError::SecondSignature(name.to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn key(self, secret: &Secret) -> Result<Vec<u8>, SecretError> {
        match self {
            Self::Standard => secret.standard_key(),
            _ => Ok(secret.reveal().as_bytes().to_vec()),
        }
    }
}

/// The keyed hash of a secret.
#[derive(Clone)]
pub(super) struct Key(Hmac<Sha256>);

impl Key {
    pub(super) fn new(scheme: Scheme, secret: &Secret) -> Result<Self, SecretError> {
        let key = scheme.key(secret)?;
        Ok(Self(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length")))
    }

    pub(super) fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }

    fn hex(&self, parts: &[&[u8]]) -> String {
        hex::encode(self.over(parts).finalize().into_bytes())
    }
}

/// A secret before a rotation, which signs as well until this unix time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// The secret.
    pub secret: Secret,
    /// Seconds.
    pub until: u64,
}

/// A scheme with its keys, ready to sign.
#[derive(Clone)]
pub struct Signer {
    scheme: Scheme,
    header: HeaderName,
    key: Key,
    /// The oldest first.
    previous: Vec<(Key, u64)>,
}

impl Signer {
    /// Passes a secret that fits `scheme`.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn check(scheme: Scheme, secret: &Secret) -> Result<(), SecretError> {
        scheme.key(secret).map(drop)
    }

    /// Prepares `secret` for `scheme`, to be sent in `header`, and those that were `previous`, the oldest first.
    ///
    /// # Errors
    ///
    /// [`SecretError::NotBase64`] where the scheme needs an encoded key.
    pub fn new(
        scheme: Scheme,
        header: HeaderName,
        secret: &Secret,
        previous: &[Previous],
    ) -> Result<Self, SecretError> {
        let before = |previous: &Previous| {
            Key::new(scheme, &previous.secret).ok().map(|key| (key, previous.until))
        };
        Ok(Self {
            scheme,
            header,
            key: Key::new(scheme, secret)?,
            // One that does not fit a scheme that was chosen since signs nothing.
            previous: previous.iter().filter_map(before).collect(),
        })
    }

    /// The headers that sign `body`, sent as event `id` at `timestamp` (unix seconds). Ids that we make have no `.`, which
    /// separates the signed parts.
    ///
    /// While rotations overlap, all of their secrets sign, the newest first, where the scheme has room for several signatures.
    /// Where it has not, the oldest does, which is the one that every receiver knows.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> Vec<(HeaderName, String)> {
        let time = timestamp.to_string();
        let overlap = |(_, until): &&(Key, u64)| timestamp < *until;
        let previous = || self.previous.iter().filter(overlap).map(|(key, _)| key);
        let keys = || std::iter::once(&self.key).chain(previous().rev());
        let one = previous().next().unwrap_or(&self.key);
        let value = match self.scheme {
            Scheme::Standard => {
                let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
                let sign = |key: &Key| STANDARD.encode(key.over(&parts).finalize().into_bytes());
                keys().map(|key| format!("v1,{}", sign(key))).collect::<Vec<_>>().join(" ")
            }
            Scheme::Sha256 => format!("sha256={}", one.hex(&[body])),
            Scheme::Hex => one.hex(&[body]),
            Scheme::Timestamped => {
                let parts = [time.as_bytes(), b".", body];
                let values = keys().map(|key| format!(",v1={}", key.hex(&parts)));
                let bare = (BARE, one.hex(&[body]));
                return vec![
                    (self.header.clone(), format!("t={time}{}", values.collect::<String>())),
                    bare,
                ];
            }
            Scheme::None => return Vec::new(),
        };
        vec![(self.header.clone(), value)]
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({:?})", self.scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCODED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_NfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn signer(scheme: Scheme, secret: &str, previous: Option<&str>) -> Signer {
        let parse = |text: &str| Secret::parse(text).expect("a secret");
        let previous = previous.map(|text| Previous { secret: parse(text), until: 200 });
        let header = HeaderName::from_static(scheme.header());
        Signer::new(scheme, header, &parse(secret), previous.as_slice()).expect("a signer")
    }

    fn value(signer: &Signer, id: &str, timestamp: u64, body: &[u8]) -> String {
        signer.sign(id, timestamp, body).swap_remove(0).1
    }

    /// The vector that the reference implementations of Standard Webhooks test with.
    #[test]
    fn standard_vector() {
        let signer = signer(Scheme::Standard, ENCODED, None);
        assert_eq!(
            value(
                &signer,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    /// RFC 4231 test case 2, whose key is the text itself.
    #[test]
    fn schemes_of_a_plain_key() {
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let key = Key(Hmac::new_from_slice(b"Jefe").unwrap());
        let body = b"what do ya want for nothing?";
        let sign = |scheme: Scheme| {
            let header = HeaderName::from_static(scheme.header());
            Signer { scheme, header, key: key.clone(), previous: Vec::new() }
                .sign("ignored", 7, body)
        };
        assert_eq!(sign(Scheme::Sha256)[0].1, format!("sha256={hex}"));
        assert_eq!(sign(Scheme::Hex)[0].1, hex);
        let timestamped = sign(Scheme::Timestamped);
        assert_eq!(timestamped[0].1, format!("t=7,v1={}", key.hex(&[b"7.", body])));
        assert_eq!(timestamped[1], (BARE, hex.to_owned()));
        assert!(sign(Scheme::None).is_empty());
    }

    #[test]
    fn every_signed_part_matters() {
        let own = signer(Scheme::Standard, ENCODED, None);
        let reference = value(&own, "evt_1", 100, b"{}");
        assert_eq!(value(&own, "evt_1", 100, b"{}"), reference);
        assert_ne!(value(&own, "evt_2", 100, b"{}"), reference);
        assert_ne!(value(&own, "evt_1", 101, b"{}"), reference);
        assert_ne!(value(&own, "evt_1", 100, b"{ }"), reference);
        assert_ne!(value(&signer(Scheme::Standard, OTHER, None), "evt_1", 100, b"{}"), reference);
    }

    #[test]
    fn both_secrets_of_a_rotation_sign_until_it_ends() {
        for scheme in [Scheme::Standard, Scheme::Timestamped] {
            let (new, old) = (signer(scheme, ENCODED, None), signer(scheme, OTHER, None));
            let both = value(&signer(scheme, ENCODED, Some(OTHER)), "evt_1", 100, b"{}");
            let signature = |signer| value(signer, "evt_1", 100, b"{}").split_off(2);
            assert!(both.contains(&signature(&new)), "{scheme:?}");
            let last = signature(&old);
            assert!(both.ends_with(last.rsplit(',').next().unwrap_or_default()), "{scheme:?}");
        }
        for scheme in Scheme::ALL {
            let after = signer(scheme, ENCODED, Some(OTHER)).sign("evt_1", 200, b"{}");
            assert_eq!(after, signer(scheme, ENCODED, None).sign("evt_1", 200, b"{}"));
        }
        let one = value(&signer(Scheme::Hex, ENCODED, Some(OTHER)), "", 100, b"{}");
        assert_eq!(one, value(&signer(Scheme::Hex, OTHER, None), "", 100, b"{}"), "the old one");
    }

    #[test]
    fn all_secrets_sign_until_their_overlaps_end() {
        let parse = |text: &str| Secret::parse(text).expect("a secret");
        let third = "whsec_OfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let previous = [(OTHER, 300), (third, 200)]
            .map(|(secret, until)| Previous { secret: parse(secret), until });
        for scheme in [Scheme::Standard, Scheme::Hex] {
            let header = HeaderName::from_static(scheme.header());
            let all = Signer::new(scheme, header, &parse(ENCODED), &previous).unwrap();
            let alone = |secret, time| value(&signer(scheme, secret, None), "evt_1", time, b"{}");
            for (time, within) in [
                (100, vec![ENCODED, third, OTHER]),
                (200, vec![ENCODED, OTHER]),
                (300, vec![ENCODED]),
            ] {
                let expected: Vec<String> = match scheme {
                    Scheme::Standard => within.iter().map(|secret| alone(secret, time)).collect(),
                    // The oldest.
                    _ => within.last().map(|secret| alone(secret, time)).into_iter().collect(),
                };
                assert_eq!(
                    value(&all, "evt_1", time, b"{}"),
                    expected.join(" "),
                    "{scheme:?} {time}"
                );
            }
        }
    }

    #[test]
    fn no_scheme_sends_two_values_in_one_header() {
        for scheme in Scheme::ALL {
            assert!(scheme.check_header(None).is_ok());
            assert!(scheme.check_header(Some(scheme.header())).is_ok());
            let bare = scheme.check_header(Some("x-webhook-signature"));
            assert_eq!(bare.is_ok(), scheme != Scheme::Timestamped);
        }
    }

    #[test]
    fn schemes_by_name() {
        for scheme in Scheme::ALL {
            assert_eq!(scheme.name().parse::<Scheme>().unwrap(), scheme);
        }
        assert!("Standard".parse::<Scheme>().is_err());
        let words = Secret::parse("a secret of plain words").unwrap();
        let header = || HeaderName::from_static("x");
        assert!(Signer::new(Scheme::Standard, header(), &words, &[]).is_err());
        assert!(Signer::new(Scheme::Sha256, header(), &words, &[]).is_ok());
    }
}
