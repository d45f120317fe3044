"""What a server is started with that shows it another world than the machine's: libraries that are compiled once for a run."""

import pathlib
import subprocess

from .locks import locked
from .places import RUN


def library(name):
    """That of NAME.c beside this file, by what the extension is linked with."""
    made = RUN / f"{name}.so"
    with locked(name):
        if not made.exists():
            source = pathlib.Path(__file__).with_name(f"{name}.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", made, source, "-ldl"], check=True)
    return str(made)


def environment(*worlds):
    """Of a server in all of them."""
    parts = [world.environment() for world in worlds]
    merged = {name: value for part in parts for name, value in part.items()}
    return merged | {"LD_PRELOAD": " ".join(part["LD_PRELOAD"] for part in parts)}
