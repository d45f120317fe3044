//! The rules that the compiler does not know: who may use whom, and where dangerous things may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room may use rooms of lower rank only.
const RANKS: [(&str, u8); 12] = [
    ("domain", 0),
    ("transit", 1),
    ("pg", 1),
    ("delivery", 2),
    ("host", 2),
    ("registry", 3),
    ("queue", 4),
    ("compose", 5),
    ("log", 5),
    ("capture", 6),
    ("worker", 7),
    ("api", 8),
];

/// Rooms that know no PostgreSQL, each a package, and what such a one may use besides the standard library and rooms of lower
/// rank: Cargo sees to it that it uses nothing else.
const PURE: [(&str, &[&str]); 3] = [
    (
        "domain",
        &["base64", "hex", "hmac", "http", "httpdate", "ipnet", "serde_json", "sha2", "thiserror"],
    ),
    ("transit", &[]),
    (
        "delivery",
        &[
            "corosensei",
            "crossbeam-channel",
            "libc",
            "nix",
            "rustls",
            "rustls-native-certs",
            "socket2",
            "thiserror",
            "ureq",
        ],
    ),
];

/// Files outside `pg` with `unsafe` code: what PostgreSQL calls, the rows that it passes, and what it has in memory of the
/// statements and processes that concern us.
const UNSAFE: [&str; 26] = [
    "api/emit.rs",
    "api/prospect.rs",
    "capture/fired.rs",
    "capture/mod.rs",
    "capture/record.rs",
    "capture/source.rs",
    "compose/casts.rs",
    "compose/image.rs",
    "compose/order.rs",
    "compose/transform.rs",
    "delivery/write_batch.rs",
    "delivery/fiber.rs",
    "host/adoption.rs",
    "host/anchor.rs",
    "host/board.rs",
    "host/hold.rs",
    "host/ids.rs",
    "host/lock.rs",
    "host/quit.rs",
    "host/subscription.rs",
    "host/txn.rs",
    "host/utility.rs",
    "host/wake.rs",
    "lib.rs",
    "worker/definitions.rs",
    "worker/mod.rs",
];

struct File {
    /// Below `src`.
    path: String,
    /// Without comments.
    code: String,
}

impl File {
    fn room(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }

    /// The rooms that it names; in a room that is a package, of which Cargo knows that, none.
    fn uses(&self) -> BTreeSet<&'static str> {
        let named = |room: &str| match (is_pure(self.room()), is_pure(room)) {
            (true, _) => false,
            (false, true) => self.imports(room),
            (false, false) => self.mentions(&format!("crate::{room}")),
        };
        RANKS.iter().map(|(room, _)| *room).filter(|room| named(room)).collect()
    }

    /// Whether it names a package, where that is not a module of its own room.
    fn imports(&self, package: &str) -> bool {
        self.code.match_indices(&format!("{package}::")).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
    }

    /// Whether it names the module of another file of its room, from beside it.
    fn names(&self, path: &str) -> bool {
        let [room, file] = path.trim_end_matches(".rs").split('/').collect::<Vec<_>>()[..] else {
            return false;
        };
        let is_head = self.path.ends_with("/mod.rs") || self.path.ends_with("/lib.rs");
        let beside = self.path.matches('/').count() == 1 && !is_head;
        let whole = if is_pure(room) { "crate::".to_owned() } else { format!("crate::{room}::") };
        let above = "super::";
        let listed = |from: &str| {
            self.code.split(&format!("use {from}{{")).skip(1).any(|list| {
                let code = list.split(';').next().unwrap_or_default().to_owned();
                Self { path: String::new(), code }.mentions(file)
            })
        };
        let named = |from: &str| self.mentions(&format!("{from}{file}")) || listed(from);
        beside && !["mod", "lib"].contains(&file) && (named(above) || named(&whole))
    }

    /// Whether `word` is there as a whole word.
    fn mentions(&self, word: &str) -> bool {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        self.code.match_indices(word).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(part) && !after.is_some_and(part)
        })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn files(folder: &str, extension: &str) -> Vec<File> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let top = root().join(folder);
    let mut paths = Vec::new();
    walk(&top, &mut paths);
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    let read = |path: &PathBuf| File {
        path: path.strip_prefix(&top).expect("below it").display().to_string(),
        code: without_comments(&fs::read_to_string(path).expect("a text file")),
    };
    let files: Vec<File> = paths.iter().map(read).collect();
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with("--")
    };
    text.lines().filter(|line| code(line)).collect::<Vec<_>>().join("\n")
}

