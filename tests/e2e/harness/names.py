"""The names of hosts as a server looks them up, which tests choose."""

import os

from .preload import library


class Names:
    """Those of one server, also while it runs."""

    def __init__(self, cluster):
        self._file = cluster.folder / "names"
        self._known = {}
        self._write()

    def set(self, name, address, seconds=0):
        """What a name is called is known after so long."""
        self._known[name] = address, seconds
        self._write()

    def forget(self, name):
        """Nobody knows it any more."""
        del self._known[name]
        self._write()

    def _write(self):
        lines = [f"{name} {address} {round(seconds * 1000)}\n" for name, (address, seconds) in self._known.items()]
        new = self._file.with_suffix(".new")
        new.write_text("".join(lines))
        os.chmod(new, 0o644)
        new.rename(self._file)

    def environment(self):
        """Of a server that goes by them."""
        return {"LD_PRELOAD": library("names"), "NAMES_FILE": str(self._file)}
