//! Signing a request so that the receiver knows that it is ours and unchanged.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::secret::{Secret, SecretError};

/// How a webhook signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// [Standard Webhooks 1.0](https://www.standardwebhooks.com): `webhook-signature` is `v1,` and the
    /// base64 of HMAC-SHA256 over `id.timestamp.body`, keyed with the bytes that the secret encodes.
    Standard,
    /// `X-Webhook-Signature` is `sha256=` and the hex of HMAC-SHA256 over the body, keyed with the
    /// secret's own bytes.
    Sha256,
}

/// A name that is not a scheme.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a signature scheme")]
pub struct UnknownScheme(String);

impl Scheme {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Sha256];

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Sha256 => "sha256",
        }
    }

    /// The header that carries the signature.
    pub fn header(self) -> &'static str {
        match self {
            Self::Standard => "webhook-signature",
            Self::Sha256 => "x-webhook-signature",
        }
    }
}

impl FromStr for Scheme {
    type Err = UnknownScheme;

    fn from_str(name: &str) -> Result<Self, UnknownScheme> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.name() == name)
            .ok_or_else(|| UnknownScheme(name.chars().take(100).collect()))
    }
}

/// A scheme with its key, ready to sign.
#[derive(Clone)]
pub struct Signer {
    scheme: Scheme,
    mac: Hmac<Sha256>,
}

impl Signer {
    /// Prepares `secret` for `scheme`.
    ///
    /// # Errors
    ///
    /// [`SecretError::NotBase64`] where the scheme needs an encoded key.
    pub fn new(scheme: Scheme, secret: &Secret) -> Result<Self, SecretError> {
        let key = match scheme {
            Scheme::Standard => secret.standard_key()?,
            Scheme::Sha256 => secret.reveal().as_bytes().to_vec(),
        };
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Ok(Self { scheme, mac })
    }

    /// The header that carries the signature.
    pub fn header(&self) -> &'static str {
        self.scheme.header()
    }

    /// The header's value for `body`, sent as event `id` at `timestamp` (unix seconds). The id must
    /// not hold a `.`, which separates the signed parts.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.mac.clone();
        match self.scheme {
            Scheme::Standard => {
                mac.update(id.as_bytes());
                mac.update(format!(".{timestamp}.").as_bytes());
                mac.update(body);
                format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
            }
            Scheme::Sha256 => {
                mac.update(body);
                format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
            }
        }
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

    /// The vector that the reference implementations of Standard Webhooks test with.
    #[test]
    fn standard_vector() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signer = Signer::new(Scheme::Standard, &secret).unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    /// RFC 4231 test case 2, whose key is the text itself.
    #[test]
    fn sha256_vector() {
        let mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        let signer = Signer { scheme: Scheme::Sha256, mac };
        assert_eq!(
            signer.sign("ignored", 0, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn every_signed_part_matters() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let other = Secret::parse("whsec_NfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signer = Signer::new(Scheme::Standard, &secret).unwrap();
        let reference = signer.sign("evt_1", 100, b"{}");
        assert_eq!(signer.sign("evt_1", 100, b"{}"), reference);
        assert_ne!(signer.sign("evt_2", 100, b"{}"), reference);
        assert_ne!(signer.sign("evt_1", 101, b"{}"), reference);
        assert_ne!(signer.sign("evt_1", 100, b"{ }"), reference);
        let forged = Signer::new(Scheme::Standard, &other).unwrap();
        assert_ne!(forged.sign("evt_1", 100, b"{}"), reference);
    }

    #[test]
    fn schemes_by_name() {
        for scheme in Scheme::ALL {
            assert_eq!(scheme.name().parse::<Scheme>().unwrap(), scheme);
        }
        assert!("Standard".parse::<Scheme>().is_err());
        let words = Secret::parse("a secret of plain words").unwrap();
        assert!(Signer::new(Scheme::Standard, &words).is_err());
        assert!(Signer::new(Scheme::Sha256, &words).is_ok());
    }
}
