#!/usr/bin/env python3
"""Makes a next version of this tree, which nobody releases: next.py FOLDER

The folder gets what it is built of, and the script of the update to it, `sql/pg_webhook--OLD--NEW.sql`. In that version the ring and the
attempts have a column more, a function has another argument, one is gone, and a view has changed. What such a version has to do is in
docs/RELEASING.md; this does it. Files that are there already and need no change keep their times, so that nothing is compiled again
for them.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ["Cargo.toml", "Cargo.lock", "pg_webhook.control", ".cargo/config.toml", "src", "sql"]


def version():
    """Of the tree."""
    return re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def following(number):
    """The version after it."""
    major, minor, _ = number.split(".")
    return f"{major}.{int(minor) + 1}.0"


OLD = version()
NEW = following(OLD)


def paths(root):
    """The files of the parts, below `root`."""
    for part in PARTS:
        place = root / part
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                yield path.relative_to(root)


def put(text, path, before, after):
    """`text` with `after` in the place of `before`, which is there once."""
    if text.count(before) != 1:
        raise SystemExit(f"tests/updates/next.py: {path} has {text.count(before)} times what is to become something else:\n{before}")
    return text.replace(before, after)


def between(text, path, first, beyond):
    """What `text` has from `first` to `beyond`, without that."""
    begin = text.find(first)
    end = text.find(beyond, begin)
    if begin < 0 or end < 0:
        raise SystemExit(f"tests/updates/next.py: {path} does not have {first!r} before {beyond!r}")
    return text[begin:end]


# --- what the version is called ---

VERSION = {
    "Cargo.toml": [
        (f'version = "{OLD}"\n', f'version = "{NEW}"\n'),
        # In the target folder of the tree what is linked is called by this name alone: cargo would take one for the other.
        ('[lib]\n', '[lib]\nname = "pg_webhook_next"\n'),
    ],
    "src/lib.rs": [(f'version = c"{OLD}"', f'version = c"{NEW}"')],
    # The library works with the tables and functions of the one before.
    "src/domain/version.rs": [("const KNOWN: &[&str] = &[", f'const KNOWN: &[&str] = &["{OLD}", ')],
}

# --- a column more in the ring and in the attempts ---

READ = "       e.failure,\n"
# A name is that of the nearest thing that has it: where the table lacks the column, it is what stands for that.
READ_LATER = "       e.failure,\n       (SELECT note FROM (SELECT e.*) AS own) AS note,\n"
FROM = "FROM webhook.event AS e\n"
FROM_LATER = "FROM webhook.event AS e\nCROSS JOIN (SELECT NULL::text AS note) AS absent\n"

COLUMNS = {
    "sql/queue.sql": [
        ("    replaces    bigint\n) PARTITION", "    replaces    bigint,\n    note        text\n) PARTITION"),
        ("    batch         bigint\n) PARTITION", "    batch         bigint,\n    note          text\n) PARTITION"),
    ],
    "sql/query/queue/range.sql": [(READ, READ_LATER), (FROM, FROM_LATER)],
    "sql/query/queue/transaction.sql": [(READ, READ_LATER), (FROM, FROM_LATER)],
    "src/queue/ring.rs": [
        (
            '            Field::needed(column!(c"failure"), arg(event.failure)),\n',
            '            Field::needed(column!(c"failure"), arg(event.failure)),\n'
            '            Field::extra(column!(c"note"), arg("captured later")),\n',
        ),
        (
            "    let (id, xid): (DeliveryId, Xid8) = (row.value(\"id\"), row.value(\"xid\"));\n",
            "    let (id, xid): (DeliveryId, Xid8) = (row.value(\"id\"), row.value(\"xid\"));\n"
            "    let note: Option<String> = row.get(\"note\");\n"
            "    crate::pg::debug::debug!(\"reads an event of which is noted: {note:?}\");\n",
        ),
    ],
    "src/log/attempt.rs": [
        ("heap::Columns<14>", "heap::Columns<15>"),
        (
            '        Field::extra(column!(c"batch"), arg(attempt.batch)),\n',
            '        Field::extra(column!(c"batch"), arg(attempt.batch)),\n        Field::extra(column!(c"note"), arg("sent later")),\n',
        ),
    ],
}

# --- a view that has changed ---

VIEW = {
    "sql/views.sql": [
        (
            "(w.with_contents OR a.attempt > 0) THEN a.error END AS error\nFROM webhook.logged AS a",
            "(w.with_contents OR a.attempt > 0) THEN a.error END AS error,\n    a.note\nFROM webhook.logged AS a",
        ),
    ],
    "sql/columns.sql": [("-- What users read", "COMMENT ON COLUMN webhook.attempts.note IS 'by which version';\n\n-- What users read")],
}

# --- a function that has changed, and one that is gone ---

SIGN = ("CREATE FUNCTION webhook_sign(", "CREATE FUNCTION webhook_verify(\n")
PAUSE = ("CREATE FUNCTION webhook_pause(", "CREATE FUNCTION webhook_resume(")
LOGGED = "CREATE VIEW webhook.logged", "-- Deliveries are of four kinds"
UNLISTED = "CREATE VIEW webhook.unlisted", "COMMENT ON VIEW webhook.unlisted"
UNSETTLED = "CREATE VIEW webhook.unsettled", "COMMENT ON VIEW webhook.unsettled"
ATTEMPTS = "CREATE VIEW webhook.attempts", "CREATE VIEW webhook.webhooks "

FUNCTIONS = {
    "sql/api.sql": [
        ("CREATE FUNCTION webhook_pause(webhook text) RETURNS void", "CREATE FUNCTION webhook_pause(webhook text, reason text DEFAULT NULL) RETURNS void"),
        ("$$stops sending. Events", "$$stops sending; the server's log has the reason. Events"),
    ],
    "src/api/manage.rs": [
        (
            "fn webhook_pause(webhook: Option<&str>) -> Result<(), ErrorReport> {\n    set_paused(webhook, true)\n",
            "fn webhook_pause(given: crate::pg::arguments::Arguments<'_>) -> Result<(), ErrorReport> {\n"
            "    set_paused(given.get(\"webhook\"), true)?;\n"
            "    if let Some(reason) = given.get::<&str>(\"reason\") {\n"
            "        log!(\"pg_webhook: paused because {reason}\");\n"
            "    }\n    Ok(())\n",
        ),
    ],
}

#: The place of a function that is gone, as long as there are schemas that have it.
REMOVED = f"""
#[pg_extern(sql = false)]
fn webhook_sign(_given: crate::pg::arguments::Arguments<'_>) -> Result<(), ErrorReport> {{
    let code = PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION;
    Err(ErrorReport::new(code, "webhook_sign is not in version {NEW}", function_name!())
        .set_hint("ALTER EXTENSION pg_webhook UPDATE"))
}}

