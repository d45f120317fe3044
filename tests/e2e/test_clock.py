"""A clock that is set by a day, either way: what waits waits for as long as before, and no retry ends by it."""

import time

import pytest

from harness import wait_until
from harness.clock import Clock
from harness.receiver import reply

# The first wait of a delivery that fails; the second is twice as long, and jitter moves either by a fifth.
BACKOFF = 3

DAY = 24 * 60 * 60


@pytest.fixture
def site(own_cluster, make_db, receiver):
    """A database whose webhook tries again soon and for an hour."""
    db = make_db(own_cluster(), "site").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=BACKOFF, retry_for="1 hour")
    receiver.on("/", reply(500), reply(500), reply(200))
    return db


def begin_anew(db, how, seconds):
    """With a clock that is that far from the machine's."""
    server = db.cluster
    server.stop(how)
    go_by(db, seconds)


def go_by(db, seconds):
    clock = Clock(db.cluster)
    clock.set(seconds)
    db.cluster.start(**clock.environment())
    db.judge.connection = db.cluster.connect(db.name)
    db.connection = db.cluster.connect(db.name, user=db.owner)
    return clock


def check(db, receiver, slack):
    first, second, third = receiver.wait(3)
    db.wait_for_status(1)
    assert first.id == second.id == third.id
    assert second.time - first.time < 1.2 * BACKOFF + slack and third.time - second.time < 2 * 1.2 * BACKOFF + 2
    assert third.time - second.time > 2 * 0.8 * BACKOFF - 0.5, "nor sooner"


@pytest.mark.parametrize("how", ["fast", "immediate"])
@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_set_while_the_server_is_down(site, receiver, days, how):
    site.run("INSERT INTO items VALUES (1)")
    site.wait_for_status(1, "retrying")
    begin_anew(site, how, days * DAY)
    site.wait_for_worker()
    began = site.judge.value("SELECT extract(epoch FROM at)::float FROM webhook.cursor")
    assert abs(began - time.time() - days * DAY) < 60, "the worker goes by that clock"
    # A start takes a while, and the wait may begin anew.
    check(site, receiver, slack=BACKOFF + 10)


def test_a_clock_that_is_set_while_the_worker_runs(site, receiver):
    """A day forward, and after the next attempt two days back; and a start after that follows nothing once more."""
    site.cluster.stop()
    clock = go_by(site, 0)
    site.wait_for_worker()
    site.run("INSERT INTO items VALUES (1)")
    site.wait_for_status(1, "retrying")
    clock.set(DAY)
    receiver.wait(2)
    wait_until(lambda: site.value("SELECT attempts FROM webhook.deliveries") == 2, "the second attempt to be written")
    clock.set(-DAY)
    wait_until(lambda: site.cluster.log_lines("clock has been set by -17"), "the worker to notice")
    # The log, each part of which is written to for a day by default, turns as if nothing had been.
    site.judge.run("UPDATE webhook.ring SET since = since - interval '25 hours'")
    [(due,)] = site.rows("SELECT extract(epoch FROM next_attempt_at - clock_timestamp())::float FROM webhook.deliveries")
    assert due < 2 * 1.2 * BACKOFF
    check(site, receiver, slack=5)
    wait_until(lambda: site.judge.value("SELECT slot FROM webhook.ring") == 1, "the log to turn")
    assert len(site.cluster.log_lines("clock has been set by")) == 2
    receiver.on("/", reply(500), reply(200))
    site.run("INSERT INTO items VALUES (2)")
    site.wait_for_status(1, "retrying")
    begin_anew(site, "fast", -DAY)
    receiver.wait(5)
    site.wait_for_status(2)
    assert receiver.got()[4].time - receiver.got()[3].time > 0.8 * BACKOFF - 0.5, "it waits as long as it had to"


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_set_at_the_moment_of_a_stop(site, receiver, days):
    """Before the worker has seen it: it waits for something else."""
    site.cluster.stop()
    clock = go_by(site, 0)
    site.wait_for_worker()
    site.run("INSERT INTO items VALUES (1)")
    site.wait_for_status(1, "retrying")
    clock.set(days * DAY)
    begin_anew(site, "fast", days * DAY)
    receiver.wait(2)
    wait_until(lambda: site.value("SELECT attempts FROM webhook.deliveries") == 2, "the second attempt to be written")
    assert site.statuses() == {"retrying": 1}


