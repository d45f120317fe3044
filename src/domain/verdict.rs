//! What an attempt means for its delivery and its webhook.

use std::time::{Duration, SystemTime};

use super::backoff;
use super::failure::{ErrorClass, Failure};
use super::retry_after;

/// The least wait after 429 or a timeout: both say that the receiver is overloaded.
pub const THROTTLED: Duration = Duration::from_secs(60);

/// How a webhook retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first one; `None` for no limit by count.
    pub max_retries: Option<u32>,
    /// The wait after the first failure.
    pub base: Duration,
    /// No attempt begins later than this after the first one.
    pub retry_for: Duration,
}

/// The end of one HTTP exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 100 to 999.
    pub status: u16,
    /// The `Retry-After` header, if the answer had one.
    pub retry_after: Option<String>,
    /// What the answer asks for, where it says so.
    pub request: Option<Request>,
    /// Where a redirect points to, as it may be shown ([`super::redirect`]).
    pub points_to: Option<String>,
    /// The beginning of the body, as text (see `delivery::attempt`).
    pub body: String,
}

/// What a receiver can ask for in the header `webhook-delivery`, whatever the status of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Nothing more before somebody resumes the webhook.
    Pause,
    /// Not this delivery again.
    Abort,
}

impl Request {
    /// What the header says; `None` where that is something else.
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        let all = [(Self::Pause, "pause"), (Self::Abort, "abort")];
        all.into_iter().find(|(_, word)| value.eq_ignore_ascii_case(word)).map(|(it, _)| it)
    }
}

/// What becomes of the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Finished: answered with 200 to 299.
    Delivered,
    /// Another attempt after this time.
    Retry(Duration),
    /// Finished: the retries are used up.
    Dead,
    /// Finished: a test that has failed, which nobody but `webhook_test` makes and [`judge`] never returns.
    Failed,
}

/// What is known about a delivery when an attempt ends.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// Attempts made, this one included.
    pub attempts: u32,
    /// Since the first attempt began.
    pub elapsed: Duration,
}

/// The failure that an answer amounts to; `None` for 200 to 299.
fn failure(answer: &Answer) -> Option<Failure> {
    match answer.status {
        200..=299 => None,
        300..=399 => {
            let place =
                answer.points_to.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
            let message = format!("status {} is not followed{place}", answer.status);
            Some(Failure::new(ErrorClass::Redirect, message))
        }
        status => Some(Failure::new(ErrorClass::HttpStatus, format!("status {status}"))),
    }
}

/// The failure that the end of an attempt amounts to, if it is one.
pub fn failure_of(result: &Result<Answer, Failure>) -> Option<Failure> {
    match result {
        Ok(answer) => failure(answer),
        Err(failure) => Some(failure.clone()),
    }
}

/// Why the webhook is paused by an answer, if it is.
pub fn pauses(answer: &Answer) -> Option<&'static str> {
    match (answer.status, answer.request) {
        (410, _) => Some("its endpoint answered 410 Gone; events are kept until it is resumed"),
        (_, Some(Request::Pause)) => Some(
            "its endpoint answered webhook-delivery: pause; events are kept until it is resumed",
        ),
        _ => None,
    }
}

/// Whether the end of an attempt says that its endpoint is not there or not well, so that others need not be tried. An
/// answer that refuses one event, with 4xx or a redirect, says nothing about the next one. 408, 425 and 429 are
/// about time, and 410 is about the endpoint.
pub fn blames_endpoint(result: &Result<Answer, Failure>) -> bool {
    match result {
        Ok(answer) => match answer.status {
            408 | 410 | 425 | 429 => true,
            status => !(200..=499).contains(&status),
        },
        Err(_) => true,
    }
}

/// Whether an answer refuses what is in the request, so that a part of it may be taken.
pub fn refuses(result: &Result<Answer, Failure>) -> bool {
    let Ok(answer) = result else {
        return false;
    };
    answer.request.is_none()
        && matches!(answer.status, 400..=499)
        && !matches!(answer.status, 408 | 410 | 425 | 429)
}

