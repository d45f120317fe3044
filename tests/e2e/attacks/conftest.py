"""The stage of an attack, and the questions after it."""

import pytest

from harness.cluster import Cluster

from .stage import Stage


@pytest.fixture(scope="session")
def attacked():
    """A server of its own: its roles have names that other tests use, and might be more by the end of an attack."""
    server = Cluster("attacked", jit="off").start()
    yield server
    server.destroy()


@pytest.fixture
def stage(attacked):
    made = Stage(attacked)
    try:
        made.set()
        yield made
        made.ask()
    finally:
        made.close()
