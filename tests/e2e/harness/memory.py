"""What processes take."""

import pathlib
import re


def private_memory(pid):
    """MiB that are a process's own: without the server's shared buffers."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"Private_\w+:\s*(\d+)", rollup)) / 1024
