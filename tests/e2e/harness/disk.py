"""A server's disk, which tests fill."""

from .preload import library


class Disk:
    """The disk of one server: full or not, also while it runs."""

    def __init__(self, cluster):
        self._file = cluster.folder / "disk"
        self._file.write_bytes(b"\0")

    def fill(self, full=True):
        # In place: servers have the file in their memory.
        with open(self._file, "r+b") as file:
            file.write(b"\1" if full else b"\0")

    def environment(self):
        """Of a server that writes to it."""
        return {"LD_PRELOAD": library("disk"), "DISK_FILE": str(self._file)}
