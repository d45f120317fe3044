"""The installation script, as cargo-pgrx puts it together, read by pgspot: nothing in it can be shadowed."""

import pathlib
import subprocess
import sys

from harness.cluster import BIN


def scripts():
    folder = subprocess.run(
        [BIN / "pg_config", "--sharedir"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    return sorted(pathlib.Path(folder, "extension").glob("pg_webhook--*.sql"))


def pgspot(*arguments):
    program = pathlib.Path(sys.executable).with_name("pgspot")
    return subprocess.run(
        [program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout


def test_scripts_have_no_finding(tmp_path):
    """None is excused. Each script is read on its own: an update runs without the installation's settings."""
    assert scripts()
    for script in scripts():
        assert pgspot(script).split() == "Errors: 0 Warnings: 0 Unknown: 0".split(), script.name
    careless = tmp_path / "careless.sql"
    careless.write_text("CREATE VIEW v AS SELECT 1 + 1 AS two;")
    assert "PS001" in pgspot(careless)  # it does find something
