//! What the documents say about the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file")
}

/// The text of all files below `folder` with one of `extensions`.
fn all(folder: &str, extensions: &[&str]) -> String {
    let mut folders: Vec<PathBuf> = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| extensions.iter().any(|known| e == *known)) {
                text += &fs::read_to_string(path).expect("a text file");
            }
        }
    }
    text
}

/// The words of `text` that are in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What follows `prefix` in `text`, as far as it is a name.
fn names<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let name = |rest: &'a str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next();
    text.split(prefix).skip(1).filter_map(name).collect()
}

#[test]
fn the_tests_behind_the_promises_exist() {
    let tests = all("tests", &["py"]);
    let promises =
        read("docs/guarantees.md") + &read("docs/migrations.md") + &read("docs/order.md");
    let named: Vec<&str> = quoted(&promises).filter(|word| word.starts_with("test_")).collect();
    assert!(named.len() > 10);
    for name in named {
        let found = match name.strip_suffix(".py") {
            Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e").join(name).exists(),
            None => tests.contains(&format!("def {name}(")),
        };
        assert!(found, "{name}");
    }
    for path in quoted(&promises).filter(|word| word.starts_with("src/")) {
        assert!(has_unit_tests(path), "{path}");
    }
    let code = all("src", &["rs"]) + &all("tests", &["rs"]);
    let units = unit_tests(&promises);
    assert!(units.len() > 3);
    for name in units {
        assert!(code.contains(&format!("fn {name}(")), "{name}");
    }
}

/// The names in front of each "of `make unit`", as far as its parenthesis goes back.
fn unit_tests(text: &str) -> Vec<&str> {
    let mut pieces: Vec<&str> = text.split(" of `make unit`").collect();
    pieces.pop();
    let lists = pieces.into_iter().map(|piece| piece.rsplit('(').next().unwrap_or_default());
    lists.flat_map(quoted).filter(|name| !name.starts_with("test_")).collect()
}

