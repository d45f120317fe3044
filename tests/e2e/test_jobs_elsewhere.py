"""Jobs of several databases, over restarts, dumps and restores."""

import pytest

from harness import wait_until
from harness.dumps import dump, restore
from harness.receiver import reply

KINDS = ("cancel", "replay", "erase")

#: What is asked for, how many deliveries there are, and what has become of these.
COUNT = 20_000
CALLS = {"cancel": "webhook_cancel_all('hook')", "replay": "webhook_replay_all('hook')", "erase": "webhook_erase('hook')"}
ENDS = {"cancel": {"cancelled": COUNT}, "replay": {"dead": COUNT, "pending": COUNT}, "erase": {"delivered": COUNT}}


def prepare(db, receiver, kind, path="/"):
    """A webhook `hook` with so many deliveries that a job of this kind is for."""
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    receiver.on(path, reply(422 if kind == "replay" else 200, b"no such person"))
    db.create("hook", receiver.url(path), table_name="items", max_retries=0)
    if kind == "cancel":
        db.run("SELECT webhook_pause('hook')")
    db.run("INSERT INTO items SELECT generate_series(1, %s::int)", COUNT)
    status = {"cancel": "pending", "replay": "dead", "erase": "delivered"}[kind]
    moved = "SELECT count(*) FROM webhook.pending" if kind == "cancel" else f"SELECT {COUNT}"
    wait_until(lambda: db.statuses() == {status: COUNT} and db.judge.value(moved) == COUNT, lambda: f"{db.statuses()}", 60)
    if kind == "replay":
        db.run("SELECT webhook_pause('hook')")


def agrees(judge, kind):
    """What has been done, as the tables say."""
    counts = {
        "cancel": "SELECT count(*) FROM webhook.pending WHERE stage = 3",
        "replay": "SELECT count(*) FROM webhook.event WHERE event_id IS NOT NULL",
        "erase": "SELECT count(*) FROM webhook.event WHERE payload = ''",
    }
    return judge.execute(f"SELECT done, ({counts[kind]}) FROM webhook.jobs").fetchone()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["fast", "smart"])
def test_a_job_goes_on_after_a_restart(own_cluster, make_db, receiver, kind, mode):
    """In the middle of each kind: what is done is written down with it, so that nothing is done twice and the counts agree."""
    server = own_cluster()
    db = make_db(server, "restarts").hand_over()
    prepare(db, receiver, kind)
    job = db.value(f"SELECT {CALLS[kind]}")
    done = 0
    for _ in range(3):
        wait_until(lambda: db.value("SELECT done FROM webhook.jobs") > done, "progress", interval=0.001)
        db.close()
        server.stop(mode)
        server.start()
        db.reconnect()
        with server.connect(db.name) as judge:
            (done, found) = agrees(judge, kind)
            assert done == found
    assert db.value("SELECT webhook_wait(%s)", job) == COUNT
    with server.connect(db.name) as judge:
        assert agrees(judge, kind) == (COUNT, COUNT)
        assert judge.execute("SELECT count(*) FROM webhook.job_aside").fetchone() == (0,)
        twice = "SELECT count(*) FROM (SELECT FROM webhook.event GROUP BY event_id, id HAVING count(*) > 1) AS t"
        assert judge.execute(twice).fetchone() == (0,)
        if kind == "erase":
            assert judge.execute("SELECT count(*), count(response_body) FROM webhook.attempt").fetchone() == (COUNT, 0)
    assert db.statuses() == ENDS[kind]


def test_two_databases_have_jobs_at_once(own_cluster, make_db, receiver):
    """Each its own, which the other one does not see: neither waits for the other, and neither touches what is the other's."""
    server = own_cluster()
    one, two = make_db(server, "one").hand_over(), make_db(server, "two").hand_over()
    prepare(one, receiver, "cancel", "/one")
    prepare(two, receiver, "erase", "/two")
    jobs = {one: one.value(f"SELECT {CALLS['cancel']}"), two: two.value(f"SELECT {CALLS['erase']}")}
    at_work = "SELECT done BETWEEN 1 AND %s FROM webhook.jobs"
    wait_until(lambda: one.value(at_work, COUNT - 1) and two.value(at_work, COUNT - 1), "both at work", interval=0.001)
    for db, job in jobs.items():
        assert db.value("SELECT webhook_wait(%s)", job) == COUNT
        assert db.rows("SELECT id, done, skipped FROM webhook.jobs") == [(job, COUNT, 0)]
    assert one.statuses() == ENDS["cancel"] and two.statuses() == ENDS["erase"]
    assert not receiver.got("/one")
    assert len(receiver.got("/two")) == COUNT


def test_jobs_are_not_in_a_dump(own_cluster, make_db, receiver):
    """They are for what waits and for the log, which are not dumped either; in the original they go on."""
    server = own_cluster()
    db = make_db(server, "origin").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("SELECT webhook_pause('hook')")
    db.run("INSERT INTO items SELECT generate_series(1, 100)")
    db.wait_for_status(100, "pending")
    with server.connect(db.name) as admin, admin.transaction():
        admin.execute("LOCK TABLE webhook.pending IN SHARE MODE")
        jobs = [db.value(f"SELECT {call}") for call in (
            "webhook_cancel_all('hook')", "webhook_replay_all('hook')", "webhook_erase('hook', path => '$.record.id ? (@ == 4711)')")]
        place = dump(db, "-Fc")
        assert db.value("SELECT count(*) FROM webhook.jobs WHERE ended_at IS NULL") == 3
    target = make_db(server, "target", extension=False)
    restore(target, place)
    tables = ("job", "job_path", "job_aside", "stopped", "pending", "event", "attempt")
    assert [target.value(f"SELECT count(*) FROM webhook.{table}") for table in tables] == [0] * len(tables)
    assert target.rows("SELECT * FROM webhook.jobs") == []
    assert target.value("SELECT webhook_arm()") is True
    assert target.job("webhook_cancel_all('hook')") == 0
    for job in jobs:
        assert db.value("SELECT webhook_wait(%s)", job) in (0, 100)
    assert db.statuses() == {"cancelled": 100}
