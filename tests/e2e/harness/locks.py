"""Locks between the processes of a test run: each is a file in the folder of the run."""

import contextlib
import fcntl

from .places import RUN


@contextlib.contextmanager
def locked(name, shared=False):
    """Hold the lock of this name. However a process ends, what it holds is given back."""
    RUN.mkdir(parents=True, exist_ok=True)
    with open(RUN / f"{name}.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def turn(alone):
    """Do something beside others, or wait for these to end and keep new ones waiting."""
    with contextlib.ExitStack() as inside:
        # Who waits to be alone keeps the door shut. Without one it would wait as long as there is any other.
        with locked("door"):
            inside.enter_context(locked("inside", shared=not alone))
        yield