def test_what_the_log_forgets_after_a_time_goes_by_no_clock_that_is_set(site, receiver):
    """What has been cancelled, and what a deleted webhook has left: a day is neither missed nor added, when it ended or when
    it is looked for, nor for the parts of the log itself."""
    site.cluster.stop()
    clock = go_by(site, 0)
    site.wait_for_worker()
    site.run("SELECT webhook_pause('hook')")
    site.create("gone", receiver.url("/gone"), table_name="items")
    site.run("SELECT webhook_pause('gone')")

    def end(item, webhook):
        site.run("INSERT INTO items VALUES (%s)", item)
        wait_until(lambda: site.judge.value("SELECT count(*) FROM webhook.pending WHERE event_slot = (SELECT slot FROM webhook.ring)") > 0, "the backlog")
        site.run("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE webhook = 'hook' AND status = 'pending'")
        if webhook:
            site.run("SELECT webhook_delete(%s)", webhook)
        wait_until(lambda: site.judge.value("SELECT bool_and(settled) FROM webhook.closed"), "the worker to settle")
        site.judge.run("TRUNCATE webhook.event")

    def left_when_it_turns(after):
        slot = site.judge.value("SELECT slot FROM webhook.ring")
        site.judge.run("UPDATE webhook.closed SET closed_at = closed_at - %s::interval", after)
        site.judge.run("UPDATE webhook.webhook SET deleted_at = deleted_at - %s::interval", after)
        site.judge.run("UPDATE webhook.ring SET since = since - interval '25 hours'")
        # A run begins with that.
        site.judge.run("SELECT pg_terminate_backend(pid) FROM webhook.worker")
        wait_until(lambda: site.judge.value("SELECT slot FROM webhook.ring") != slot, "the log to turn")
        # Each part of the log is written to for a day by default.
        assert site.judge.value("SELECT abs(extract(epoch FROM clock_timestamp() - k.step * interval '1 microsecond' - r.since)) < 60 FROM webhook.ring AS r, webhook.cursor AS k")
        return tuple(site.judge.value(f"SELECT count(*) FROM webhook.{table}") for table in ("closed", "pending"))

    end(1, "gone")
    clock.set(DAY)
    wait_until(lambda: site.cluster.log_lines("clock has been set by 8"), "the worker to notice")
    assert left_when_it_turns("6.5 days") == (1, 2)
    clock.set(-DAY)
    wait_until(lambda: site.cluster.log_lines("clock has been set by -17"), "the worker to notice")
    end(2, None)
    assert left_when_it_turns("0.7 days") == (1, 1), "the younger one"


def test_what_cannot_be_written_while_the_clock_is_set(site, receiver):
    """Events on their way to the backlog are due when they came, by the clock of then."""
    site.cluster.stop()
    clock = go_by(site, 0)
    site.wait_for_worker()
    receiver.on("/", reply(200))
    site.run("SELECT webhook_pause('hook')")
    with site.cluster.connect(site.name, autocommit=False) as other:
        other.execute("LOCK TABLE webhook.pending IN SHARE MODE")
        site.run("INSERT INTO items VALUES (1)")
        wait_until(lambda: site.cluster.log_lines("webhook.pending is locked by"), "the worker to find it")
        clock.set(DAY)
        wait_until(lambda: site.cluster.log_lines("the clock has been set by"), "the worker to see that")
    site.run("SELECT webhook_resume('hook')")
    receiver.wait(1)
    site.wait_for_status(1)


# --- how long retries last, where nobody tries -----------------------------------------------------------


@pytest.fixture
def patient(own_cluster, make_db, receiver):
    """A database whose webhook tries again after an hour, and for four."""
    db = make_db(own_cluster(), "site").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=3600, retry_for="4 hours")
    receiver.default(reply(500))
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1, "retrying")
    return db


