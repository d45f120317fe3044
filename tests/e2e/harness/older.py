"""Servers of older majors, to come from. They lie beside the one that is tested, where the extension has been built for them;
`make e2e` sees to it that the first one is there."""

import pathlib
import subprocess

from .locks import locked
from .major import MAJOR
from .places import BIN

FIRST = 15
SERVERS = BIN.parent.parent
PROVIDE = pathlib.Path(__file__).parents[2] / "server" / "older"


def is_there(major):
    return major < MAJOR and (SERVERS / str(major) / "origin").exists()


def server_of(major):
    """The programs of a server that can be upgraded from."""
    with locked("older"):
        done = subprocess.run([PROVIDE, SERVERS, str(major)], stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(done.stdout.strip()) / "bin"
