//! What turns something that happened into an event of a webhook, wherever it comes from.

use std::borrow::Cow;
use std::time::SystemTime;

use pgrx::pg_sys;

use super::transform::{Failure, Transform};
use crate::host::{anchor, arrival, ids, wake};
use crate::pg::spi::{Session, arg, sql};
use crate::pg::{guc, identity, memory, output, settings, snapshot};
use crate::queue::installation;
use crate::queue::ring::{self, NewEvent, Target};
use domain::envelope::{Envelope, Kind, Subject, Unrendered, Values};
use domain::format::Format;
use domain::key::{DeliveryId, WebhookId};
use domain::order::{self, Of, Ordering};
use domain::refusal::Refusal;
use domain::time::Timestamp;

/// One webhook, as its events need it.
pub struct Recipient {
    /// The key of its rows.
    pub webhook: WebhookId,
    /// What happens becomes events.
    pub enabled: bool,
    /// The role that it belongs to.
    pub owner: pg_sys::Oid,
    /// That has not been confirmed, so that nothing runs as that role.
    pub unconfirmed: Option<Refusal>,
    /// Where events go.
    pub target: Target,
    installation: String,
    /// What this server was called when that was read.
    server: String,
    /// In a copy, the transaction that has written the installation.
    copied: Option<i64>,
    uuid: String,
    name: String,
    format: Format,
    transform: Option<Transform>,
    /// What is delivered in order.
    pub ordering: Ordering,
    /// By the columns of these names; `None` for the primary key.
    pub order_key: Option<Vec<String>>,
}

/// An event that has an id and is not written yet.
pub struct Draft {
    /// The delivery.
    pub id: DeliveryId,
    /// The id for receivers.
    pub event_id: String,
    /// Now.
    pub created_at: Timestamp,
    timestamp: String,
    session_variables: Option<String>,
    context: Option<String>,
    /// The event that it is of, where that is an earlier one.
    repeats: Option<String>,
    /// By which it is ordered, if it is.
    keys: Option<Vec<i64>>,
    /// The dead letter whose place in the order it takes.
    replaces: Option<DeliveryId>,
}

/// How much of an event its body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All.
    Whole,
    /// All, and nothing of what the session adds.
    Alone,
    /// Of a row that makes it too large the primary key.
    Keys,
    /// And nothing of what the session adds.
    Bare,
}

/// What a transform may do in the session of a role that emits an event.
pub enum Consent {
    /// Run, and fail the statement: the webhook's owner has the rights of that role.
    Full,
    /// Run: that role is a member of the owner.
    Runs,
    /// Nothing: the webhook has named that role, which has not been asked.
    None {
        /// That role.
        emitter: String,
    },
}

