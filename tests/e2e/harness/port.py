"""Ports that stay a test's own while nobody listens on them."""

import socket


def reserved(host="127.0.0.1", port=0):
    """A socket that keeps a free port, or this one, for those who bind it with SO_REUSEADDR, as servers do. Connections to
    it are refused until one of them listens; without it another test's server could be given the port."""
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, port))
    return held
