//! `webhook_why`

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::on_behalf;
use super::prospect::{self, Prospect, Question};
use crate::compose::recipient::Recipient;
use crate::pg::identity::{self, Caller};
use crate::pg::json::Json;
use crate::pg::snapshot;
use crate::pg::spi::{self, Session, arg, sql};
use crate::registry::managed;
use domain::event::TEST;
use domain::refusal::Refusal;

/// What is shown where nothing is in the way.
const SENT: [&str; 2] = ["sending", "sent"];

/// Step, verdict, problem, hint.
type Shown = (String, String, Option<String>, Option<String>);

#[pg_extern(sql = false)]
fn webhook_why(
    webhook: Option<&str>,
    op: Option<&str>,
    new_row: Option<Json>,
    old_row: Option<Json>,
    table_name: Option<pg_sys::Oid>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, String),
            name!(verdict, String),
            name!(problem, Option<String>),
            name!(hint, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let (new, old) = (prospect::text(new_row), prospect::text(old_row));
    on_behalf(|caller| {
        let op = op.ok_or(Refusal::Null("op"))?;
        spi::connect(|session| {
            let own = managed::look(session, caller, webhook)?;
            let known = known(session, caller, &own);
            let recipient = Recipient::load(session, own.id);
            let mut shown = match recipient {
                Some(recipient) => {
                    let emitter = Some(caller.role);
                    let question =
                        Question { session, own: &own, recipient: &recipient, new, old, emitter };
                    made(question.answer(op, table_name)?, &known)
                }
                // Its owner is gone, with which everything ends.
                None => known.iter().filter(|it| it.stage != "sending").map(Known::show).collect(),
            };
            let sending = known.iter().filter(|it| it.stage == "sending");
            shown.extend(sending.filter(|it| op != TEST || it.of_test).map(Known::show));
            if shown.is_empty() {
                let hint = identity::qualified("webhook_preview shows the request.");
                shown.push((SENT[0].to_owned(), SENT[1].to_owned(), None, Some(hint)));
            }
            Ok(TableIterator::new(shown))
        })
    })
}

/// What webhook_check says of the webhook.
struct Known {
    stage: String,
    verdict: String,
    problem: String,
    hint: String,
    of_test: bool,
}

impl Known {
    fn show(&self) -> Shown {
        let Self { stage, verdict, problem, hint, .. } = self;
        (stage.clone(), verdict.clone(), Some(problem.clone()), Some(hint.clone()))
    }
}

fn known(session: &Session, caller: &Caller, own: &managed::Webhook) -> Vec<Known> {
    let args = [arg(own.id), arg(caller.role)];
    let rows = snapshot::with_latest(|| session.look_up(sql!("api/why"), &args));
    rows.iter()
        .map(|row| Known {
            stage: row.value("stage"),
            verdict: row.value("verdict"),
            problem: row.value("problem"),
            hint: row.value("hint"),
            of_test: row.value("of_test"),
        })
        .collect()
}

/// What keeps the event from being made. Where webhook_check says the same, it knows better what to do.
fn made(prospect: Prospect, known: &[Known]) -> Vec<Shown> {
    let shown = prospect.obstacles.into_iter().map(|obstacle| {
        let same = known.iter().find(|known| known.problem == obstacle.problem);
        let hint = match same {
            Some(known) => Some(known.hint.clone()),
            None => Some(obstacle.hint).filter(|hint| !hint.is_empty()),
        };
        let (step, verdict) = (obstacle.step.name().to_owned(), obstacle.fate.name().to_owned());
        (step, verdict, Some(obstacle.problem), hint)
    });
    shown.collect()
}