/// Whether the file of `path` has tests: its own, those of its module `tests`, or, where it is no code, those of a file that
/// includes it.
fn has_unit_tests(path: &str) -> bool {
    let has = |path: &Path| {
        fs::read_to_string(path).is_ok_and(|code| code.lines().any(|line| line.trim() == "#[test]"))
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let Some(module) = path.strip_suffix(".rs") else {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let included = format!("include_str!(\"{name}\")");
        let beside = fs::read_dir(file.parent().expect("a folder")).expect("a folder");
        return file.exists()
            && beside.map(|entry| entry.expect("an entry").path()).any(|path| {
                has(&path) && fs::read_to_string(path).is_ok_and(|code| code.contains(&included))
            });
    };
    has(&file) || has(&Path::new(env!("CARGO_MANIFEST_DIR")).join(module).join("tests.rs"))
}

/// The rows of the tables of `text`, as cells, without their heads.
fn table_rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// Whether `NAME = VALUE` in `FILE`, or `NAME: TYPE = VALUE`, is a constant there.
fn is_as_the_code_has_it(cell: &str) -> bool {
    let (constant, file) = cell.split_once("` in `").expect("a constant and a file");
    let (name, value) = constant.trim_matches('`').split_once(" = ").expect("a value");
    let begins = format!("const {name}{}", if name.contains(": ") { " = " } else { ": " });
    let defined = |line: &str| line.contains(&begins) && line.ends_with(&format!(" = {value};"));
    read(file.trim_matches('`')).lines().any(defined)
}

/// Commands are copied from a terminal's width, and read in one.
#[test]
fn commands_for_operators_fit_a_terminal() {
    for page in ["docs/operations.md", "docs/migrating.md"] {
        let text = read(page);
        let code = text.split("```").skip(1).step_by(2);
        let lines: Vec<&str> = code.flat_map(str::lines).collect();
        assert!(lines.len() > 20, "{page}");
        for line in lines {
            assert!(line.chars().count() <= 80, "{page}: {line}");
        }
    }
}

#[test]
fn every_wait_is_as_the_code_has_it() {
    let waits = read("docs/waiting.md");
    let rows = table_rows(&waits);
    let constants: Vec<&str> =
        rows.iter().map(|row| row[2]).filter(|cell| cell.contains("` in `")).collect();
    assert!(constants.len() > 20);
    for cell in constants {
        assert!(is_as_the_code_has_it(cell), "{cell}");
    }
}

#[test]
fn every_limit_is_as_the_code_has_it() {
    let limits = read("docs/limits.md");
    let rows = table_rows(&limits);
    assert!(rows.len() > 30);
    let tests = all("tests", &["py"]);
    for row in &rows {
        assert_eq!(row.len(), 5, "{row:?}");
        if row[2].contains("` in `") {
            assert!(is_as_the_code_has_it(row[2]), "{}", row[2]);
        }
        for test in quoted(row[4]) {
            let there = match test.starts_with("src/") || test.ends_with(".py") {
                true => ["", "tests/e2e/"].iter().any(|folder| {
                    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(test).exists()
                }),
                false => tests.contains(&format!("def {test}(")),
            };
            assert!(there, "{test}");
        }
        let none = row[4] == "none of its own";
        assert!(none || quoted(row[4]).next().is_some(), "no test: {}", row[0]);
    }
    // Each setting that is a number, with the default that the server shows.
    let shown = read("tests/golden/expected/install.out");
    let mut seen = 0;
    for line in shown.lines().filter(|line| line.starts_with(" pg_webhook.")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells[1].parse::<u64>().is_err() {
            continue;
        }
        let default = format!("`{}`", format!("{} {}", cells[1], cells[2]).trim());
        let named = |row: &&Vec<&str>| row[2].starts_with(&format!("`{}`", cells[0]));
        let row = rows.iter().find(named).unwrap_or_else(|| panic!("{} is missing", cells[0]));
        assert!(row[1].contains(&default), "{}: {default}", cells[0]);
        seen += 1;
    }
    assert!(seen > 5);
}

/// A paragraph that ends with a colon counts with the one after it, its list.
#[test]
fn every_promise_names_its_tests() {
    let promises = read("docs/guarantees.md").replace(":\n\n", ":\n");
    let mut seen = 0;
    for paragraph in promises.split("\n\n").filter(|paragraph| !paragraph.starts_with('#')) {
        let names_one =
            quoted(paragraph).any(|word| word.starts_with("test_") || word.starts_with("src/"));
        assert!(names_one || paragraph.starts_with("Each promise names"), "{paragraph}");
        seen += 1;
    }
    assert!(seen > 30);
}

#[test]
fn every_sqlstate_is_documented() {
    // A programming error, those that are caught or let through, and what a NOTICE has.
    let never_raised = [
        "INTERNAL_ERROR",
        "OBJECT_IN_USE",
        "UNIQUE_VIOLATION",
        "T_R_DEADLOCK_DETECTED",
        "SUCCESSFUL_COMPLETION",
        "QUERY_CANCELED",
        "T_R_SERIALIZATION_FAILURE",
        "DEPENDENT_OBJECTS_STILL_EXIST",
    ];
    let documented = read("docs/errors.md");
    let code = all("src", &["rs"]);
    let raised = names(&code, "ERRCODE_");
    assert!(raised.len() > 10);
    for name in raised.iter().filter(|name| !never_raised.contains(name)) {
        let name = name.trim_start_matches("E_R_I_E_").to_lowercase();
        assert!(documented.contains(&format!("| {name} |")), "{name}");
    }
}

#[test]
fn every_setting_is_documented() {
    let reference = read("docs/reference.md");
    let settings = read("src/pg/settings.rs");
    let defined = names(&settings, "c\"pg_webhook.");
    assert!(defined.len() > 5);
    for name in defined {
        assert!(reference.contains(&format!("| `pg_webhook.{name}` |")), "{name}");
    }
}

#[test]
fn every_function_and_view_is_in_the_reference() {
    let reference = read("docs/reference.md");
    let functions = read("sql/api.sql");
    for name in names(&functions, "CREATE FUNCTION webhook_") {
        assert!(reference.contains(&format!("`webhook_{name}(")), "webhook_{name}");
    }
    let views = read("sql/views.sql");
    for name in names(&views, "CREATE VIEW webhook.") {
        assert!(reference.contains(&format!("| `webhook.{name}` |")), "webhook.{name}");
    }
}

#[test]
fn every_function_has_a_comment_with_an_example() {
    let functions = read("sql/api.sql");
    let mut pieces = functions.split("CREATE FUNCTION webhook_");
    pieces.next();
    let mut seen = 0;
    for piece in pieces {
        let name = piece.split('(').next().unwrap_or_default();
        let comment = piece.split("COMMENT ON FUNCTION").nth(1).unwrap_or_default();
        assert!(comment.contains("\nExample: SELECT "), "webhook_{name}");
        seen += 1;
    }
    assert!(seen > 15);
}

/// The majors that Cargo.toml has a feature for.
fn majors() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let feature = |line: &str| {
        let (name, value) = line.split_once(" = ")?;
        let major = name.strip_prefix("pg")?.parse::<u8>().ok()?.to_string();
        (value == format!("[\"pgrx/pg{major}\"]")).then_some(major)
    };
    let majors: Vec<String> = manifest.lines().filter_map(feature).collect();
    assert!(majors.len() > 1);
    majors
}

