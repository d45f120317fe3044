//! The tables that webhooks watch.

use pgrx::datum::Uuid;
use pgrx::pg_sys;

use super::making::Making;
use super::managed::Webhook;
use super::{condition, further, removal, table, trigger};
use crate::pg::identity::Caller;
use crate::pg::spi::{Session, arg, sql};
use domain::event::Operation;
use domain::key::WebhookId;
use domain::refusal::Refusal;

/// What of a table is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// At least one.
    pub events: Vec<Operation>,
    /// UPDATE counts only where one of these changes; empty for any column.
    pub columns: Vec<String>,
    /// Narrows all events.
    pub condition: Option<String>,
    /// What is sent of a row; empty for all of it.
    pub payload_columns: Vec<String>,
}

/// A watched table.
pub struct Watched {
    /// The argument of its triggers.
    pub id: Uuid,
    /// Its oid.
    pub relation: pg_sys::Oid,
    /// Schema and name, quoted.
    pub table: String,
    /// It is no more; `table` is what it was called when it was watched.
    pub dropped: bool,
    /// What of it.
    pub spec: Spec,
}

/// The parts of a [`Spec`] that a user gave; `None` is a part that was left out.
#[derive(Debug, Default, Clone)]
pub struct Given {
    /// An empty list is refused.
    pub events: Option<Vec<Operation>>,
    /// An empty list is any column.
    pub columns: Option<Vec<String>>,
    /// An empty text is no condition.
    pub condition: Option<String>,
    /// An empty list is the whole row.
    pub payload_columns: Option<Vec<String>>,
}

impl Given {
    /// The first part that was given, by its argument's name.
    pub fn any(&self) -> Option<&'static str> {
        let parts = [
            (self.events.is_some(), "events"),
            (self.columns.is_some(), "columns"),
            (self.condition.is_some(), "condition"),
            (self.payload_columns.is_some(), "payload_columns"),
        ];
        parts.into_iter().find_map(|(given, name)| given.then_some(name))
    }

    /// Completes it with `before`, for a new table with all events.
    ///
    /// # Errors
    ///
    /// An unknown event, an empty list, columns without UPDATE, or a condition that is not one.
    pub fn complete(self, before: Option<Spec>) -> Result<Spec, Refusal> {
        let new = before.is_none();
        let before = before.unwrap_or_else(|| Spec {
            events: Operation::ROWS.to_vec(),
            columns: Vec::new(),
            condition: None,
            payload_columns: Vec::new(),
        });
        let condition_given = self.condition.is_some();
        let spec = Spec {
            events: self.events.unwrap_or(before.events),
            columns: self.columns.unwrap_or(before.columns),
            condition: self.condition.or(before.condition).filter(|text| !text.trim().is_empty()),
            payload_columns: self.payload_columns.unwrap_or(before.payload_columns),
        };
        if spec.events.is_empty() {
            return Err(Refusal::NoOperations);
        }
        if !spec.columns.is_empty() && !spec.events.contains(&Operation::Update) {
            return Err(Refusal::ColumnsWithoutUpdate);
        }
        if let Some(text) = &spec.condition
            && (new || condition_given)
        {
            condition::check(text)?;
        }
        Ok(spec)
    }
}

/// Begins to watch `relation`. What is returned is still to be done.
///
/// # Errors
///
/// A relation that cannot be watched or that the caller may not watch, an unknown column, or a table
/// that is watched already, itself or through its partitions or its parent.
pub fn add(
    session: &Session,
    caller: &Caller,
    webhook: &Webhook,
    relation: pg_sys::Oid,
    spec: &Spec,
) -> Result<Making, Refusal> {
    if spec.condition.is_some() {
        webhook.may_bring("condition")?;
    }
    let table = table::check(session, caller, relation, chosen(&spec.payload_columns))?;
    if list(session, webhook.id).iter().any(|watched| watched.relation == relation) {
        return Err(Refusal::AlreadyWatched { webhook: webhook.name.clone(), table });
    }
    let overlap = session.run(sql!("registry/overlap"), &[arg(webhook.id), arg(relation)]);
    if let Some(row) = overlap.first() {
        return Err(Refusal::Overlap {
            webhook: webhook.name.clone(),
            other: row.value("table_name"),
            table,
        });
    }
    table::check_columns(session, relation, &table, &spec.columns)?;
    table::check_columns(session, relation, &table, &spec.payload_columns)?;
    session.run(sql!("registry/unwatch_dropped"), &[arg(webhook.id)]);
    let rows = session.run(
        sql!("registry/watch"),
        &[
            arg(webhook.id),
            arg(relation),
            arg(words(&spec.events)),
            arg(chosen(&spec.columns)),
            arg(spec.condition.clone()),
            arg(chosen(&spec.payload_columns)),
        ],
    );
    let id =
        rows.first().map(|row| row.value::<Uuid>("id")).ok_or_else(|| Refusal::gone(&table))?;
    let of = (id, relation, table.as_str());
    record_payload(session, of)?;
    Making::plan(session, of, &spec.events, spec.condition.as_deref(), &[])
}

