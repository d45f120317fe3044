"""The major version of the server that is tested."""

import os
import re
import subprocess

_version = subprocess.run([f"{os.environ['PGW_BIN']}/pg_config", "--version"], capture_output=True, text=True, check=True)

MAJOR = int(re.match(r"PostgreSQL (\d+)", _version.stdout).group(1))
