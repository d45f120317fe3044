"""What whoever works on the project is offered: `make shell`, and a server that is kept."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

from harness.places import RUN

SCRIPT = pathlib.Path(__file__).parents[1] / "demo" / "shell.py"

TRIES = """
CREATE TABLE items (id int);
SELECT name FROM webhook_create('hook', :'url', 'items');
INSERT INTO items VALUES (7);
DO $$ BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN EXISTS (SELECT FROM webhook.deliveries WHERE status = 'delivered');
        COMMIT;
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;
SELECT status FROM webhook.deliveries;
\\! cat {requests}
"""


@pytest.fixture
def run():
    """A folder that the server's user reaches, too."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="shells.", dir=RUN))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def shell(statements, run, keep=""):
    done = subprocess.run([sys.executable, SCRIPT], input=statements, env={**os.environ, "PGW_RUN": str(run), "KEEP": keep},
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shell_has_a_receiver_and_leaves_nothing(run):
    out = shell(TRIES.replace("{requests}", f"{run}/shell.*/requests"), run)
    assert "delivered" in out and '"record":{"id":7}' in out
    assert not list(run.glob("shell.*"))


def test_a_server_is_kept_where_that_is_asked_for(run):
    out = shell("CREATE TABLE items (id int);", run, keep="1")
    folder = pathlib.Path(re.search(r"^kept: (.*)$", out, re.M)[1])
    assert "starting PostgreSQL" in (folder / "log").read_text()
    assert (folder / "data" / "PG_VERSION").exists() and not (folder / "data" / "postmaster.pid").exists()