fn is_pure(room: &str) -> bool {
    PURE.iter().any(|(name, _)| *name == room)
}

fn rank(room: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == room).map(|(_, rank)| *rank)
}

fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn every_room_has_a_rank() {
    let rooms: BTreeSet<String> =
        files("src", "rs").iter().map(|file| file.room().to_owned()).collect();
    let ranked: BTreeSet<String> = RANKS.iter().map(|(room, _)| (*room).to_owned()).collect();
    let expected: BTreeSet<String> = ranked.into_iter().chain(["lib".to_owned()]).collect();
    assert_eq!(rooms, expected);
}

#[test]
fn the_page_on_the_architecture_knows_the_house() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("a page");
    let rows = page.lines().filter(|line| line.starts_with("| ")).filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Some((cells.get(2)?.trim_matches('`').to_owned(), cells.get(1)?.parse::<u8>().ok()?))
    });
    let ranks = RANKS.iter().map(|(room, rank)| ((*room).to_owned(), *rank));
    assert_eq!(rows.collect::<BTreeSet<_>>(), ranks.collect::<BTreeSet<_>>());
    let mut seen = 0;
    for path in page.split('`').skip(1).step_by(2) {
        if path.contains('/') && path.ends_with(".rs") {
            let there = ["", "src"].iter().any(|folder| root().join(folder).join(path).exists());
            assert!(there, "{path}");
            seen += 1;
        }
    }
    assert!(seen > 30);
}

#[test]
fn imports_name_one_room_each() {
    let lists = |file: &File| !is_pure(file.room()) && file.code.contains("crate::{");
    let found = files("src", "rs").into_iter().filter(lists).map(|file| file.path);
    assert_none(found.collect(), "use crate::{..} hides which rooms a file uses");
}

#[test]
fn dependencies_run_one_way() {
    let mut found = Vec::new();
    for file in files("src", "rs") {
        let Some(own) = rank(file.room()) else { continue };
        for used in file.uses() {
            if used != file.room() && rank(used) >= Some(own) {
                found.push(format!("{} uses {used}", file.path));
            }
        }
    }
    assert_none(found, "a room uses one that is not below it");
}

#[test]
fn what_is_named_like_a_question_changes_nothing() {
    // A trait of ureq asks so.
    let asked = ["delivery/tls.rs", "delivery/transport.rs"];
    let questions = ["is_", "has_", "may_", "needs_", "wants_", "can_", "does_"];
    let mut found = Vec::new();
    for file in files("src", "rs").iter().filter(|file| !asked.contains(&file.path.as_str())) {
        for rest in file.code.split("fn ").skip(1) {
            let changes = rest
                .split_once('(')
                .is_some_and(|(_, arguments)| arguments.trim_start().starts_with("&mut self"));
            if changes && questions.iter().any(|question| rest.starts_with(question)) {
                let name = rest.split('(').next().unwrap_or_default();
                found.push(format!("{}: {name}", file.path));
            }
        }
    }
    assert_none(found, "a question with &mut self");
}

#[test]
fn files_of_a_room_use_each_other_one_way() {
    let files = files("src", "rs");
    let used_by = |file: &File| -> BTreeSet<String> {
        let beside = files.iter().filter(|other| other.room() == file.room());
        let is_used = |other: &&File| other.path != file.path && file.names(&other.path);
        beside.filter(is_used).map(|other| other.path.clone()).collect()
    };
    let uses: BTreeMap<String, BTreeSet<String>> =
        files.iter().map(|file| (file.path.clone(), used_by(file))).collect();
    let mut found = Vec::new();
    for path in uses.keys() {
        let mut reached = BTreeSet::new();
        let mut next = vec![path];
        while let Some(at) = next.pop() {
            next.extend(uses[at].iter().filter(|used| reached.insert((*used).clone())));
        }
        if reached.contains(path) {
            found.push(path.clone());
        }
    }
    assert_none(found, "files that need each other");
}

#[test]
fn packages_need_what_they_may() {
    for (room, libraries) in PURE {
        let path = format!("src/{room}/Cargo.toml");
        let manifest = fs::read_to_string(root().join(&path)).expect("a manifest");
        let (_, rest) = manifest.split_once("[dependencies]\n").expect("dependencies");
        let needed = rest.lines().take_while(|line| !line.is_empty());
        for name in needed.map(|line| line.strip_suffix(".workspace = true").unwrap_or(line)) {
            let is_below = rank(name).is_some_and(|other| Some(other) < rank(room));
            assert!(libraries.contains(&name) || is_pure(name) && is_below, "{path}: {name}");
        }
    }
}

