"""Where the server's programs are, and where clusters are made."""

import os
import pathlib

BIN = pathlib.Path(os.environ["PGW_BIN"])
RUN = pathlib.Path(os.environ["PGW_RUN"])