"""


def texts():
    """The files of the next version."""
    made = {str(path): (ROOT / path).read_bytes() for path in paths(ROOT) if not path.match("sql/released/*")}
    for edits in (VERSION, COLUMNS, VIEW, FUNCTIONS):
        for path, changes in edits.items():
            text = made[path].decode()
            for before, after in changes:
                text = put(text, path, before, after)
            made[path] = text.encode()

    path = "sql/status.sql"
    text = made[path].decode()
    view = between(text, path, *LOGGED)
    # each of its parts
    made[path] = put(text, path, view, view.replace("a.batch\n", "a.batch, a.note\n")).encode()

    path = "sql/api.sql"
    text = made[path].decode()
    made[path] = put(text, path, between(text, path, *SIGN), "").encode()

    path = "src/api/secret.rs"
    text = made[path].decode()
    function = between(text, path, "#[pg_extern(sql = false)]\nfn webhook_sign(", "#[pg_extern(sql = false)]\nfn webhook_verify(")
    made[path] = put(text, path, function, REMOVED).encode()

    path = "Cargo.lock"
    text = made[path].decode()
    for package in ("pg_webhook", "domain", "transit", "delivery"):
        text = put(text, path, f'name = "{package}"\nversion = "{OLD}"', f'name = "{package}"\nversion = "{NEW}"')
    made[path] = text.encode()

    made[f"sql/pg_webhook--{OLD}--{NEW}.sql"] = script(made).encode()
    return made


def script(made):
    """What becomes of a schema of the version before."""
    file = lambda name: made[f"sql/{name}.sql"].decode()
    part = lambda name, bounds: between(file(name), name, *bounds)
    replaced = lambda view: view.replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    return "\n".join([
        file("before_update"),
        "ALTER TABLE webhook.event ADD COLUMN note text;\nALTER TABLE webhook.attempt ADD COLUMN note text;\n",
        "DROP FUNCTION webhook_sign;\nDROP FUNCTION webhook_pause;\n",
        part("api", PAUSE),
        "SET LOCAL search_path = pg_catalog, pg_temp;\n",
        replaced(part("status", LOGGED)),
        # these have all that the ring has
        replaced(part("status", UNLISTED)),
        replaced(part("status", UNSETTLED)),
        replaced(part("views", ATTEMPTS)),
        "COMMENT ON COLUMN webhook.attempts.note IS 'by which version';\n",
        file("close"),
        file("after_update"),
    ])


def main(folder):
    made = texts()
    for path in list(paths(folder)) if (folder / "src").exists() else []:
        if str(path) not in made:
            (folder / path).unlink()
    for path, text in made.items():
        place = folder / path
        if not place.exists() or place.read_bytes() != text:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