#[test]
fn safe_rooms_are_safe() {
    for room in ["domain", "transit"] {
        let head = fs::read_to_string(root().join("src").join(room).join("lib.rs"));
        assert!(head.expect("a head").contains("\n#![forbid(unsafe_code)]\n"), "{room}");
    }
}

#[test]
fn rules_are_functions_of_their_arguments() {
    let clocks =
        ["Instant::now", "SystemTime::now", "std::thread", "std::fs", "TcpStream", "UdpSocket"];
    let mut found = Vec::new();
    let rooms = [files("src/domain", "rs"), files("src/transit", "rs")];
    let is_tests = |file: &File| file.path.ends_with("tests.rs") || file.path.contains("/tests/");
    for file in rooms.into_iter().flatten().filter(|file| !is_tests(file)) {
        let rules = file.code.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        let rules = File { path: file.path, code: rules };
        for word in clocks.iter().filter(|word| rules.mentions(word)) {
            found.push(format!("{}: {word}", rules.path));
        }
    }
    assert_none(found, "no clock, thread, file or socket in domain and transit");
}

#[test]
fn only_delivery_speaks_http() {
    let found = files("src", "rs")
        .into_iter()
        .filter(|file| file.mentions("ureq") && file.room() != "delivery")
        .map(|file| file.path);
    assert_none(found.collect(), "ureq outside delivery");
}

#[test]
fn there_is_one_client() {
    let made = |file: &File| file.mentions("Agent::with_parts") || file.mentions("Agent::new");
    let files = files("src", "rs");
    let found: Vec<&str> =
        files.iter().filter(|file| made(file)).map(|file| file.path.as_str()).collect();
    assert_eq!(found, ["delivery/client.rs"], "each request goes through the address policy");
}

#[test]
fn unsafe_code_is_in_few_files() {
    let found: BTreeSet<String> = files("src", "rs")
        .into_iter()
        .filter(|file| file.room() != "pg" && file.mentions("unsafe"))
        .map(|file| file.path)
        .collect();
    assert_eq!(found, UNSAFE.map(str::to_owned).into_iter().collect());
}

#[test]
fn statements_are_in_files() {
    let mut found = Vec::new();
    // It parses a user's expression, which is not run.
    for file in files("src", "rs").iter().filter(|file| file.path != "pg/parse.rs") {
        for verb in ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE ", "\"WITH ", "\"CREATE "] {
            if file.code.contains(verb) {
                found.push(format!("{}: {verb}", file.path));
            }
        }
    }
    assert_none(found, "SQL belongs into sql/query");
}

#[test]
fn each_statement_is_in_the_folder_of_the_room_that_runs_it() {
    let mut found = Vec::new();
    for file in files("src", "rs") {
        for rest in file.code.split("sql!(\"").skip(1) {
            let folder = rest.split('/').next().unwrap_or_default();
            if folder != file.room() {
                found.push(format!("{} runs {}", file.path, rest.split('"').next().unwrap_or("")));
            }
        }
    }
    assert_none(found, "sql/query");
}

#[test]
fn every_statement_is_used() {
    let code: String = files("src", "rs").into_iter().map(|file| file.code).collect();
    let mut found = Vec::new();
    for file in files("sql/query", "sql") {
        let name = file.path.trim_end_matches(".sql");
        if !code.contains(&format!("sql!(\"{name}\")")) {
            found.push(format!("{name} is not used"));
        }
    }
    assert_none(found, "sql/query");
}

#[test]
fn no_statement_shows_a_body_to_logical_decoding() {
    // Deleting shows a row's key.
    let tables = ["event", "attempt", "pending", "secret"];
    let mut found = Vec::new();
    for file in files("sql/query", "sql") {
        for verb in ["INSERT INTO", "UPDATE", "MERGE INTO", "TRUNCATE"] {
            for table in tables {
                if file.mentions(&format!("{verb} webhook.{table}")) {
                    found.push(format!("{}: {verb} {table}", file.path));
                }
            }
        }
    }
    assert_none(found, "webhook.put and pg::table write what statements must not");
}

