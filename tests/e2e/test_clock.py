"""A clock that is set by a day, either way: what waits waits for as long as before, and no retry ends by it."""

import pytest

from harness.clock import clock
from harness.receiver import reply

# The first wait of a delivery that fails; the second is twice as long, and jitter moves either by a fifth.
BACKOFF = 3


@pytest.fixture
def site(own_cluster, make_db, receiver):
    """A database whose webhook tries again soon and for an hour."""
    db = make_db(own_cluster(), "site").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=BACKOFF, retry_for="1 hour")
    receiver.on("/", reply(500), reply(500), reply(200))
    return db


def begin_anew(db, how, environment):
    server = db.cluster
    server.stop(how)
    server.start(**environment)
    db.judge.connection = server.connect(db.name)
    db.connection = server.connect(db.name, user=db.owner)


def check(db, receiver, slack):
    first, second, third = receiver.wait(3)
    db.wait_for_status(1)
    assert first.id == second.id == third.id
    assert second.time - first.time < 1.2 * BACKOFF + slack and third.time - second.time < 2 * 1.2 * BACKOFF + 2
    assert third.time - second.time > 2 * 0.8 * BACKOFF - 0.5, "nor sooner"


@pytest.mark.parametrize("how", ["fast", "immediate"])
@pytest.mark.parametrize("offset", ["+1d", "-1d"])
def test_a_clock_that_is_set_while_the_server_is_down(site, receiver, offset, how):
    site.run("INSERT INTO items VALUES (1)")
    site.wait_for_status(1, "retrying")
    begin_anew(site, how, clock(offset))
    # A start takes a while, and the wait may begin anew.
    check(site, receiver, slack=BACKOFF + 10)