/// The rows of `text` that begin with a number, as cells.
fn numbered_rows<'a>(text: &'a str, separator: &str) -> Vec<Vec<&'a str>> {
    let cells = |line: &'a str| -> Vec<&'a str> {
        line.split(separator).map(str::trim).filter(|cell| !cell.is_empty()).collect()
    };
    let numbered = |cells: &Vec<&str>| cells.first().is_some_and(|cell| cell.parse::<u8>().is_ok());
    text.lines().map(cells).filter(numbered).collect()
}

#[test]
fn the_same_majors_everywhere() {
    let majors = majors();
    let (first, last) = (&majors[0], &majors[majors.len() - 1]);

    let versions = read("tests/server/versions");
    let fetched = numbered_rows(&versions, " ");
    assert_eq!(
        fetched.iter().map(|row| row[0]).collect::<Vec<_>>(),
        majors,
        "tests/server/versions"
    );

    let readme = read("README.md");
    let table = numbered_rows(&readme, "|");
    assert_eq!(table.iter().map(|row| row[0]).collect::<Vec<_>>(), majors, "README");
    for (row, fetched) in table.iter().zip(&fetched) {
        let version = fetched[1].trim_end_matches(".0");
        assert!(row[1].split([',', ' ']).any(|word| word == version), "README: {version}");
    }

    let range = format!("PostgreSQL {first} to {last}");
    assert!(read("docs/guarantees.md").contains(&range), "docs/guarantees.md");
    assert!(read("Cargo.toml").contains(&format!("default = [\"pg{first}\"]")), "Cargo.toml");

    // The Makefile takes them from Cargo.toml, and CI from the Makefile.
    let makefile = read("Makefile");
    assert!(makefile.contains("MAJORS := $(shell sed -n 's/^pg"), "Makefile");
    let words = makefile.split(|c: char| !c.is_alphanumeric() && c != '.');
    let named: Vec<&str> = words
        .filter(|word| majors.iter().any(|major| word.strip_prefix("pg").unwrap_or(word) == major))
        .collect();
    assert!(named.is_empty(), "Makefile: {named:?}");
    assert!(read(".ci/run").contains("make test-ci"), ".ci/run");

    // One file knows what differs between them.
    let source = all("src", &["rs"]);
    let compat = read("src/pg/compat.rs");
    let conditions = |text: &str| text.matches("feature = \"pg").count();
    assert_eq!(conditions(&source), conditions(&compat), "conditions outside of src/pg/compat.rs");
    // A condition that names it would not hold for the next one.
    assert!(!compat.contains(&format!("feature = \"pg{last}\"")), "src/pg/compat.rs: {last}");
}

#[test]
fn one_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("src/lib.rs").contains(&format!("version = c\"{version}\"")), "module magic");
    assert!(read("README.md").contains(&format!("pg_webhook/{version}")), "README");
}

/// `make NAME`, in a line of text or of commands.
#[test]
fn every_make_that_is_named_is_there() {
    let makefile = read("Makefile");
    let documents = read("README.md") + &read("CONTRIBUTING.md") + &all("docs", &["md"]);
    let mut seen = 0;
    for rest in documents.split("`make ").skip(1).chain(documents.split("\nmake ").skip(1)) {
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
        let assigns = rest[name.len()..].starts_with('=');
        assert!(assigns || makefile.contains(&format!("\n{name}: ")), "make {name}");
        seen += 1;
    }
    assert!(seen > 20);
}

