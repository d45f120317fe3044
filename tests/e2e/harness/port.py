"""Ports that stay a test's own while nobody listens on them, and those where nobody answers."""

import contextlib
import socket


def reserved(host="127.0.0.1", port=0):
    """A socket that keeps a free port, or this one, for those who bind it with SO_REUSEADDR, as servers do. Connections to
    it are refused until one of them listens; without it another test's server could be given the port."""
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, port))
    return held


@contextlib.contextmanager
def mute_listener(backlog):
    """A socket that listens and never accepts; with a backlog of 0 that is full, connecting hangs."""
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        if backlog == 0:
            for _ in range(4):
                filler = fillers.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
