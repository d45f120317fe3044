"""What docs/moving.md does with a database."""

import subprocess

from .places import BIN

EXPORT = "SELECT * FROM webhook_backlog_export()"
IMPORT = "SELECT webhook_backlog_import(m), count(*) FROM moving AS m GROUP BY 1 ORDER BY 1"


def dump_into(origin, copy, *options):
    dump = [BIN / "pg_dump", *options, "-d", origin.cluster.dsn(origin.name)]
    text = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    restore = [BIN / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", copy.cluster.dsn(copy.name)]
    subprocess.run(restore, input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def carry(origin, copy):
    """As psql's \\copy does it; by way of a table, as the recipe does."""
    copy.run(f"CREATE TABLE moving AS {EXPORT} WITH NO DATA")
    with origin.connection.cursor().copy(f"COPY ({EXPORT}) TO STDOUT") as out:
        data = b"".join(bytes(part) for part in out)
    with copy.connection.cursor().copy("COPY moving FROM STDIN") as into:
        into.write(data)
    return copy.rows(IMPORT)
