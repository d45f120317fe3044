"""A private PostgreSQL, scriptable receivers and ways to wait, for tests from outside."""

from .cluster import Cluster
from .receiver import Receiver
from .waiting import wait_until

__all__ = ["Cluster", "Receiver", "wait_until"]