/// What is stored of an event.
pub enum Stored<'b> {
    /// The body that is sent.
    Body(Cow<'b, str>),
    /// The body as it was before the transform, and why that has made none of it. It is not sent.
    Failed(&'b str, String),
}

impl Recipient {
    /// The recipient for `webhook`, unless that has been deleted or its owner is gone. As it is now, whatever the
    /// transaction sees: functions are found as they are now, too. One that is given another transform in between is
    /// read once more.
    pub fn load(session: &Session, webhook: WebhookId) -> Option<Self> {
        let read = || snapshot::with_latest(|| Self::read(session, webhook));
        let gone = |recipient: &Self| {
            recipient.unconfirmed.is_none()
                && recipient.transform().is_some_and(|found| found.named.is_none())
        };
        read().and_then(|recipient| if gone(&recipient) { read() } else { Some(recipient) })
    }

    fn read(session: &Session, webhook: WebhookId) -> Option<Self> {
        let rows = session.look_up(sql!("compose/recipient"), &[arg(webhook)]);
        let row = rows.first()?;
        let copied: Option<i64> = row.get("copied");
        let owner = anchor::role(&row.value::<String>("owner"), row.get("owner_type"))?;
        let anchor = row.get::<String>("anchor");
        // As webhook.owned says it.
        let (named, role) = (row.value::<String>("owner_name"), identity::name_of(owner));
        let confirmed = row.get::<bool>("confirmed").unwrap_or(role == named);
        let unconfirmed = (!confirmed).then_some(Refusal::Unconfirmed { named, role });
        Some(Self {
            webhook,
            enabled: row.value("enabled"),
            owner,
            uuid: row.value("uuid"),
            name: row.value("name"),
            // Checked when it was chosen.
            format: row.value::<String>("format").parse().unwrap_or(Format::Default),
            transform: anchor.map(|anchor| {
                let found = Transform::load(session, anchor, owner, row.value("fails"));
                match &unconfirmed {
                    Some(refusal) => found.barred(refusal),
                    None => found,
                }
            }),
            unconfirmed,
            server: settings::server(),
            ordering: row.value::<String>("ordering").parse().unwrap_or(Ordering::None),
            order_key: row.get("order_key"),
            installation: match copied {
                Some(_) => installation::of_copy(&row.value::<String>("installation")),
                None => row.value("installation"),
            },
            copied,
            target: Target {
                slot: row.value("slot"),
                relation: row.value("relation"),
                sequence: row.value("sequence"),
            },
        })
    }

    /// The webhook's public id.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The role as which what a user has written may run, if any.
    pub fn runs_as(&self) -> Option<pg_sys::Oid> {
        self.unconfirmed.is_none().then_some(self.owner)
    }

    /// Whether pg_webhook.server, which says whether this is a copy, is as it was when this was read: no session is told when it
    /// changes.
    pub fn is_current(&self) -> bool {
        settings::is_server(&self.server)
    }

    /// The envelope for events of `kind`.
    pub fn envelope(&self, kind: Kind<'_>, table: Option<(&str, &str)>) -> Envelope {
        let subject = Subject {
            webhook_id: &self.uuid,
            webhook_name: &self.name,
            installation: &self.installation,
            table,
        };
        Envelope::new(self.format, kind, subject)
    }

    /// Begins an event that will be put into `envelope`.
    pub fn draft(&self, envelope: &Envelope) -> Draft {
        let now = Timestamp::from(SystemTime::now());
        self.draft_as(ring::next_id(&self.target, now), now, envelope)
    }

    /// As [`Self::draft`], for an event that will not be.
    pub fn sketch(&self, envelope: &Envelope) -> Draft {
        self.draft_as(ids::sample(), Timestamp::from(SystemTime::now()), envelope)
    }

    fn draft_as(&self, id: DeliveryId, created_at: Timestamp, envelope: &Envelope) -> Draft {
        let variables = envelope.wants_session_variables().then(session_variables).flatten();
        Draft {
            id,
            event_id: ring::event_id(&self.installation, id),
            created_at,
            timestamp: output::rfc3339(created_at),
            session_variables: variables,
            context: settings::context(),
            repeats: None,
            keys: None,
            replaces: None,
        }
    }

    /// Begins another delivery of event `event_id`, whose body is there.
    pub fn repeat(&self, event_id: String) -> Draft {
        let created_at = Timestamp::from(SystemTime::now());
        Draft {
            id: ring::next_id(&self.target, created_at),
            event_id: event_id.clone(),
            created_at,
            timestamp: String::new(),
            session_variables: None,
            context: None,
            repeats: Some(event_id),
            keys: None,
            replaces: None,
        }
    }

    /// By what an application's event is ordered that has this key: without one by nothing, unless all of the webhook's have one order.
    pub fn keys_of_emitted(&self, key: Option<&str>) -> Option<Vec<i64>> {
        let of = if self.order_key.is_some() { Of::Any } else { Of::Emitted };
        match self.ordering {
            Ordering::None => None,
            Ordering::Webhook => Some(vec![order::ONE]),
            Ordering::Key => {
                key.map(|key| vec![order::hash(of, std::iter::once(Some(key.as_bytes())))])
            }
        }
    }

    /// The recipient for an event of a role that consents to this.
    pub fn with_consent(self, consent: Consent) -> Self {
        let limited = |transform: Transform| match consent {
            Consent::Full => transform,
            Consent::Runs => transform.never_failing(),
            Consent::None { emitter } => transform.barred(&Refusal::NotForEmitter(emitter)),
        };
        Self { transform: self.transform.map(limited), ..self }
    }

    /// The transform, if there is one.
    pub fn transform(&self) -> Option<&Transform> {
        self.transform.as_ref()
    }

    /// What the webhook's transform makes of a body; `None` where it drops the event.
    ///
    /// # Errors
    ///
    /// Those of the transform.
    pub fn transformed<'b>(&self, body: &'b str) -> Result<Option<Cow<'b, str>>, Failure> {
        match &self.transform {
            Some(transform) => Ok(transform.apply(body)?.map(Cow::Owned)),
            None => Ok(Some(Cow::Borrowed(body))),
        }
    }

    /// What is stored of an event with this body; `None` where the transform drops it.
    ///
    /// Raises an error of the transform where the webhook says that it is the statement's.
    pub fn prepare<'b>(&self, body: &'b str) -> Option<Stored<'b>> {
        match self.transformed(body) {
            Ok(made) => made.map(Stored::Body),
            Err(failure) if self.transform().is_some_and(Transform::fails_the_statement) => {
                failure.raise(&self.name)
            }
            Err(failure) => Some(Stored::Failed(body, failure.describe())),
        }
    }

    /// Raises an error of the transform, whatever the webhook says.
    pub fn raise(&self, failure: Failure) -> ! {
        failure.raise(&self.name)
    }

    /// Writes the event, in the current transaction.
    pub fn append(
        &self,
        draft: &Draft,
        event_type: &str,
        table: Option<(&str, &str)>,
        stored: &Stored<'_>,
    ) {
        let mut event_id = draft.repeats.as_deref();
        // In a copy webhook_arm tells by this note what has been written here. The event id is stored, because it is made of the
        // copy's own id, which is another one when the copy has been armed.
        if let Some(since) = self.copied {
            arrival::note(since);
            event_id = Some(&draft.event_id);
        }
        let (payload, failure) = match stored {
            Stored::Body(body) => (&**body, None),
            Stored::Failed(body, failure) => (*body, Some(failure.as_str())),
        };
        let event = NewEvent {
            id: draft.id,
            created_at: draft.created_at,
            webhook: self.webhook,
            event_type,
            table,
            event_id,
            payload,
            failure,
            keys: draft.keys.clone(),
            replaces: draft.replaces,
        };
        ring::append(&self.target, event);
        wake::worker_at_commit();
    }
}

