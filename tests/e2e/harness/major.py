"""The major version of the server that is tested."""

import os
import re
import subprocess

_version = subprocess.run([f"{os.environ['PGW_BIN']}/pg_config", "--version"], capture_output=True, text=True, check=True)

MAJOR = int(re.match(r"PostgreSQL (\d+)", _version.stdout).group(1))


def since(major):
    """There is no such test for servers that do not have what it is about."""
    return lambda test: test if MAJOR >= major else None
