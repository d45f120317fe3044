"""A server's clock, which tests set."""

import os

from .preload import library


class Clock:
    """The clock of one server: so many seconds from the machine's, also while it runs."""

    def __init__(self, cluster):
        self._file = cluster.folder / "clock"
        self.set(0)
        self.passes(0)

    def set(self, seconds):
        self._write(0, seconds)

    def passes(self, seconds):
        """So much time has passed, which is more than has."""
        self._write(8, seconds)

    def _write(self, at, seconds):
        # In place: servers have the file in their memory.
        file = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(file, seconds.to_bytes(8, "little", signed=True), at)
        os.close(file)

    def environment(self):
        """Of a server that goes by it."""
        return {"LD_PRELOAD": library("clock"), "CLOCK_FILE": str(self._file)}