/// Changes what of a table is watched. Triggers are touched only where they become others: by a new condition, for an
/// operation that was not watched, or where they are not as they were made and the events are given again. What is
/// returned is still to be done.
///
/// # Errors
///
/// As for [`Given::complete`] and [`add`]; or a condition that no trigger has any more.
pub fn change(
    session: &Session,
    caller: &Caller,
    webhook: &Webhook,
    watched: &Watched,
    given: Given,
) -> Result<Option<Making>, Refusal> {
    let condition_given = given.condition.is_some();
    let events_given = given.events.is_some();
    let (columns, payload_columns) = (given.columns.clone(), given.payload_columns.clone());
    let spec = given.complete(Some(watched.spec.clone()))?;
    let had_none = watched.spec.condition.is_none() && spec.condition.is_none();
    let new_condition = condition_given && !had_none;
    if new_condition && spec.condition.is_some() {
        webhook.may_bring("condition")?;
    }
    let (id, relation) = (watched.id, watched.relation);
    let table = table::check(session, caller, relation, chosen(&spec.payload_columns))?;
    for names in [&columns, &payload_columns].into_iter().flatten() {
        table::check_columns(session, relation, &table, names)?;
    }
    let before = trigger::of_watch(session, id);
    session.run(
        sql!("registry/rewatch"),
        &[
            arg(id),
            arg(words(&spec.events)),
            arg(chosen(&spec.columns)),
            arg(spec.condition.clone()),
            arg(chosen(&spec.payload_columns)),
        ],
    );
    let of = (id, relation, table.as_str());
    if payload_columns.is_some() {
        record_payload(session, of)?;
    }
    if events_given {
        let kept: Vec<_> = spec.events.iter().map(|event| trigger::name_of(id, *event)).collect();
        removal::drop_triggers(session, caller, of, &kept);
    }
    let is_right =
        |event: &Operation| before.iter().any(|made| made.operation == *event && made.right);
    let mut wanted = spec.events.clone();
    wanted.retain(|event| new_condition || events_given && !is_right(event));
    if columns.is_some() && !wanted.contains(&Operation::Update) {
        trigger::columns_changed(session, of)?;
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    if new_condition {
        return Making::plan(session, of, &wanted, spec.condition.as_deref(), &before).map(Some);
    }
    further::make(session, of, &wanted, spec.condition.is_some(), &before)?;
    Ok(None)
}

/// What is sent are the columns that have the watch's names now, whatever they are called later.
fn record_payload(
    session: &Session,
    (watch, _, table): (Uuid, pg_sys::Oid, &str),
) -> Result<(), Refusal> {
    let rows = session.run(sql!("registry/record_payload"), &[arg(watch)]);
    match rows.first() {
        // Somebody has just renamed or dropped it.
        Some(row) => {
            Err(Refusal::UnknownColumn { column: row.value("name"), table: table.to_owned() })
        }
        None => Ok(()),
    }
}

/// The table that is watched is the one that is meant, whatever has the name by now that it had.
pub fn mean(session: &Session, watched: &Watched) {
    session.run(sql!("registry/mean"), &[arg(watched.id)]);
}

/// Stops watching a table.
pub fn remove(session: &Session, caller: &Caller, watched: &Watched) {
    session.run(sql!("registry/unwatch"), &[arg(watched.id)]);
    if !watched.dropped {
        let of = (watched.id, watched.relation, watched.table.as_str());
        removal::drop_triggers(session, caller, of, &[]);
    }
}

/// The tables of a webhook, those that have been dropped among them.
pub fn list(session: &Session, webhook: WebhookId) -> Vec<Watched> {
    let rows = session.run(sql!("registry/watched"), &[arg(webhook)]);
    rows.iter()
        .map(|row| {
            let events: Vec<String> = row.value("events");
            Watched {
                id: row.value("id"),
                relation: row.value("relation"),
                table: row.value("table_name"),
                dropped: row.value("dropped"),
                spec: Spec {
                    events: events.iter().filter_map(|word| word.parse().ok()).collect(),
                    columns: row.get("columns").unwrap_or_default(),
                    condition: row.get("condition"),
                    payload_columns: row.get("payload_columns").unwrap_or_default(),
                },
            }
        })
        .collect()
}

/// The one that is `relation`, if it is watched.
pub fn find(session: &Session, webhook: WebhookId, relation: pg_sys::Oid) -> Option<Watched> {
    list(session, webhook).into_iter().find(|watched| watched.relation == relation)
}

/// Whether its triggers are there, as they were made.
pub fn is_sound(session: &Session, watched: &Watched) -> bool {
    let made = trigger::of_watch(session, watched.id);
    watched.spec.events.iter().all(|event| made.iter().any(|it| it.operation == *event && it.right))
}

/// As they are stored.
pub(super) fn words(events: &[Operation]) -> Vec<&'static str> {
    events.iter().map(|event| event.as_str()).collect()
}

/// A list of columns; none where it is empty.
fn chosen(names: &[String]) -> Option<Vec<String>> {
    Some(names.to_vec()).filter(|names| !names.is_empty())
}
