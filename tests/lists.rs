//! Lists that have to be written in several places, in SQL and in Rust: each is complete wherever it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file")
}

/// The words of `text`.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').collect()
}

/// What comes after `begin` and before `end`.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin}"));
    rest.split_once(end).unwrap_or_else(|| panic!("{end}")).0
}

/// The first word of each line that is indented by four spaces.
fn declared(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let names = lines.filter(|line| line.starts_with(|c: char| c.is_alphabetic()));
    names.filter_map(|line| line.split_whitespace().next()).collect()
}

fn assert_in(names: &[&str], place: &str, text: &str) {
    let there = words(text);
    let missing: Vec<_> = names.iter().filter(|name| !there.contains(**name)).collect();
    assert!(missing.is_empty(), "{place} lacks {missing:?}");
}

/// What is said of one table, which is no setting of the webhook itself.
const OF_A_TABLE: [&str; 5] = ["table_name", "events", "columns", "condition", "payload_columns"];

/// What webhook_create does, which is no setting either.
const OF_THE_CALL: [&str; 1] = ["if_exists"];

/// What is not in a column of its name: in webhook.secret, or as an anchor.
const ELSEWHERE: [&str; 4] = ["secret", "headers", "transform", "emitters"];

#[test]
fn a_setting_of_a_webhook_is_wherever_settings_are() {
    let api = read("sql/api.sql");
    let create = between(&api, "CREATE FUNCTION webhook_create(\n", "\n) ");
    let is_setting = |name: &&str| !OF_A_TABLE.contains(name) && !OF_THE_CALL.contains(name);
    let settings: Vec<&str> = declared(create).into_iter().filter(is_setting).collect();
    assert!(settings.len() > 15 && settings.contains(&"timeout_seconds"));
    let update = between(&api, "CREATE FUNCTION webhook_update(\n", "\n) ");
    assert_in(&settings, "webhook_update", update);
    // They are read by their names; roles by their numbers.
    let read_here: Vec<&str> =
        settings.iter().copied().filter(|name| *name != "emitters").collect();
    assert_in(&read_here, "src/registry/definition.rs", &read("src/registry/definition.rs"));
    // webhook_update takes the same.
    let reference = read("docs/reference.md");
    assert_in(&settings, "docs/reference.md", between(&reference, "| `webhook_create(", ")`"));
    let view = between(&read("sql/views.sql"), "CREATE VIEW webhook.webhooks ", ";\n").to_owned();
    let shown: Vec<&str> = settings.iter().copied().filter(|name| *name != "secret").collect();
    assert_in(&shown, "webhook.webhooks", &view);
    let columns: Vec<&str> =
        settings.iter().copied().filter(|name| !ELSEWHERE.contains(name)).collect();
    let schema = read("sql/schema.sql");
    let table = between(&schema, "CREATE TABLE webhook.webhook (\n", "\n);\n");
    assert_in(&columns, "webhook.webhook", table);
    let update = "sql/query/registry/update.sql";
    assert_in(&columns, update, &read(update));
    // What nobody reads back is not there, and what it is called is said elsewhere.
    let in_documents: Vec<String> = (settings.iter())
        .filter(|name| !["name", "secret", "headers"].contains(name))
        .map(|name| format!("'{name}', "))
        .collect();
    for document in ["documents", "wanted"] {
        let text = read(&format!("sql/query/registry/{document}.sql"));
        let missing: Vec<_> =
            in_documents.iter().filter(|key| !text.contains(key.as_str())).collect();
        assert!(missing.is_empty(), "{document} lacks {missing:?}");
    }
    // What a column has until the settings are written is what a webhook has that nothing else is said of.
    let default = |list: &str, name: &str| {
        let line = list.lines().find(|line| line.trim().starts_with(&format!("{name} ")))?;
        Some(line.split_once(" DEFAULT ")?.1.trim_end_matches(',').to_owned())
    };
    let mut seen = 0;
    for name in columns {
        if let Some(ours) = default(table, name) {
            assert_eq!(Some(ours), default(create, name), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 4);
}

#[test]
fn plain_settings_have_the_parameters_of_their_columns() {
    let definition = read("src/registry/definition.rs");
    let table = between(&definition, "const PLAIN: ", "\n];\n");
    let calls = table.split("needed(").flat_map(|part| part.split("optional(")).skip(1);
    let names: Vec<&str> = calls.filter_map(|call| call.split('"').nth(1)).collect();
    assert!(names.len() > 10 && names.contains(&"timeout_seconds"));
    let update = read("sql/query/registry/update.sql");
    let wanted = read("sql/query/registry/wanted.sql");
    for (number, name) in (8..).zip(names) {
        let written = format!("coalesce(${number}, {name})");
        assert!(update.contains(&written), "{name} is not ${number}");
        let (plain, or_none) =
            (format!("'{name}', ${number}"), format!("'{name}', nullif(${number}, "));
        assert!(wanted.contains(&plain) || wanted.contains(&or_none), "{name} is not ${number}");
    }
}

#[test]
fn what_an_event_is_goes_along_wherever_it_goes() {
    let queue = read("sql/queue.sql");
    let event = between(&queue, "CREATE TABLE webhook.event (\n", "\n) ");
    // Where it is, which another place has in its own way.
    // And whose place in the order it takes, which it has when it gets to the backlog.
    let elsewhere = ["slot", "replaces"];
    let content: Vec<&str> =
        declared(event).into_iter().filter(|name| !elsewhere.contains(name)).collect();
    assert!(content.len() > 8 && content.contains(&"payload"));
    let pending = between(&queue, "CREATE TABLE webhook.pending (\n", "\n) ");
    assert_in(&content, "webhook.pending", pending);
    for statement in ["suspend", "renew", "condemn", "shed", "claim"] {
        let path = format!("sql/query/queue/{statement}.sql");
        let text = read(&path);
        let needed: Vec<&str> = match statement {
            // What is sent.
            "claim" => vec!["id", "xid", "webhook", "event_id", "payload"],
            _ => content.clone(),
        };
        assert_in(&needed, &path, &text);
    }
    // A database that takes it over writes it down under a transaction of the other one.
    let api = read("sql/api.sql");
    let export = between(&api, "CREATE FUNCTION webhook_backlog_export()", "\n    )\n");
    let moved: Vec<&str> = content.iter().copied().filter(|name| *name != "xid").collect();
    assert_in(&moved, "webhook_backlog_export", export);
    assert_in(&content, "sql/query/api/import.sql", &read("sql/query/api/import.sql"));
    assert_in(&moved, "src/api/backlog.rs", &read("src/api/backlog.rs"));
}
