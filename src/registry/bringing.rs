//! Bringing webhooks to what they are to be: one that is there, one that is not, and one that is to be no more.
//!
//! What is as it is wanted is not touched: no lock is taken for it, and a condition with the text that it had keeps the meaning that
//! it had.

use super::document::{Changes, Document, Target, Wanted};
use super::making::Making;
use super::managed::{self, Webhook};
use super::privilege::Patience;
use super::{watch, webhook};
use crate::pg::identity::Caller;
use crate::pg::snapshot;
use crate::pg::spi::Session;
use domain::key::WebhookId;
use domain::refusal::Refusal;
use domain::secret::Secret;

/// Makes `changes`, which are those of `wanted`, of a locked webhook of the caller's. What is returned is still to be done.
///
/// # Errors
///
/// Those of [`webhook::update`], [`watch::add`] and [`watch::change`].
pub fn bring(
    session: &Session,
    caller: &Caller,
    own: &Webhook,
    (before, wanted, changes): (&Document, &Wanted, &Changes),
) -> Result<Vec<Making>, Refusal> {
    let mut definition = wanted.definition.clone();
    // Writing these again is not for nothing, as it is for the others.
    let keeps = |name: &str| !changes.contains_key(name);
    definition.name = None;
    // One that is the same under another name ends no rotation.
    definition.secret = definition.secret.filter(|secret| !before.has_secret(secret));
    definition.headers = definition.headers.filter(|_| !keeps("headers"));
    definition.emitters = definition.emitters.filter(|_| !keeps("emitters"));
    definition.transform = definition.transform.filter(|_| !keeps("transform"));
    webhook::update(session, caller, own, definition)?;
    if keeps("tables") {
        return Ok(Vec::new());
    }
    let there = watch::list(session, own.id);
    let is_wanted = |relation| wanted.tables.iter().any(|target| target.relation == relation);
    for gone in there.iter().filter(|watched| watched.dropped || !is_wanted(watched.relation)) {
        watch::remove(session, caller, gone);
    }
    let mut makings = Vec::new();
    for target in &wanted.tables {
        let watched =
            there.iter().find(|watched| !watched.dropped && watched.relation == target.relation);
        let making = match watched {
            None => Some(watch::add(session, caller, own, target.relation, &target.spec)?),
            Some(watched) => {
                let given = differing(watched, &target.spec, before.is_sound(target.relation));
                watch::mean(session, watched);
                watch::change(session, caller, own, watched, given)?
            }
        };
        makings.extend(making);
    }
    Ok(makings)
}

/// Brings what a locked webhook watches of one table to `wanted`. What is returned is still to be done.
///
/// # Errors
///
/// Those of [`watch::change`].
pub fn rewatch(
    session: &Session,
    caller: &Caller,
    own: &Webhook,
    watched: &watch::Watched,
    wanted: &watch::Spec,
) -> Result<Option<Making>, Refusal> {
    watch::mean(session, watched);
    let given = differing(watched, wanted, watch::is_sound(session, watched));
    watch::change(session, caller, own, watched, given)
}

/// How often it is looked again for a webhook that others make and delete meanwhile. Each time takes a commit of theirs just then.
const TRIES: u32 = 10;

/// Does `step` with the caller's webhook of that name, or with none. Where another transaction makes one meanwhile, or has deleted,
/// renamed or given it away, once more.
///
/// # Errors
///
/// Those of `step`. [`Refusal::MadeSince`] where an old snapshot does not show the one that is there.
pub fn settle<R>(
    session: &Session,
    caller: &Caller,
    name: &str,
    mut step: impl FnMut(Option<WebhookId>) -> Result<R, Refusal>,
) -> Result<R, Refusal> {
    for _ in 0..TRIES {
        match step(managed::own_named(session, caller, name)?) {
            Err(Refusal::DuplicateName(_) | Refusal::UnknownWebhook(_)) => {}
            done => return done,
        }
    }
    Err(match snapshot::is_kept() {
        true => Refusal::MadeSince(name.to_owned()),
        false => Refusal::DuplicateName(name.to_owned()),
    })
}

/// Makes a webhook of the caller's. What is returned is still to be done.
///
/// # Errors
///
/// Those of [`webhook::insert`] and [`watch::add`].
pub fn make(
    session: &Session,
    caller: &Caller,
    wanted: &Wanted,
    secret: &Secret,
) -> Result<(WebhookId, Vec<Making>), Refusal> {
    let definition = wanted.definition.clone();
    let patience = Patience::Migration;
    let made = webhook::insert(session, caller, definition, secret, patience)?.webhook;
    let tables = wanted.tables.iter();
    let add = |target: &Target| watch::add(session, caller, &made, target.relation, &target.spec);
    let makings = tables.map(add).collect::<Result<_, _>>()?;
    Ok((made.id, makings))
}

/// Ends a webhook, and its triggers as far as the caller may drop them.
///
/// # Errors
///
/// Those of [`webhook::delete`].
pub fn end(session: &Session, caller: &Caller, own: &Webhook) -> Result<(), Refusal> {
    for watched in watch::list(session, own.id) {
        watch::remove(session, caller, &watched);
    }
    webhook::delete(session, own)
}

/// What has to be given to make of what is watched what is wanted, and of triggers that are not sound sound ones.
fn differing(watched: &watch::Watched, wanted: &watch::Spec, sound: bool) -> watch::Given {
    let is = &watched.spec;
    let condition = wanted.condition.clone().unwrap_or_default();
    watch::Given {
        events: Some(wanted.events.clone()).filter(|events| !sound || *events != is.events),
        columns: Some(wanted.columns.clone()).filter(|columns| *columns != is.columns),
        condition: Some(condition).filter(|_| !sound || wanted.condition != is.condition),
        payload_columns: Some(wanted.payload_columns.clone())
            .filter(|columns| *columns != is.payload_columns),
    }
}