/// Judges one ended attempt at `now`, with `jitter` as in [`backoff::wait`].
///
/// `Retry-After` can only lengthen a wait: the result lies between the back-off's own step and
/// [`backoff::LONGEST`], and within `retry_for`, so it never buys an attempt more.
pub fn judge(
    outcome: &Result<Answer, Failure>,
    history: History,
    policy: &RetryPolicy,
    now: SystemTime,
    jitter: f64,
) -> Verdict {
    let (asked, throttled) = match outcome {
        Ok(answer) if failure(answer).is_none() => return Verdict::Delivered,
        Ok(Answer { request: Some(Request::Abort), .. }) => return Verdict::Dead,
        Ok(answer) => {
            let asked = answer.retry_after.as_deref().and_then(|v| retry_after::parse(v, now));
            (asked, answer.status == 429)
        }
        Err(failure) => (None, failure.class == ErrorClass::Timeout),
    };
    let step = backoff::wait(history.attempts, policy.base, jitter);
    // The webhook is paused by it: whoever lets it go on decides what becomes of what waits.
    if outcome.as_ref().is_ok_and(|answer| pauses(answer).is_some()) {
        return Verdict::Retry(step);
    }
    if policy.max_retries.is_some_and(|max| history.attempts > max) {
        return Verdict::Dead;
    }
    let least = if throttled { step.max(THROTTLED) } else { step };
    match policy.retry_for.checked_sub(history.elapsed) {
        Some(left) if least <= left => {
            let longest = backoff::LONGEST.min(left).max(least);
            Verdict::Retry(asked.unwrap_or_default().clamp(least, longest))
        }
        _ => Verdict::Dead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_retries: None,
        base: Duration::from_secs(5),
        retry_for: Duration::from_secs(3 * 24 * 60 * 60),
    };
    const FIRST: History = History { attempts: 1, elapsed: Duration::ZERO };

    fn answered(status: u16, retry_after: Option<&str>) -> Result<Answer, Failure> {
        let retry_after = retry_after.map(str::to_owned);
        Ok(Answer { status, retry_after, request: None, points_to: None, body: String::new() })
    }

    fn asked(status: u16, request: Request) -> Result<Answer, Failure> {
        answered(status, None).map(|answer| Answer { request: Some(request), ..answer })
    }

    fn verdict(outcome: Result<Answer, Failure>) -> Verdict {
        judge(&outcome, FIRST, &POLICY, SystemTime::UNIX_EPOCH, 0.0)
    }

    fn retry(seconds: u64) -> Verdict {
        Verdict::Retry(Duration::from_secs(seconds))
    }

    #[test]
    fn statuses() {
        for status in [200, 201, 202, 204, 226, 299] {
            assert_eq!(verdict(answered(status, None)), Verdict::Delivered, "{status}");
        }
        for status in [100, 199, 300, 301, 302, 304, 307, 308, 400, 404, 410, 500, 503, 599, 999] {
            assert_eq!(verdict(answered(status, None)), retry(5), "{status}");
        }
        assert_eq!(verdict(answered(429, None)), retry(60));
        let class = |status| failure(&answered(status, None).unwrap()).map(|failure| failure.class);
        assert_eq!(class(302), Some(ErrorClass::Redirect));
        assert_eq!(class(500), Some(ErrorClass::HttpStatus));
        assert_eq!(class(204), None);
        let paused = |outcome: Result<Answer, Failure>| pauses(&outcome.unwrap()).is_some();
        assert!(paused(answered(410, None)) && !paused(answered(404, None)));
        assert!(paused(asked(200, Request::Pause)) && !paused(asked(500, Request::Abort)));
    }

    #[test]
    fn a_receiver_can_ask_for_an_end() {
        assert_eq!(verdict(asked(500, Request::Abort)), Verdict::Dead);
        assert_eq!(verdict(asked(410, Request::Abort)), Verdict::Dead);
        assert_eq!(verdict(asked(204, Request::Abort)), Verdict::Delivered);
        assert_eq!(verdict(asked(204, Request::Pause)), Verdict::Delivered);
        assert_eq!(verdict(asked(500, Request::Pause)), retry(5));
        assert_eq!(Request::parse(" Pause "), Some(Request::Pause));
        assert_eq!(Request::parse("abort"), Some(Request::Abort));
        assert_eq!(Request::parse("stop"), None);
    }

    #[test]
    fn an_endpoint_that_refuses_an_event_is_alive() {
        for status in [200, 204, 301, 302, 308, 400, 401, 404, 409, 413, 422, 451] {
            assert!(!blames_endpoint(&answered(status, None)), "{status}");
        }
        for status in [100, 408, 410, 425, 429, 500, 502, 503, 599, 999] {
            assert!(blames_endpoint(&answered(status, None)), "{status}");
        }
        assert!(blames_endpoint(&Err(Failure::new(ErrorClass::Timeout, ""))));
    }

    #[test]
    fn failures_without_an_answer() {
        for (class, seconds) in [
            (ErrorClass::Dns, 5),
            (ErrorClass::Connect, 5),
            (ErrorClass::Reset, 5),
            (ErrorClass::BlockedAddress, 5),
            (ErrorClass::Timeout, 60),
        ] {
            assert_eq!(verdict(Err(Failure::new(class, ""))), retry(seconds), "{class:?}");
        }
    }

    #[test]
    fn retry_after_lengthens_within_bounds() {
        for (value, seconds) in [
            ("0", 5),
            ("-1", 5),
            ("3", 5),
            ("30", 30),
            ("1e12", 5),
            ("1000000000000", 36_000),
            ("NaN", 5),
            ("Thu, 01 Jan 1970 00:02:00 GMT", 120),
            ("Mon, 01 Jan 1900 00:00:00 GMT", 5),
            ("Tue, 31 Dec 2999 00:00:00 GMT", 36_000),
        ] {
            assert_eq!(verdict(answered(503, Some(value))), retry(seconds), "{value}");
        }
        assert_eq!(verdict(answered(429, Some("10"))), retry(60));
        assert_eq!(verdict(answered(429, Some("90"))), retry(90));
        assert_eq!(verdict(answered(200, Some("90"))), Verdict::Delivered);
    }

    #[test]
    fn count_and_time_end_it() {
        let outcome = answered(500, Some("1000000"));
        let at = |attempts, elapsed, policy: RetryPolicy| {
            let history = History { attempts, elapsed: Duration::from_secs(elapsed) };
            judge(&outcome, history, &policy, SystemTime::UNIX_EPOCH, 0.0)
        };
        let counted = RetryPolicy { max_retries: Some(2), ..POLICY };
        assert!(matches!(at(1, 0, counted), Verdict::Retry(_)));
        assert!(matches!(at(2, 0, counted), Verdict::Retry(_)));
        assert_eq!(at(3, 0, counted), Verdict::Dead);
        assert_eq!(at(1, 0, RetryPolicy { max_retries: Some(0), ..POLICY }), Verdict::Dead);

        let gone = answered(410, None);
        let last = History { attempts: 9, elapsed: POLICY.retry_for * 2 };
        let judged = judge(&gone, last, &counted, SystemTime::UNIX_EPOCH, 0.0);
        assert!(matches!(judged, Verdict::Retry(_)), "it pauses the webhook");

        let timed = RetryPolicy { retry_for: Duration::from_secs(100), ..POLICY };
        assert_eq!(at(1, 40, timed), retry(60), "the last attempt is at the end of the window");
        assert_eq!(at(1, 96, timed), Verdict::Dead);
        assert_eq!(at(1, 101, timed), Verdict::Dead);
    }
}
