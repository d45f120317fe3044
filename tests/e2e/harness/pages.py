"""The SQL in a page of the documentation, and running it as whoever reads the page."""

import pathlib
import re
import textwrap

DOCS = pathlib.Path(__file__).parents[3] / "docs"
# Up to its semicolon; in what is between two `$$` there may be others.
STATEMENT = re.compile(r"(?:\$\$.*?\$\$|[^;])+;", re.S)


def sql_of(page):
    """The blocks of SQL of each section, by its heading."""
    sections = re.split(r"^## (.*)\n", (DOCS / page).read_text(), flags=re.M)[1:]
    found = {}
    for heading, text in zip(sections[::2], sections[1::2]):
        blocks = re.findall(r"^( *)```sql\n(.*?)^ *```$", text, re.M | re.S)
        found[heading] = [textwrap.dedent(block) for _, block in blocks]
    return found


def run(session, block, receiver):
    """Runs a block, statement by statement, with a URL of the test's own; returns the rows of each that has any."""
    said = []
    for statement in STATEMENT.findall(re.sub(r"https://example\.com", receiver.url(""), block)):
        cursor = session.run(statement)
        if cursor.description:
            said.append(cursor.fetchall())
    return said
