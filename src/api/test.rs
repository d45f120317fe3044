//! `webhook_test`

use std::sync::Arc;
use std::time::SystemTime;

use pgrx::datum::AnyNumeric;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{elsewhere, milliseconds, on_behalf, single};
use crate::compose::recipient::{Draft, Extent, Recipient, Stored};
use crate::log::attempt::Log;
use crate::pg::identity::Caller;
use crate::pg::json::Json;
use crate::pg::spi::{self, Session};
use crate::pg::{settings, snapshot};
use crate::queue::ring;
use crate::registry::{endpoint, managed};
use delivery::attempt;
use delivery::client::Endpoint;
use domain::batch::Batching;
use domain::envelope::Kind;
use domain::event::TEST;
use domain::failure::{ErrorClass, Failure};
use domain::refusal::Refusal;
use domain::time::{self, Timestamp};
use domain::verdict::{self, Verdict};
use transit::event::Attempt;
use transit::sending::{Exchange, Parcel};

#[pg_extern(sql = false)]
fn webhook_test(
    webhook: Option<&str>,
    payload: Option<Json>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(status_code, i32),
            name!(response_body, Option<String>),
            name!(latency_ms, AnyNumeric),
            name!(error, Option<String>),
        ),
    >,
    ErrorReport,
> {
    on_behalf(|caller| {
        let client = elsewhere::client();
        let test =
            spi::connect(|session| Test::prepare(session, caller, webhook, payload, &client))?;
        let exchange = test.perform()?;
        spi::connect(|session| test.record(session, &exchange));
        Ok(TableIterator::once(row(exchange)))
    })
}

/// A TEST event: sent by this session, recorded in its transaction.
struct Test {
    recipient: Recipient,
    draft: Draft,
    body: String,
    /// Where requests carry batches: it is one of a single event.
    batching: Option<Batching>,
    endpoint: Result<Arc<Endpoint>, Failure>,
}

impl Test {
    fn prepare(
        session: &Session,
        caller: &Caller,
        webhook: Option<&str>,
        payload: Option<Json>,
        client: &delivery::client::Client,
    ) -> Result<Self, Refusal> {
        let own = managed::look(session, caller, webhook)?;
        let route = endpoint::load(session, Some(own.id)).pop();
        let recipient = Recipient::load(session, own.id);
        let (Some(route), Some(recipient)) = (route, recipient) else {
            return Err(Refusal::UnknownWebhook(own.name));
        };
        if endpoint::unarmed(session, Some(own.id)) > 0 {
            return Err(Refusal::Unarmed(own.name));
        }
        let envelope = recipient.envelope(Kind::Test, None);
        let draft = recipient.draft(&envelope);
        // It leaves before the transaction commits, and may leave without.
        ring::secure_ids(&recipient.target);
        let payload = payload.as_ref().map(|Json(text)| text.as_str());
        let most = settings::max_payload_bytes();
        let body = draft
            .render(&envelope, payload, None, Extent::Whole, most)
            .ok_or(Refusal::TooLarge(most))?;
        let batching = route.batching;
        let endpoint = route.destination.and_then(|destination| {
            Endpoint::new(client, destination)
                .map(Arc::new)
                .map_err(|error| Failure::new(ErrorClass::Internal, error.to_string()))
        });
        Ok(Self { recipient, draft, body, batching, endpoint })
    }

    fn perform(&self) -> Result<Exchange, Refusal> {
        let endpoint = match &self.endpoint {
            Ok(endpoint) => Arc::clone(endpoint),
            Err(failure) => {
                return Ok(Exchange {
                    started: SystemTime::now(),
                    took: std::time::Duration::ZERO,
                    result: Err(failure.clone()),
                });
            }
        };
        let parcel = Parcel {
            delivery: self.draft.id,
            event_id: self.draft.event_id.clone(),
            attempt: 1,
            batch: self.batching.map(|_| 1),
            replay: false,
            body: single::body(self.batching.as_ref(), &self.draft.event_id, &self.body),
        };
        let _end = EndOfSession(Arc::clone(&endpoint));
        elsewhere::run(move || attempt::perform(&endpoint, &parcel))
    }

    /// The event and its one attempt. The worker leaves TEST events alone.
    fn record(&self, session: &Session, exchange: &Exchange) {
        let body = Stored::Body(self.body.as_str().into());
        self.recipient.append(&self.draft, TEST, None, &body);
        let failure = verdict::failure_of(&exchange.result);
        let verdict = if failure.is_none() { Verdict::Delivered } else { Verdict::Failed };
        let slot = self.recipient.target.slot;
        let attempt = Attempt {
            delivery: self.draft.id,
            xid: snapshot::top_xid(),
            webhook: self.recipient.webhook,
            event_slot: Some(slot),
            number: 1,
            started: Timestamp::from(exchange.started),
            took: exchange.took,
            result: Arc::new(exchange.result.clone()),
            batch: None,
            verdict,
        };
        let level = settings::log_level();
        Log::open(session).write(session, slot, level, std::iter::once(&attempt));
    }
}

/// Ends the request when the session gives up waiting.
struct EndOfSession(Arc<Endpoint>);

impl Drop for EndOfSession {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

fn row(exchange: Exchange) -> (i32, Option<String>, AnyNumeric, Option<String>) {
    let error = verdict::failure_of(&exchange.result).map(|failure| failure.to_string());
    let millis = milliseconds(time::micros(exchange.took));
    let (status, body) = match exchange.result {
        Ok(answer) => (i32::from(answer.status), Some(answer.body)),
        Err(_) => (0, None),
    };
    (status, body, millis, error)
}