#[test]
fn the_ring_has_as_many_slots_as_the_code_knows() {
    let code = fs::read_to_string(root().join("src/log/retention.rs")).expect("a file");
    let (_, rest) = code.split_once("pub const SLOTS: i16 = ").expect("a constant");
    let slots: usize = rest.split(';').next().and_then(|text| text.parse().ok()).expect("a number");
    let queue = fs::read_to_string(root().join("sql/queue.sql")).expect("a file");
    for table in ["event", "attempt"] {
        assert_eq!(queue.matches(&format!("CREATE TABLE webhook.{table}_")).count(), slots);
    }
}

#[test]
fn every_update_begins_and_ends_as_it_has_to() {
    let part = |name| fs::read_to_string(root().join("sql").join(name)).expect("a file");
    let (begins, closes, ends) =
        (part("before_update.sql"), part("close.sql"), part("after_update.sql"));
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("sql")).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        if name.starts_with("pg_webhook--") {
            let script = fs::read_to_string(root().join("sql").join(&name)).expect("a script");
            let fits = script.starts_with(&begins) && script.ends_with(&ends);
            if !fits || !script.contains(&closes) {
                found.push(name);
            }
        }
    }
    assert_none(found, "sql/before_update.sql first, close.sql, sql/after_update.sql last");
}

#[test]
fn every_sql_function_pins_its_path() {
    // Those that read a condition by the caller's path, and the trigger, pin it themselves.
    let themselves =
        ["webhook_apply", "webhook_create", "webhook_update", "webhook_watch", "webhook.capture"];
    let mut found = Vec::new();
    for file in files("sql", "sql").iter().filter(|file| !file.path.starts_with("query/")) {
        for statement in file.code.split("CREATE FUNCTION").skip(1) {
            let declaration = statement.split(';').next().unwrap_or_default();
            let name = declaration.trim_start().split('(').next().unwrap_or_default();
            let pinned = declaration.contains("SET search_path = pg_catalog, pg_temp");
            if pinned == themselves.contains(&name) {
                found.push(format!("{}: {name}", file.path));
            }
        }
    }
    assert_none(found, "search_path");
}

/// What a line has between marks of this kind, each with what is before it in the line.
fn quoted(line: &str, mark: char) -> Vec<(&str, &str)> {
    let marks: Vec<usize> = line.match_indices(mark).map(|(at, _)| at).collect();
    marks.chunks_exact(2).map(|pair| (&line[..pair[0]], &line[pair[0] + 1..pair[1]])).collect()
}

/// Whether it names one of these functions without a schema. What is nothing but a name is no message.
fn names_without_schema(message: &str, functions: &BTreeSet<String>) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let names = message.match_indices("webhook_").any(|(at, _)| {
        let name: String = message[at..].chars().take_while(|c| part(*c)).collect();
        let before = message[..at].chars().next_back();
        functions.contains(&name) && !before.is_some_and(|c| part(c) || c == '.')
    });
    names && !functions.contains(message)
}

#[test]
fn messages_name_functions_with_their_schema() {
    let scripts = files("sql", "sql");
    let functions: BTreeSet<String> = scripts
        .iter()
        .flat_map(|file| file.code.split("CREATE FUNCTION ").skip(1))
        .filter_map(|rest| rest.split('(').next())
        .filter(|name| name.starts_with("webhook_"))
        .map(str::to_owned)
        .collect();
    assert!(functions.contains("webhook_arm") && functions.contains("webhook_check"));
    let mut found = Vec::new();
    for file in &scripts {
        // What documents an object is no message.
        let mut parts = file.code.split("COMMENT ON ");
        let first = parts.next().unwrap_or_default();
        let others = parts.filter_map(|part| part.split_once(";\n").map(|(_, code)| code));
        for line in std::iter::once(first).chain(others).flat_map(str::lines) {
            for (_, message) in quoted(line, '\'') {
                if names_without_schema(message, &functions) {
                    found.push(format!("{}: {message}", file.path));
                }
            }
        }
    }
    for file in files("src", "rs").iter().filter(|file| file.path != "domain/names.rs") {
        // All of its hints go by one line.
        let qualifies = file.path == "pg/report.rs"
            && file.code.contains("    Some(identity::qualified(text))\n");
        for line in file.code.lines().filter(|_| !qualifies) {
            for (before, message) in quoted(line, '"') {
                let before = if before.trim().is_empty() {
                    file.code.split(line).next().unwrap_or_default()
                } else {
                    before
                };
                let qualified = before.trim_end().ends_with("qualified(");
                if !qualified && names_without_schema(message, &functions) {
                    found.push(format!("{}: {message}", file.path));
                }
            }
        }
    }
    assert_none(found, "identity::qualified and webhook.function_schema");
}