def lasted(db):
    """For how many seconds the only delivery is tried, as far as that counts."""
    [(seconds,)] = db.judge.rows("SELECT extract(epoch FROM clock_timestamp() - first_attempt_at) FROM webhook_backlog_export() WHERE next_attempt_at IS NOT NULL")
    return float(seconds)


def test_a_worker_that_is_back_in_time_was_not_away(patient):
    """However long there was none before something was due."""
    begin_anew(patient, "fast", 2500)
    patient.wait_for_worker()
    assert 2500 <= lasted(patient) < 2600


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_no_retry_ends_while_nobody_can_try(patient, receiver, how):
    """Nor by two times of that, between which it was not tried. A dead letter beside it is as ever."""
    patient.create("dead", f"{receiver.url('/')}dead", table_name="items", max_retries=0)
    patient.run("SELECT webhook_pause('hook')")
    patient.run("INSERT INTO items VALUES (2)")
    patient.wait_for_status(1, "dead")
    patient.run("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE status = 'pending'")
    patient.run("SELECT webhook_resume('hook')")
    patient.cluster.configure(pg_webhook__enabled="off")
    begin_anew(patient, how, DAY)
    patient.wait_for_worker()
    assert 2500 < lasted(patient) < 4500, "an hour was the wait"
    patient.cluster.configure(pg_webhook__enabled="on")
    begin_anew(patient, how, 2 * DAY)
    receiver.wait(2)
    wait_until(lambda: patient.value("SELECT attempts FROM webhook.deliveries WHERE status = 'retrying'") == 2, "the second attempt to be written")
    assert patient.statuses() == {"retrying": 1, "dead": 1, "cancelled": 1}
    assert 2500 < lasted(patient) < 4500


# --- while there is nothing to do -------------------------------------------------------------------------


def let_worker_mark(db, clock, seconds):
    """So much time passes, and the worker does what it does now and then. It is kept from that until it is waited for."""
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'webhook.cursor'::regclass AND NOT granted"
    with db.cluster.connect(db.name, autocommit=False) as other:
        other.execute("LOCK TABLE webhook.cursor IN SHARE MODE")
        clock.passes(seconds)
        db.judge.run("SELECT pg_reload_conf()")
        wait_until(lambda: db.judge.value(waiting), "the worker")
    # When it has ended that.
    with db.cluster.connect(db.name, autocommit=False) as other:
        other.execute("LOCK TABLE webhook.cursor IN SHARE MODE")


def test_a_clock_that_is_set_back_after_a_long_rest_and_before_a_crash(patient, receiver):
    """It is not taken for a shorter time in which there was nobody. Where nothing waits, nobody has to know."""
    patient.cluster.stop()
    clock = go_by(patient, 0)
    patient.wait_for_worker()
    left = "SELECT extract(epoch FROM next_attempt_at - clock_timestamp())::float FROM webhook.deliveries WHERE status = 'retrying'"
    before = patient.value(left)
    let_worker_mark(patient, clock, 1000)
    clock.set(-600)
    patient.cluster.stop("immediate")
    clock.set(1000 - 600)
    clock.passes(0)
    patient.cluster.start(**clock.environment())
    patient.judge.connection = patient.cluster.connect(patient.name)
    patient.connection = patient.cluster.connect(patient.name, user=patient.owner)
    patient.wait_for_worker()
    assert -60 < patient.value(left) - (before - 1000) < 60, "an hour less the rest"
    patient.run("SELECT webhook_cancel(id) FROM webhook.deliveries WHERE status = 'retrying'")
    patient.wait_for_status(1, "cancelled")
    version = "SELECT xmin::text, step FROM webhook.cursor"
    let_worker_mark(patient, clock, 70)
    # What the cancelling has left to be written comes before or after that.
    let_worker_mark(patient, clock, 140)
    settled = patient.judge.rows(version)
    let_worker_mark(patient, clock, 210)
    assert patient.judge.rows(version) == settled, "an idle database writes nothing"
