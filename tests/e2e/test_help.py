"""webhook_help: a manual that fits into a terminal, of what is in the catalog."""

import pytest

FUNCTIONS = """
    SELECT p.proname, obj_description(p.oid, 'pg_proc'), p.proargnames[:p.pronargs]
    FROM pg_proc AS p
    JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_webhook'
    WHERE p.proname LIKE 'webhook\\_%'
    ORDER BY 1
"""


@pytest.fixture
def reader(people):
    """One that may look, and nothing else."""
    return people("vie", "viewer")


def words(text):
    return " ".join(text.split())


def test_all_functions_are_in_it_with_what_their_comments_say(db, reader):
    listed = [line for (line,) in reader.rows("SELECT webhook_help()")]
    functions = db.rows(FUNCTIONS)
    assert len(functions) > 25
    for name, comment, arguments in functions:
        assert name in listed
        manual = [line for (line,) in reader.rows("SELECT webhook_help(%s)", name)]
        assert manual == [line for (line,) in reader.rows("SELECT webhook_help(%s)", name.removeprefix("webhook_"))]
        prose, example = comment.split("\nExample: ")
        said = words(" ".join(manual))
        assert words(prose) in said and words(example) + ";" in said
        # One argument in a line.
        for argument in arguments or []:
            assert any(line.split()[0] == argument for line in manual if line.startswith("    ")), (name, argument)
    assert "    timeout_seconds        integer  DEFAULT 30" in [line for (line,) in reader.rows("SELECT webhook_help('create')")]
    assert reader.value("SELECT webhook_help('nothing')") == "There is no function of that name. SELECT public.webhook_help() lists them."


def test_it_fits_into_eighty_columns(db, reader):
    """As psql shows it."""
    names = [name for name, _, _ in db.rows(FUNCTIONS)]
    shown = [option for name in ("", *names) for option in ("-c", "SELECT webhook_help({})".format(f"'{name}'" if name else ""))]
    cluster = db.cluster
    text = cluster._run("psql", "-X", "-h", cluster.folder, "-p", cluster.port, "-U", reader.role, "-d", db.name, *shown).stdout
    assert len(text.splitlines()) > 500
    assert [line for line in text.splitlines() if len(line.rstrip()) > 80] == []