impl Draft {
    /// As one that is ordered by these keys.
    pub fn in_order(self, keys: Option<Vec<i64>>) -> Self {
        Self { keys, ..self }
    }

    /// As one that takes the place of that dead letter in the order.
    pub fn in_place_of(self, delivery: DeliveryId) -> Self {
        Self { replaces: Some(delivery), ..self }
    }

    /// The body around these rows; `None` where it would be larger than `most` bytes.
    pub fn render(
        &self,
        envelope: &Envelope,
        new: Option<&str>,
        old: Option<&str>,
        extent: Extent,
        most: usize,
    ) -> Option<String> {
        let adds = matches!(extent, Extent::Whole | Extent::Keys);
        let values = Values {
            id: &self.event_id,
            timestamp: &self.timestamp,
            new,
            old,
            session_variables: self.session_variables.as_deref().filter(|_| adds),
            context: self.context.as_deref().filter(|_| adds),
            truncated: matches!(extent, Extent::Keys | Extent::Bare),
        };
        match envelope.render(&values, most) {
            Ok(body) => Some(body),
            Err(Unrendered::TooLarge) => None,
            Err(Unrendered::NoMemory) => memory::exhausted(),
        }
    }
}

/// Who the application says it acts for. Hasura sets `hasura.user`; anybody can set anything there, so what
/// is not JSON counts as nothing.
fn session_variables() -> Option<String> {
    let own = guc::text(c"hasura.user").or_else(settings::session_variables)?;
    serde_json::from_str::<serde::de::IgnoredAny>(&own).is_ok().then_some(own)
}
