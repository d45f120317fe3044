"""What the documentation says about moving from other systems works as it stands."""

import json
import pathlib
import re

import pytest

from harness import pages

DOCUMENT = (pathlib.Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
TABLE = re.compile(r"^\| \[`(\w+)`\]\(#.*?\) \| (.*?) \| `(\w+)` \| (.*?) \|$", re.M)


def blocks():
    """The SQL of each section, by the section's heading."""
    sections = re.split(r"^## (.*)\n", "## All\n" + DOCUMENT.split("\n", 1)[1], flags=re.M)[1:]
    found = dict(zip(sections[::2], (re.findall(r"^```sql\n(.*?)^```", s, re.M | re.S) for s in sections[1::2])))
    assert all(len(sql) == 1 for sql in found.values())
    return {heading: sql[0] for heading, sql in found.items()}


@pytest.mark.parametrize("heading", blocks())
def test_each_example(db, receiver, heading):
    """The SQL of a section runs, with a URL of the test's own."""
    db.run("CREATE TABLE orders (id int PRIMARY KEY, total int, status text)")
    db.run("CREATE TABLE order_items (id int)")
    sql, count = re.subn(r"https://[^']*", receiver.url("/"), blocks()[heading])
    assert count == 1
    for statement in filter(str.strip, sql.split(";")):
        db.run(statement)
    assert db.value("SELECT count(*) FROM webhook.webhooks WHERE enabled") == 1


@pytest.mark.parametrize(
    "format, keys, signature, headers", TABLE.findall(DOCUMENT), ids=[row[0] for row in TABLE.findall(DOCUMENT)],
)
def test_what_each_format_brings(db, receiver, format, keys, signature, headers):
    """The table of formats names the keys, the scheme and the headers that are sent."""
    db.run("CREATE TABLE orders (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="orders", format=format)
    db.run("INSERT INTO orders VALUES (1)")
    [request] = receiver.wait(1)
    assert db.value("SELECT signature FROM webhook.webhooks") == signature
    if keys.startswith("`"):
        assert ", ".join(json.loads(request.body)) == keys.strip("`")
    named = set(re.findall("`(.*?)`", headers.lower()))
    assert named == {name for name in request.headers if name.endswith("-signature")}


def test_the_table_is_read():
    """There is a row for each format."""
    assert len(TABLE.findall(DOCUMENT)) == 8 and len(blocks()) == 9


def test_the_pages_of_their_own():
    """Each is named here and in README, and has a test that runs its SQL, which is in sections that it knows."""
    readme = (pages.DOCS.parent / "README.md").read_text()
    names = sorted(page.stem for page in (pages.DOCS / "migrating").iterdir())
    assert names == ["debezium", "pg_net", "sequin", "svix"]
    for name in names:
        assert f"](migrating/{name}.md)" in DOCUMENT and f"](docs/migrating/{name}.md)" in readme
        assert f'"migrating/{name}.md"' in (pathlib.Path(__file__).parent / "systems" / f"test_{name}.py").read_text()
        assert {heading for heading, sql in pages.sql_of(f"migrating/{name}.md").items() if sql} <= {"The body", "Move", "Go back"}
