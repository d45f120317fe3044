//! The ways in which an attempt ends without a success.

use std::fmt;

/// What failed, as `webhook.attempts.error_class` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The name did not resolve.
    Dns,
    /// The address policy refused an address of the name.
    BlockedAddress,
    /// No connection could be made.
    Connect,
    /// The TLS handshake failed or the certificate was not accepted.
    Tls,
    /// The attempt's deadline passed.
    Timeout,
    /// The connection ended before the answer was complete.
    Reset,
    /// An answer with a status outside 200 to 399.
    HttpStatus,
    /// An answer with a status from 300 to 399, which is never followed.
    Redirect,
    /// An answer that is not HTTP/1.1, or beyond the limits on its head.
    Protocol,
    /// A fault of ours.
    Internal,
}

impl ErrorClass {
    /// The name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::BlockedAddress => "blocked_address",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::HttpStatus => "http_status",
            Self::Redirect => "redirect",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
        }
    }
}

/// A failed attempt: its class and one line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What failed.
    pub class: ErrorClass,
    /// How, without secrets.
    pub message: String,
}

impl Failure {
    /// A failure of `class`.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class.as_str(), self.message)
    }
}

impl std::error::Error for Failure {}
