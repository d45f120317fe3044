//! One attempt: sign, send, read the answer, say what happened.

use std::error::Error as StdError;
use std::io::Read;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ureq::http::{HeaderName, HeaderValue, Method, Request, header};
use ureq::{Error, Timeout};

use super::client::Endpoint;
use super::files;
use super::tls::HANDSHAKE;
use super::transport::LARGEST_HEAD;
use domain::failure::{ErrorClass, Failure};
use domain::redirect;
use domain::verdict::{self, Answer};
use transit::sending::{Exchange, Parcel};

/// Bytes of an answer's body that are kept in the log, for whoever looks for the cause of a failure.
pub const KEPT: usize = 4 * 1024;

/// Bytes of an answer's body that are read so that the connection can serve again; a longer one costs
/// the connection.
const READ: u64 = 16 * 1024;

/// Makes one attempt. Returns within the endpoint's timeout, whatever the receiver does.
pub fn perform(endpoint: &Endpoint, parcel: &Parcel) -> Exchange {
    let started = SystemTime::now();
    let clock = Instant::now();
    let result = exchange(endpoint, parcel, started);
    Exchange { started, took: clock.elapsed(), result }
}

fn exchange(endpoint: &Endpoint, parcel: &Parcel, now: SystemTime) -> Result<Answer, Failure> {
    let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signatures = endpoint.signer.sign(&parcel.event_id, timestamp, parcel.body.as_bytes());
    let mut request = Request::new(parcel.body.as_bytes());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.uri.clone();
    let headers = request.headers_mut();
    *headers = endpoint.headers.clone();
    for (name, value) in [
        ("webhook-id", HeaderValue::from_str(&parcel.event_id)),
        ("webhook-timestamp", Ok(timestamp.into())),
        ("webhook-attempt", Ok(parcel.attempt.into())),
    ] {
        let value = value.map_err(|_| internal(format!("{name} is not a header value")))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    if parcel.replay {
        headers.insert(HeaderName::from_static("webhook-replay"), 1.into());
    }
    if let Some(count) = parcel.batch {
        headers.insert(HeaderName::from_static("webhook-batch"), count.into());
    }
    for (name, value) in signatures {
        let value = HeaderValue::try_from(value)
            .map_err(|_| internal(format!("{name} is not a header value")))?;
        headers.insert(name, value);
    }
    if !files::may_keep() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let response = endpoint.agent.run(request).map_err(|error| classify(error, endpoint))?;
    let (parts, body) = response.into_parts();
    let value = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let location = value(header::LOCATION).filter(|_| parts.status.is_redirection());
    Ok(Answer {
        status: parts.status.as_u16(),
        retry_after: value(header::RETRY_AFTER).map(str::to_owned),
        request: value(HeaderName::from_static("webhook-delivery"))
            .and_then(verdict::Request::parse),
        points_to: location.and_then(redirect::place),
        body: read(body.into_reader()),
    })
}

/// The beginning of the body. The status has decided already, so a body that breaks off, drips or
/// never ends is only cut.
fn read(body: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = body.take(READ).read_to_end(&mut bytes);
    bytes.truncate(KEPT);
    text(&bytes)
}

/// Text that PostgreSQL can store: valid UTF-8 without NUL.
fn text(bytes: &[u8]) -> String {
    let valid = match std::str::from_utf8(bytes) {
        // a character that the cut divided
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    };
    String::from_utf8_lossy(valid).replace('\0', "\u{fffd}")
}

fn internal(message: String) -> Failure {
    Failure::new(ErrorClass::Internal, message)
}

fn classify(error: Error, endpoint: &Endpoint) -> Failure {
    let class = match &error {
        Error::Other(cause) => match cause.downcast_ref::<Failure>() {
            Some(failure) => return failure.clone(),
            None => ErrorClass::Internal,
        },
        Error::Timeout(reason) => {
            let seconds = endpoint.destination().timeout.as_secs();
            let message = format!("no answer within {seconds} s: {}", phase(*reason));
            return Failure::new(ErrorClass::Timeout, message);
        }
        Error::LargeResponseHeader(..) => {
            let message = format!("the head of the answer is larger than {LARGEST_HEAD} bytes");
            return Failure::new(ErrorClass::Protocol, message);
        }
        Error::HostNotFound => ErrorClass::Dns,
        Error::Io(_) => ErrorClass::Reset,
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => ErrorClass::Tls,
        Error::Protocol(_) | Error::Http(_) | Error::BodyStalled => ErrorClass::Protocol,
        _ => ErrorClass::Internal,
    };
    let cause = match &error {
        Error::Io(cause) => cause.to_string(),
        error => error.source().map_or_else(|| error.to_string(), |source| source.to_string()),
    };
    Failure::new(class, cause)
}

/// What the time has ended. A body is not among it: the head has decided by then.
fn phase(reason: Timeout) -> &'static str {
    match reason {
        Timeout::Resolve => "looking up the name",
        Timeout::Connect => "connecting",
        HANDSHAKE => "within the TLS handshake",
        Timeout::SendRequest | Timeout::SendBody => "sending the request",
        _ => "waiting for the head of the answer",
    }
}

#[cfg(test)]
mod tests;