#[test]
fn the_same_tools_everywhere() {
    let (cargo, makefile) = (read("Cargo.toml"), read("Makefile"));
    let after = |text: &str, key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)).expect("a line with it");
        found.trim_matches(|c: char| !c.is_ascii_digit()).to_owned()
    };
    let pgrx = after(&makefile, "PGRX := ");
    assert!(cargo.contains(&format!("pgrx = \"={pgrx}\"")), "Cargo.toml: pgrx {pgrx}");
    let oldest = after(&cargo, "rust-version = ");
    assert!(read("README.md").contains(&format!("{oldest} or later")), "README: Rust {oldest}");
}

/// The texts in the SQL of `text`, pieces that follow each other put together, without comments.
fn literals(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut rest, mut adjacent) = (text, false);
    while let Some(at) = rest.find(['\'', '-', ';', ',', '(', ')']) {
        let letter = &rest[at..=at];
        // Nothing but white space between two texts makes one of them.
        adjacent &= rest[..at].trim().is_empty();
        rest = &rest[at..];
        if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
            continue;
        }
        rest = &rest[1..];
        if letter != "'" {
            adjacent = false;
            continue;
        }
        let mut literal = String::new();
        loop {
            let (piece, after) = rest.split_once('\'').expect("the end of a text");
            literal += piece;
            rest = after;
            let Some(after) = rest.strip_prefix('\'') else { break };
            literal.push('\'');
            rest = after;
        }
        match found.last_mut().filter(|_| adjacent) {
            Some(last) => *last += &literal,
            None => found.push(literal),
        }
        adjacent = true;
    }
    found
}

/// A text for `format`, with two dots for what it is given.
fn dotted(text: &str) -> String {
    let mut dotted = String::new();
    let mut pieces = text.split('%');
    dotted += pieces.next().unwrap_or_default();
    for piece in pieces {
        let piece = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == '$');
        dotted += "..";
        dotted += piece.strip_prefix(['s', 'I', 'L']).unwrap_or(piece);
    }
    // A table with its schema.
    while dotted.contains(".....") {
        dotted = dotted.replace(".....", "..");
    }
    dotted.replace("..(..)", "..")
}

/// What `webhook_check` can say begins with a small letter, as the messages of PostgreSQL do, and its hints do not.
#[test]
fn every_problem_has_its_place_in_troubleshooting() {
    let page = read("docs/troubleshooting.md");
    let sql =
        ["check", "health", "status", "replication"].map(|file| read(&format!("sql/{file}.sql")));
    let is_problem = |text: &String| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.split_whitespace().count() > 2
            && !text.starts_with("private: ")
            // to compare with
            && !text.ends_with('%')
    };
    let texts = sql.iter().flat_map(|sql| literals(sql)).filter(is_problem);
    let said: BTreeSet<String> = texts.map(|text| dotted(&text)).collect();
    let sections = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let explained: BTreeSet<String> = sections.map(str::to_owned).collect();
    assert!(said.len() > 50, "{said:?}");
    let missing: Vec<_> = said.difference(&explained).collect();
    assert!(missing.is_empty(), "without a section: {missing:?}");
    let stale: Vec<_> = explained.difference(&said).collect();
    assert!(stale.is_empty(), "said by nobody: {stale:?}");
}

/// What `webhook_why` says of sessions and rows is in its table there.
#[test]
fn what_webhook_why_says_alone_is_in_troubleshooting() {
    let page = read("docs/troubleshooting.md");
    let code = read("src/api/prospect.rs");
    for text in [
        "pg_webhook.capture is off in this session",
        "session_replication_role is replica in this session, and the trigger for {} on {} does not fire then",
        "the condition does not hold",
        "the new row is the same as the old one",
        "no column of columns changes: {}",
        "events that role {} emits do not reach it",
        "the webhook does not watch that table",
        "the transform drops it",
    ] {
        let shown = text.replace("{}", "..");
        assert!(page.contains(&format!("`{shown}`")), "docs/troubleshooting.md: {shown}");
        let begins = text.split("{}").next().unwrap_or_default();
        assert!(code.contains(begins), "src/api/prospect.rs: {begins}");
    }
}
