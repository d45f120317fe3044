//! What would become of an event: the body that it would have, and whatever would keep it from being made or sent, in the order
//! in which it would meet that.
//!
//! It is tried as the trigger would do it, without writing anything, and goes on behind the first obstacle as far as it can.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use pgrx::prelude::*;

use super::rows::Sides;
use crate::capture::fired::{self, Fired};
use crate::capture::source::Source;
use crate::compose::recipient::{Draft, Extent, Recipient};
use crate::compose::transform::{self, Transform};
use crate::pg::composite::Record;
use crate::pg::condition::Condition;
use crate::pg::identity::{self, qualified};
use crate::pg::json::Json;
use crate::pg::output::Canonical;
use crate::pg::row::Row;
use crate::pg::spi::{self, Session, arg, sql};
use crate::pg::table::{Lock, Table};
use crate::pg::trigger::{self as catalog, Firing};
use crate::pg::{foreign, memory, settings, snapshot};
use crate::registry::watch::Watched;
use crate::registry::{managed, trigger, watch};
use domain::envelope::Kind;
use domain::event::{self, MANUAL, Operation, TEST};
use domain::key::WebhookId;
use domain::refusal::Refusal;

/// Where an event meets an obstacle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Settings of the session that writes.
    Session,
    /// What the webhook watches, its trigger and the rights of its owner.
    Capture,
    /// What the row is, or how it changes.
    Row,
    /// The webhook's transform.
    Transform,
}

impl Step {
    /// As users see it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Capture => "capture",
            Self::Row => "row",
            Self::Transform => "transform",
        }
    }
}

/// What becomes of the event there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// There is none.
    None,
    /// The statement that causes it fails.
    Fails,
    /// It is a dead letter.
    Dead,
    /// It is not tried here, because what it calls could have rights by that which it must not have.
    Unknown,
}

impl Fate {
    /// As users see it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "no event",
            Self::Fails => "the statement fails",
            Self::Dead => "dead letter",
            Self::Unknown => "not known",
        }
    }
}

/// Something in the way of an event.
pub(super) struct Obstacle {
    pub(super) step: Step,
    pub(super) fate: Fate,
    pub(super) problem: String,
    /// What to do about it, where nothing else is said of the problem.
    pub(super) hint: String,
}

/// The event that is asked about.
pub(super) struct Question<'a> {
    pub(super) session: &'a Session,
    pub(super) own: &'a managed::Webhook,
    pub(super) recipient: &'a Recipient,
    pub(super) new: Option<String>,
    pub(super) old: Option<String>,
    /// The role that emits it, where it is asked whether the webhook hears that.
    pub(super) emitter: Option<pg_sys::Oid>,
}

/// What would become of it.
#[derive(Default)]
pub(super) struct Prospect {
    /// In the order in which they are met.
    pub(super) obstacles: Vec<Obstacle>,
    /// Where nothing keeps it from being made.
    pub(super) body: Option<(Draft, String)>,
}

impl Prospect {
    fn meets(
        &mut self,
        step: Step,
        fate: Fate,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let (problem, hint) = (problem.into(), hint.into());
        self.obstacles.push(Obstacle { step, fate, problem, hint });
    }
}

/// The rows of a change, as far as there are some.
struct Rows<'r> {
    new: Option<&'r Row<'r>>,
    old: Option<&'r Row<'r>>,
    nulls: &'r Row<'r>,
}

impl<'r> Rows<'r> {
    /// As a condition sees them.
    fn both(&self) -> (&'r Row<'r>, &'r Row<'r>) {
        (self.new.unwrap_or(self.nulls), self.old.unwrap_or(self.nulls))
    }
}

/// The new row and the old one, as JSON.
type Pair = (Option<String>, Option<String>);

/// The rows of an event.
struct Images {
    whole: Pair,
    /// Of the primary key alone.
    keys: Pair,
}

/// Why nothing could be done with the rows of a change.
struct Failure {
    /// What was given makes no rows of the table: nothing has been done with them yet.
    of_rows: bool,
    message: String,
}

