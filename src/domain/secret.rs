//! Signing secrets.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a secret in the form of Standard Webhooks begins with.
pub const PREFIX: &str = "whsec_";

/// The shortest secret that a user may bring, in characters.
pub const SHORTEST: usize = 16;

/// The longest, in characters.
pub const LONGEST: usize = 512;

/// Random bytes in a generated secret; Standard Webhooks asks for 24 to 64.
pub const GENERATED_BYTES: usize = 32;

/// A signing secret. It does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a text is not taken as a secret. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Fewer than [`SHORTEST`] characters.
    #[error("the secret is shorter than {SHORTEST} characters")]
    TooShort,
    /// More than [`LONGEST`] characters.
    #[error("the secret is longer than {LONGEST} characters")]
    TooLong,
    /// A control character, or white space at an end, which copying is likely to lose.
    #[error("the secret has a control character, or white space at its beginning or end")]
    Unprintable,
    /// Standard Webhooks signs with the bytes that the secret encodes.
    #[error("the secret is not base64 after \"{PREFIX}\", as signature \"standard\" needs it")]
    NotBase64,
}

impl Secret {
    /// The secret that `random` encodes, as `whsec_` and base64.
    pub fn generate(random: &[u8; GENERATED_BYTES]) -> Self {
        Self(format!("{PREFIX}{}", STANDARD.encode(random)))
    }

    /// Takes a secret that a user brings.
    ///
    /// # Errors
    ///
    /// Length or characters; see [`SecretError`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let length = text.chars().count();
        if length < SHORTEST {
            Err(SecretError::TooShort)
        } else if length > LONGEST {
            Err(SecretError::TooLong)
        } else if text.chars().any(char::is_control) || text.trim() != text {
            Err(SecretError::Unprintable)
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The text itself, to be stored or shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The key of Standard Webhooks: the bytes that the part after `whsec_` encodes.
    ///
    /// # Errors
    ///
    /// [`SecretError::NotBase64`].
    pub fn standard_key(&self) -> Result<Vec<u8>, SecretError> {
        let encoded = self.0.strip_prefix(PREFIX).unwrap_or(&self.0);
        STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_secrets_carry_their_bytes() {
        let random = std::array::from_fn(|i| i as u8);
        let secret = Secret::generate(&random);
        assert!(secret.reveal().starts_with("whsec_"));
        assert_eq!(secret.standard_key().unwrap(), random);
        assert_eq!(Secret::parse(secret.reveal()).unwrap(), secret);
    }

    #[test]
    fn bad_secrets_say_why() {
        assert_eq!(Secret::parse("fifteen-letters"), Err(SecretError::TooShort));
        assert!(Secret::parse("sixteen-letters!").is_ok());
        assert!(Secret::parse(&"é".repeat(16)).is_ok());
        assert_eq!(Secret::parse(&"x".repeat(513)), Err(SecretError::TooLong));
        assert_eq!(Secret::parse("sixteen\nletters!"), Err(SecretError::Unprintable));
        assert_eq!(Secret::parse("sixteen-letters! "), Err(SecretError::Unprintable));
        let secret = Secret::parse("not base64 at all").unwrap();
        assert_eq!(secret.standard_key(), Err(SecretError::NotBase64));
    }

    #[test]
    fn does_not_print_itself() {
        let secret = Secret::parse("sixteen-letters!").unwrap();
        assert!(!format!("{secret:?}").contains("letters"));
    }
}
