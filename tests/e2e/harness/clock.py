"""A server's clock, which tests set."""

import glob


def library():
    """That which sets a program's clock; one of the packages that the tests ask for."""
    return sorted(glob.glob("/usr/lib/*/faketime/libfaketime.so.1"))[0]


def clock(offset):
    """The environment of a server whose clock is that far from the machine's: +1d, -1d. To set it while the server runs
    would take more than that library can do: it sleeps through the step."""
    return {"LD_PRELOAD": library(), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