/// What has come of writing the rows of a change.
struct Written {
    distinct: bool,
    changes_columns: bool,
    /// Where they are an event.
    images: Option<Images>,
}

impl Question<'_> {
    /// What would become of the event that `op` causes, on `table` where that is said.
    ///
    /// # Errors
    ///
    /// `op` is none, or the webhook watches several tables and none is named.
    pub(super) fn answer(&self, op: &str, table: Option<pg_sys::Oid>) -> Result<Prospect, Refusal> {
        let mut prospect = Prospect::default();
        match op.parse::<Operation>() {
            Ok(operation) => self.change(&mut prospect, operation, table)?,
            Err(_) => self.event(&mut prospect, op)?,
        }
        if op != TEST {
            self.transform_bar(&mut prospect);
        }
        Ok(prospect)
    }

    /// A transform that cannot be called is in the way of each event, also of one that does not come as far.
    fn transform_bar(&self, prospect: &mut Prospect) {
        let is_told = prospect.obstacles.iter().any(|obstacle| obstacle.step == Step::Transform);
        let bar = self.recipient.transform().and_then(Transform::bar);
        if let Some(failure) = bar.filter(|_| !is_told) {
            self.transform_fails(prospect, failure);
        }
    }

    fn transform_fails(&self, prospect: &mut Prospect, failure: &transform::Failure) {
        let fails = self.recipient.transform().is_some_and(Transform::fails_the_statement);
        let (fate, hint) = if fails {
            let hint = "Nothing is left of the statement. Mend the function, or have such events become dead letters with \
                        webhook_update(.., on_transform_error => 'dead').";
            (Fate::Fails, qualified(hint))
        } else {
            let hint = format!(
                "{} FROM webhook.dead_letters WHERE webhook_id = '{}' transforms and sends what has become dead letters.",
                qualified("When it is mended, SELECT webhook_replay(id)"),
                self.recipient.uuid()
            );
            (Fate::Dead, hint)
        };
        prospect.meets(Step::Transform, fate, failure.describe(), hint);
    }

    fn is_enabled(&self, prospect: &mut Prospect) {
        if !self.recipient.enabled {
            let problem = "the webhook is disabled: nothing is captured";
            prospect.meets(Step::Capture, Fate::None, problem, "");
        }
    }

    fn change(
        &self,
        prospect: &mut Prospect,
        operation: Operation,
        table: Option<pg_sys::Oid>,
    ) -> Result<(), Refusal> {
        if !settings::capture() {
            let problem = "pg_webhook.capture is off in this session";
            let hint = "What this session changes is not captured. SET pg_webhook.capture = on; where it was off from the \
                        beginning, a role, a database or the client sets it.";
            prospect.meets(Step::Session, Fate::None, problem, hint);
        }
        self.is_enabled(prospect);
        let Some(watched) = self.watched(prospect, table)? else {
            return Ok(());
        };
        let name = operation.as_str();
        if !watched.spec.events.contains(&operation) {
            let problem = format!("{name} is not among the events of {}", watched.table);
            let hint = qualified(
                "webhook_update(.., table_name => .., events => ..) names the events of a table.",
            );
            prospect.meets(Step::Capture, Fate::None, problem, hint);
            return Ok(());
        }
        let Some(table) = Table::open(watched.relation, Lock::Read) else {
            let problem = format!("table {} has been dropped", watched.table);
            prospect.meets(Step::Capture, Fate::None, problem, "");
            return Ok(());
        };
        let sides = Sides::of(operation, self.new.as_deref(), self.old.as_deref());
        sides.check(self.session, &table, &watched.table, operation)?;
        let Some(made) = self.fires(prospect, &watched, &table, operation) else {
            self.bar(prospect, &watched);
            return Ok(());
        };
        let source = match source(&watched, &table, &made, operation) {
            Ok(source) => source,
            Err(bar) => {
                let on = &watched.table;
                let replaced =
                    || format!("the trigger for {name} on {on} is not the one that was made");
                let is_replaced = bar.is_none();
                prospect.meets(Step::Capture, Fate::None, bar.unwrap_or_else(replaced), "");
                if is_replaced {
                    self.bar(prospect, &watched);
                }
                return Ok(());
            }
        };
        if let Some(refusal) = &self.recipient.unconfirmed {
            prospect.meets(Step::Transform, Fate::Unknown, refusal.to_string(), "");
            return Ok(());
        }
        if let Some(reason) = self.stranger(watched.relation, made.oid) {
            let hint =
                "What would become of the row is not tried with the rights of the webhook's owner.";
            prospect.meets(Step::Row, Fate::Unknown, reason, hint);
            return Ok(());
        }
        let _canonical = Canonical::begin();
        let holds = match self.holds(&table, sides, made.condition.as_ref()) {
            Ok(holds) => holds,
            Err(failure) => {
                let hint = match failure.of_rows {
                    true => {
                        "No statement can write such a row, whoever watches the table: its values do not fit the columns."
                    }
                    false => {
                        "So does each statement that writes such a row: PostgreSQL evaluates the condition first of all, where the \
                         trigger fires."
                    }
                };
                let first = failure.of_rows || made.enabled.is_now();
                let failure = Obstacle {
                    step: Step::Row,
                    fate: Fate::Fails,
                    problem: failure.message,
                    hint: hint.to_owned(),
                };
                let at = if first { 0 } else { prospect.obstacles.len() };
                prospect.obstacles.insert(at, failure);
                return Ok(());
            }
        };
        if !holds {
            let problem = "the condition does not hold";
            let hint = qualified(
                "webhook.webhooks shows it in tables; webhook_update(.., condition => ..) changes it.",
            );
            prospect.meets(Step::Row, Fate::None, problem, hint);
        }
        let written = match self.written(&table, (operation, sides), &source, holds) {
            Ok(written) => written,
            Err(failure) => {
                let hint = "So does each statement that writes such a row, because it cannot be written as JSON.";
                prospect.meets(Step::Row, Fate::Fails, failure.message, hint);
                return Ok(());
            }
        };
        if !written.distinct {
            let problem = "the new row is the same as the old one";
            let hint = "An UPDATE that changes nothing is no event.";
            prospect.meets(Step::Row, Fate::None, problem, hint);
        } else if !written.changes_columns {
            let problem =
                format!("no column of columns changes: {}", watched.spec.columns.join(", "));
            let hint = qualified(
                "webhook_update(.., columns => ..) names the columns of which one must change.",
            );
            prospect.meets(Step::Row, Fate::None, problem, hint);
        }
        if let Some(Images { whole, keys }) = written.images {
            let from = Some((source.schema.as_str(), source.table.as_str()));
            let most = settings::max_payload_bytes();
            let nothing = |row: &Option<String>| row.as_ref().map(|_| "{}".to_owned());
            let empty = (nothing(&keys.0), nothing(&keys.1));
            // As capture shortens it.
            let shapes = [
                (whole, Extent::Whole, most),
                (keys.clone(), Extent::Keys, most),
                (keys, Extent::Bare, most),
                (empty, Extent::Bare, usize::MAX),
            ];
            self.render(prospect, Kind::Row(name), from, shapes);
        }
        Ok(())
    }

    /// What is watched of the table, or of the only one.
    fn watched(
        &self,
        prospect: &mut Prospect,
        table: Option<pg_sys::Oid>,
    ) -> Result<Option<Watched>, Refusal> {
        let mut tables = watch::list(self.session, self.own.id);
        let dropped = tables.iter().find(|watched| watched.dropped).map(|it| it.table.clone());
        tables.retain(|watched| {
            !watched.dropped && table.is_none_or(|table| watched.relation == table)
        });
        match (tables.pop(), tables.len(), dropped) {
            (Some(only), 0, _) if table.is_some() => return Ok(Some(only)),
            (Some(only), 0, _) => return Ok(self.meant(prospect, only)),
            (Some(_), others, _) => {
                return Err(Refusal::WhichTable(self.own.name.clone(), others + 1));
            }
            (None, _, Some(dropped)) if table.is_none() => {
                let problem = format!("table {dropped} has been dropped");
                let hint = qualified("webhook_watch has it watch another one.");
                prospect.meets(Step::Capture, Fate::None, problem, hint);
            }
            (None, ..) => {
                let problem = "the webhook does not watch that table";
                let hint = qualified("webhook_watch has it watch one more.");
                prospect.meets(Step::Capture, Fate::None, problem, hint);
            }
        }
        Ok(None)
    }

    /// What is watched, where no table is named and it is the one that is meant: not where another one has its name by now, which is
    /// then what statements with that name write.
    fn meant(&self, prospect: &mut Prospect, only: Watched) -> Option<Watched> {
        let args = [arg(only.id)];
        let rows = snapshot::with_latest(|| self.session.look_up(sql!("api/name_taken"), &args));
        let Some(row) = rows.first() else { return Some(only) };
        let (was, is): (String, String) = (row.value("old_name"), row.value("new_name"));
        if !row.value::<bool>("likely") {
            notice!(
                "what becomes of a row of {is} is shown, which was called {was} when it was watched"
            );
            return Some(only);
        }
        let problem = format!("table {was} is called {is} now, and another one has its name");
        let hint = "table_name says that the one is meant that is watched.";
        prospect.meets(Step::Capture, Fate::None, problem, hint);
        None
    }

    /// Why nothing of the table would be captured with a trigger, either.
    fn bar(&self, prospect: &mut Prospect, watched: &Watched) {
        let args = [arg(watched.id)];
        let rows = snapshot::with_latest(|| self.session.look_up(sql!("api/bar"), &args));
        if let Some(bar) = rows.first().and_then(|row| row.get::<String>("bar")) {
            prospect.meets(Step::Capture, Fate::None, bar, "");
        }
    }

    /// The trigger that fires for it, or that there is and does not.
    fn fires(
        &self,
        prospect: &mut Prospect,
        watched: &Watched,
        table: &Table,
        operation: Operation,
    ) -> Option<catalog::Trigger> {
        let (name, on) = (operation.as_str(), &watched.table);
        let (trigger_name, argument) =
            (trigger::name_of(watched.id, operation), trigger::text_of(watched.id));
        let triggers = catalog::all_of(table);
        let is_renamed = triggers.iter().any(|found| {
            let [given] = found.arguments.as_slice() else { return false };
            found.form.is_made_for(operation) && given.to_bytes() == argument.as_bytes()
        });
        let Some(made) = triggers.into_iter().find(|found| found.name == trigger_name) else {
            let how = if is_renamed { "has been renamed" } else { "is missing" };
            let problem = format!("the trigger for {name} on {on} {how}");
            prospect.meets(Step::Capture, Fate::None, problem, "");
            return None;
        };
        if made.enabled.is_now() {
            return Some(made);
        }
        let (step, problem) = match made.enabled {
            Firing::DISABLED => {
                (Step::Capture, format!("the trigger for {name} on {on} is disabled"))
            }
            Firing::REPLICA => (
                Step::Session,
                format!(
                    "the trigger for {name} on {on} fires with session_replication_role = replica only"
                ),
            ),
            _ => (
                Step::Session,
                format!(
                    "session_replication_role is replica in this session, and the trigger for {name} on {on} does not fire then"
                ),
            ),
        };
        let hint =
            "SET session_replication_role = origin, or ALTER TABLE .. ENABLE ALWAYS TRIGGER ..";
        prospect.meets(step, Fate::None, problem, hint);
        Some(made)
    }

    /// Does something with the rows of a change, with the rights of the webhook's owner, as the condition is the owner's.
    ///
    /// # Errors
    ///
    /// What an error of it says, or of what makes the rows.
    fn with_rows<R>(
        &self,
        table: &Table,
        sides: Sides<'_>,
        work: impl FnOnce(Rows<'_>) -> R,
    ) -> Result<R, Failure> {
        let (new, old) = sides.rows();
        let of_rows = Cell::new(true);
        let rows = self.session.run(sql!("api/preview"), &[arg(table.oid())]);
        let statement: Option<String> = rows.first().map(|row| row.value("statement"));
        let done = foreign::run_judged(self.recipient.owner, || {
            let made = |given: Option<&str>| {
                let (json, statement) = (given?, statement.as_ref()?);
                Some(self.session.ask(statement, &[arg(json)]))
            };
            let (new, old) = (made(new), made(old));
            let (new, old) = (row(table, new.as_ref()), row(table, old.as_ref()));
            of_rows.set(false);
            work(Rows { new: new.as_ref(), old: old.as_ref(), nulls: &table.nulls() })
        });
        done.map_err(|error| Failure {
            of_rows: of_rows.get(),
            message: error.message().to_owned(),
        })
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    ///
    /// As for [`Self::with_rows`].
    fn holds(
        &self,
        table: &Table,
        sides: Sides<'_>,
        condition: Option<&Condition>,
    ) -> Result<bool, Failure> {
        self.with_rows(table, sides, |rows| {
            let (new, old) = rows.both();
            // SAFETY: both are rows of the table: `row` gives no others, and `nulls` makes one of it.
            condition.is_none_or(|tree| unsafe { tree.holds(table, old, new) })
        })
    }

    /// Compares the rows, and writes them where they are an event.
    ///
    /// # Errors
    ///
    /// As for [`Self::with_rows`].
    fn written(
        &self,
        table: &Table,
        (operation, sides): (Operation, Sides<'_>),
        source: &Source,
        holds: bool,
    ) -> Result<Written, Failure> {
        self.with_rows(table, sides, |rows| {
            let (new, old) = rows.both();
            let is_update = operation == Operation::Update;
            let distinct = !is_update || source.is_distinct(old, new);
            let changes_columns = !is_update || source.changes_columns(old, new);
            // SAFETY: the memory context is that of the SPI connection, which is open here.
            let image = |row: &Row<'_>| unsafe { source.image(row) }.map(memory::owned);
            // SAFETY: as above.
            let key = |row: &Row<'_>| unsafe { source.key_image(row) };
            let is_event = holds && distinct && changes_columns;
            let images = is_event.then(|| Images {
                whole: (rows.new.and_then(image), rows.old.and_then(image)),
                keys: (rows.new.and_then(key), rows.old.and_then(key)),
            });
            Written { distinct, changes_columns, images }
        })
    }

    /// Why the row is not looked at: a type in it, or in the condition, would call what somebody else could have given
    /// the owner's rights to. Functions are judged when they are called, but for those that the session may have put
    /// into the text of a check already, or keeps for a type.
    fn stranger(&self, relation: pg_sys::Oid, trigger: pg_sys::Oid) -> Option<String> {
        let args = [arg(relation), arg(trigger), arg(self.recipient.owner)];
        // What an old snapshot does not show of a type would be called all the same.
        let rows = snapshot::with_latest(|| self.session.look_up(sql!("api/strangers"), &args));
        rows.first().map(|row| {
            let (what, owner): (String, String) = (row.value("what"), row.value("owner"));
            foreign::stranger(&what, &owner)
        })
    }

    fn event(&self, prospect: &mut Prospect, op: &str) -> Result<(), Refusal> {
        let kind = match op {
            TEST => Kind::Test,
            MANUAL => Kind::Row(MANUAL),
            emitted => {
                let rows = self.session.run(sql!("api/event_types"), &[arg(self.own.id)]);
                let patterns: Vec<String> =
                    rows.first().map_or_else(Vec::new, |row| row.value("event_types"));
                let emitted = event::check_type(emitted)?;
                if !patterns.iter().any(|pattern| event::matches(pattern, emitted)) {
                    let problem = format!("{emitted} is not among the events");
                    let hint = qualified(
                        "webhook_update(.., events => ..) names the types that it hears.",
                    );
                    prospect.meets(Step::Capture, Fate::None, problem, hint);
                    return Ok(());
                }
                if let Some(role) = self.emitter.filter(|role| !self.hears(*role)) {
                    let problem = format!(
                        "events that role {} emits do not reach it",
                        identity::name_of(role)
                    );
                    let hint = qualified(
                        "It hears its owner, members of that, and its emitters: webhook_update(.., emitters => ..) names others.",
                    );
                    prospect.meets(Step::Session, Fate::None, problem, hint);
                }
                Kind::Emitted(emitted)
            }
        };
        if !matches!(kind, Kind::Test) {
            self.is_enabled(prospect);
        }
        let most = settings::max_payload_bytes();
        self.render(prospect, kind, None, [((self.new.clone(), None), Extent::Whole, most)]);
        Ok(())
    }

    /// Whether events of that role reach it, as they are told when one is emitted.
    fn hears(&self, role: pg_sys::Oid) -> bool {
        let args = [arg(role)];
        let rows = snapshot::with_latest(|| self.session.look_up(sql!("api/subscribers"), &args));
        rows.iter().any(|row| row.value::<WebhookId>("id") == self.own.id)
    }

    /// The body in the first of these shapes that is not too large, transformed.
    fn render<const N: usize>(
        &self,
        prospect: &mut Prospect,
        kind: Kind<'_>,
        table: Option<(&str, &str)>,
        shapes: [(Pair, Extent, usize); N],
    ) {
        let envelope = self.recipient.envelope(kind, table);
        let draft = self.recipient.sketch(&envelope);
        let fitting = shapes.into_iter().find_map(|((new, old), extent, most)| {
            draft.render(&envelope, new.as_deref(), old.as_deref(), extent, most)
        });
        let Some(body) = fitting else {
            let problem = Refusal::TooLarge(settings::max_payload_bytes()).to_string();
            let hint = "pg_webhook.max_payload_bytes sets the limit.";
            return prospect.meets(Step::Row, Fate::Fails, problem, hint);
        };
        // A test is sent as it is.
        let made = match kind {
            Kind::Test => Ok(Some(Cow::Borrowed(body.as_str()))),
            _ => self.recipient.transformed(&body),
        };
        let made = match made {
            // The body itself: a copy of it might find no memory.
            Ok(Some(Cow::Borrowed(_))) => None,
            Ok(Some(Cow::Owned(made))) => Some(made),
            Ok(None) => {
                let hint = "It has returned NULL for this body, which drops the event.";
                return prospect.meets(Step::Transform, Fate::None, "the transform drops it", hint);
            }
            Err(failure) => return self.transform_fails(prospect, &failure),
        };
        if prospect.obstacles.is_empty() {
            prospect.body = Some((draft, made.unwrap_or(body)));
        }
    }
}

/// What a trigger is for.
///
/// # Errors
///
/// It is for nothing: why, where it was made by pg_webhook.
fn source(
    watched: &Watched,
    table: &Table,
    made: &catalog::Trigger,
    operation: Operation,
) -> Result<Rc<Source>, Option<String>> {
    let own = match made.arguments.as_slice() {
        [argument] => Some(Fired {
            oid: made.oid,
            relation: watched.relation,
            operation,
            name: &made.name,
            argument,
            condition: made.condition.as_ref().map(|tree| tree.text()),
            form: made.form,
        }),
        _ => None,
    };
    own.map_or(Err(None), |own| fired::of(table, &own))
}

/// The one row that was made, if it is of the table.
fn row<'a>(table: &'a Table, made: Option<&'a spi::Rows<'_>>) -> Option<Row<'a>> {
    table.row(made?.first()?.get::<Record<'_>>("made")?)
}

/// The text of a row that was given.
pub(super) fn text(given: Option<Json>) -> Option<String> {
    given.map(|Json(text)| text)
}
