"""webhook_cancel_all and its like: jobs that the worker does after the commit, a few deliveries at a time."""

import json
import threading
import time

import psycopg
import pytest

from harness import wait_until
from harness.receiver import once, reply
from harness.ring import SLOTS, turn

LATER = {"retry_backoff_seconds": 3600}
STATE = "SELECT state FROM webhook.jobs WHERE id = %s"


@pytest.fixture
def items(db):
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    return db


def sent(receiver, path=None):
    """The rows that the receiver has heard of, each as often as it has."""
    return sorted(json.loads(request.body)["record"]["id"] for request in receiver.got(path))


def insert(items, first, last):
    items.run("INSERT INTO items SELECT generate_series(%s::int, %s::int)", first, last)


def backlog(items, count):
    """Wait until so many events have come to the backlog."""
    wait_until(lambda: items.judge.value("SELECT count(*) FROM webhook.pending") == count, "the backlog")


def paused(items, receiver, count):
    """A webhook that is paused, with so many events in its backlog."""
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    items.run("SELECT webhook_pause('hook')")
    insert(items, 1, count)
    backlog(items, count)


def crash_in_the_middle(db):
    """Again and again, each time when the one job of the database has done something more."""
    done = 0
    for _ in range(3):
        wait_until(lambda: db.value("SELECT done FROM webhook.jobs") > done, "progress", interval=0.001)
        db.close()
        db.cluster.crash()
        db.cluster.start()
        db.reconnect()
        done = db.value("SELECT done FROM webhook.jobs")


def test_what_waits_in_every_place_is_cancelled_and_the_rest_is_sent(items, receiver):
    """Dead, retrying, in the backlog and in memory; one that is under way ends, and what comes later is sent."""
    receiver.on("/", reply(422), reply(500))
    items.create("hook", receiver.url("/"), table_name="items", max_concurrency=1, max_retries=0)
    insert(items, 1, 1)
    items.wait_for_status(1, "dead")
    items.run("SELECT webhook_update('hook', max_retries => 5, retry_backoff_seconds => 3600)")
    insert(items, 2, 2)
    items.wait_for_status(1, "retrying")
    receiver.on("/", reply(200))
    receiver.hold()
    insert(items, 3, 8)
    receiver.wait(3)
    job = items.value("SELECT webhook_cancel_all('hook')")
    # All but the one that is under way, which the job waits for.
    wait_until(lambda: items.statuses() == {"cancelled": 7, "pending": 1}, lambda: f"{items.statuses()}")
    assert items.value(STATE, job) == "running"
    insert(items, 9, 9)
    receiver.release()
    assert items.value("SELECT webhook_wait(%s)", job) == 7
    items.wait_for_status(2)
    assert items.statuses() == {"cancelled": 7, "delivered": 2}
    assert sent(receiver) == [1, 2, 3, 9]
    [row] = items.rows("SELECT kind, webhook, state, done, error, ended_at >= began_at FROM webhook.jobs")
    assert row == ("cancel", "hook", "done", 7, None, True)
    assert items.value("SELECT webhook_cancel(min(id)) FROM webhook.deliveries") is False
    assert items.value("SELECT count(*) FROM webhook.dead_letters") == 0
    assert items.value("SELECT pending FROM webhook.webhooks") == 0


def test_what_has_not_been_read_is_cancelled(items, receiver):
    """While the kill switch keeps the worker from reading on: nothing of it is sent when that is over."""
    items.create("hook", receiver.url("/"), table_name="items")
    server = items.cluster
    server.reload(pg_webhook__enabled="off")
    try:
        wait_until(lambda: items.value("SHOW pg_webhook.enabled") == "off", "the reload")
        insert(items, 1, 2000)
        assert items.job("webhook_cancel_all()") == 2000
        insert(items, 2001, 2001)
    finally:
        server.reload(pg_webhook__enabled="on")
    items.wait_for_status(1)
    assert items.statuses() == {"cancelled": 2000, "delivered": 1}
    assert sent(receiver) == [2001]


def test_statuses_and_times(items, receiver):
    paused(items, receiver, 6)
    third = items.value("SELECT created_at FROM webhook.deliveries WHERE payload::jsonb->'record'->>'id' = '3'")
    ids = [row[0] for row in items.rows("SELECT id FROM webhook.deliveries ORDER BY id")]
    at = "'2020-01-01Z'::timestamptz + {} * interval '1 microsecond'"
    assert abs(items.value(f"SELECT extract(epoch FROM {at.format(ids[2])} - %s)", third)) < 1
    for status in ("retrying", "dead"):
        assert items.job("webhook_cancel_all('hook', status => %s)", status) == 0
    assert items.job(f"webhook_cancel_all('hook', until => {at.format(ids[1])})") == 1
    assert items.job(f"webhook_cancel_all(since => {at.format(ids[4])}, status => 'pending')") == 2
    assert items.statuses() == {"cancelled": 3, "pending": 3}
    left = items.rows("SELECT id FROM webhook.deliveries WHERE status = 'pending' ORDER BY id")
    assert [row[0] for row in left] == ids[1:4]
    # The times that were given, and those of a clock in another zone.
    assert items.value("SELECT count(*) FROM webhook.jobs WHERE since IS NULL AND until IS NULL") == 2


def test_refusals(items, receiver, people):
    items.create("hook", receiver.url("/"), table_name="items")
    for status in ("delivered", "cancelled", "lost"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            items.run("SELECT webhook_cancel_all('hook', status => %s)", status)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="begins when this transaction has committed"):
        items.run("SELECT webhook_wait(webhook_cancel_all('hook'))")
    bob = people("bob", "member")
    job = items.value("SELECT webhook_cancel_all('hook')")
    for call in (f"webhook_wait({job})", f"webhook_cancel_job({job})", "webhook_wait(1)", "webhook_cancel_all('hook')"):
        with pytest.raises(psycopg.errors.UndefinedObject):
            bob.run(f"SELECT {call}")
    assert bob.value("SELECT count(*) FROM webhook.jobs") == 0
    for call in ("webhook_wait(NULL)", "webhook_cancel_job(NULL)"):
        with pytest.raises(psycopg.errors.NullValueNotAllowed):
            items.run(f"SELECT {call}")
    assert items.value("SELECT webhook_wait(%s)", job) == 0
    assert items.value("SELECT webhook_cancel_job(%s)", job) is False


def test_all_means_those_that_the_caller_manages(db, receiver, people):
    """A member's own and its group's; an admin's are everybody's. Who may see a webhook sees its jobs."""
    group = people("group", "member", attributes="NOLOGIN")
    ann, bob, admin = people("ann", "member", member_of=[group]), people("bob", "member"), people("adm", "admin")
    viewer, other = people("viewer", "viewer", member_of=[bob]), people("other", "viewer")
    db.run("CREATE TABLE items (id int)")
    for person in (ann, bob):
        person.run("SELECT webhook_create('mine', %s, events => '{tick}')", receiver.url("/"))
    ann.run(f"SET ROLE {group.role}")
    ann.run("SELECT webhook_create('ours', %s, events => '{tick}')", receiver.url("/"))
    ann.run("RESET ROLE")
    for person in (ann, bob):
        person.run("SELECT webhook_pause(name) FROM webhook.webhooks")
        person.run("SELECT webhook_emit('tick', '1') FROM generate_series(1, 3)")
    assert ann.job("webhook_cancel_all()") == 6
    assert bob.value("SELECT count(*) FILTER (WHERE status = 'pending') FROM webhook.deliveries") == 3
    assert bob.rows("SELECT * FROM webhook.jobs") == []
    assert ann.rows("SELECT webhook, asked_by, done FROM webhook.jobs") == [(None, ann.role, 6)]
    mine = bob.value("SELECT webhook_cancel_all('mine', status => 'dead')")
    assert bob.value("SELECT webhook_wait(%s)", mine) == 0
    assert viewer.rows("SELECT id, webhook, asked_by FROM webhook.jobs") == [(mine, "mine", bob.role)]
    assert other.rows("SELECT * FROM webhook.jobs") == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        other.run("SELECT webhook_cancel_job(%s)", mine)
    assert admin.job("webhook_cancel_all()") == 3
    assert admin.value("SELECT count(*) FROM webhook.jobs") == 3
    assert admin.value("SELECT webhook_wait(%s)", mine) == 0


def test_what_comes_later_and_what_was_open_is_not_covered(items, receiver):
    """Of an open transaction, of the caller's own after the call, of one that begins later: all of it is sent."""
    paused(items, receiver, 1)
    with items.connect() as late, items.connect() as caller:
        with caller.transaction():
            late.execute("BEGIN")
            late.execute("INSERT INTO items VALUES (2)")
            caller.execute("INSERT INTO items VALUES (3)")
            [job] = caller.execute("SELECT webhook_cancel_all('hook')").fetchone()
            caller.execute("INSERT INTO items VALUES (4)")
            insert(items, 5, 5)
        late.execute("COMMIT")
    assert items.value("SELECT webhook_wait(%s)", job) == 2
    items.run("SELECT webhook_resume('hook')")
    items.wait_for_status(3)
    assert sent(receiver) == [2, 4, 5]


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
@pytest.mark.parametrize("job", ["webhook_cancel_all('hook')", "webhook_erase('hook')"])
def test_all_that_its_own_caller_has_written_is_covered(items, receiver, level, job):
    """However much that is: more than is read at once."""
    items.create("hook", receiver.url("/"), table_name="items")
    with items.connect() as caller:
        caller.execute(f"BEGIN ISOLATION LEVEL {level}")
        caller.execute("SELECT 1")
        caller.execute("INSERT INTO items SELECT generate_series(1, 5000)")
        # Longer than pg_webhook.poll_interval, so that the worker has looked since. Nothing shows that it has.
        time.sleep(6)
        [number] = caller.execute(f"SELECT {job}").fetchone()
        caller.execute("COMMIT")
    assert items.value("SELECT webhook_wait(%s)", number) == 5000
    insert(items, 6000, 6000)
    receiver.wait(1)
    assert sent(receiver) == [6000]
    assert items.statuses() == {"cancelled": 5000, "delivered": 1}


def test_a_replay_counts_what_is_beside_a_test(items, receiver):
    """A page ends where its bodies become too many, not behind what has none."""
    items.run("CREATE TABLE large (id int, body text)")
    items.create("hook", receiver.url("/"), table_name="large")
    # Which do not compress.
    body = "(SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 15000) AS n)"
    items.run(f"INSERT INTO large SELECT i, {body} FROM generate_series(1, 6) AS i")
    items.wait_for_status(6)
    items.run("SELECT webhook_test('hook')")
    assert items.job("webhook_replay_all('hook', status => 'delivered')") == 6
    receiver.wait(13)


def test_a_caller_that_stays_open_stops_nobody(items, receiver, make_receiver):
    """Until it commits nothing is cancelled, and nobody waits for it; where it rolls back there is no job."""
    receiver.default(reply(500))
    other = make_receiver()
    items.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    items.create("other", other.url("/"), table_name="items")
    insert(items, 1, 1)
    items.wait_for_status(1, "retrying")
    with items.connect() as caller, caller.transaction(force_rollback=True):
        caller.execute("SELECT webhook_cancel_all('hook')")
        attempts = len(receiver.got())
        receiver.wait(attempts + 1)
        insert(items, 2, 10)
        items.wait_for_status(10, webhook="other")
        assert items.value("SELECT count(*) FROM webhook.jobs") == 0
        assert items.job("webhook_cancel_all('other')") == 0
    assert "cancelled" not in items.statuses()
    assert items.value("SELECT last_error FROM webhook.worker") is None


def test_a_delivery_that_somebody_cancels_at_the_same_time_stops_nobody(items, receiver):
    paused(items, receiver, 3)
    one = items.value("SELECT min(id) FROM webhook.deliveries")
    with items.connect() as other, other.transaction():
        other.execute("SELECT webhook_cancel(%s)", [one])
        assert items.job("webhook_cancel_all('hook')") == 3
    assert items.statuses() == {"cancelled": 3}
    wait_until(lambda: items.judge.value("SELECT bool_and(settled) FROM webhook.closed"), "the worker to settle")
    assert items.statuses() == {"cancelled": 3}


def test_a_job_is_stopped_and_what_it_has_not_come_to_is_sent(items, receiver):
    """Of those that it has kept from being sent as well."""
    paused(items, receiver, 3000)
    with items.connect(user="postgres") as session:
        with session.transaction():
            # The worker comes to nothing as long as this lasts.
            session.execute("LOCK TABLE webhook.pending IN SHARE MODE")
            job = items.value("SELECT webhook_cancel_all('hook')")
            items.run("SELECT webhook_resume('hook')")
            time.sleep(0.5)
            assert items.value(STATE, job) == "waiting"
            assert not receiver.got()
            assert items.value("SELECT webhook_cancel_job(%s)", job) is True
            assert items.value("SELECT webhook_cancel_job(%s)", job) is False
            done = items.value("SELECT webhook_wait(%s)", job)
            assert items.value(STATE, job) == "stopped"
    assert done == 0
    items.wait_for_status(3000)


def test_a_job_goes_on_after_a_crash(own_cluster, make_db, receiver):
    """Again and again in the middle of it."""
    server = own_cluster()
    db = make_db(server, "crashes").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    count = 40_000
    paused(db, receiver, count)
    job = db.value("SELECT webhook_cancel_all('hook')")
    crash_in_the_middle(db)
    db.run("SELECT webhook_resume('hook')")
    assert db.value("SELECT webhook_wait(%s)", job) == count
    assert db.statuses() == {"cancelled": count}
    assert not receiver.got()


def test_others_go_on_beside_a_job(items, receiver, make_receiver):
    """While two hundred thousand are cancelled no event of another webhook waits for seconds. How long they wait is a row of the bench."""
    other = make_receiver()
    items.run("CREATE TABLE others (id int)")
    items.create("other", other.url("/"), table_name="others")
    paused(items, receiver, 200_000)
    job = items.value("SELECT webhook_cancel_all('hook')")
    took = []
    while items.value(STATE, job) != "done":
        before = len(other.got())
        began = time.perf_counter()
        items.run("INSERT INTO others VALUES (1)")
        other.wait(before + 1)
        took.append(time.perf_counter() - began)
    assert items.value("SELECT done FROM webhook.jobs") == 200_000
    assert len(took) > 10 and max(took) < 2, f"{len(took)} events, the slowest {max(took):.3f} s"


def test_a_deleted_webhook_and_a_dropped_role(items, receiver, people):
    """The job goes on, and who manages the webhook or all of them goes on seeing it."""
    bob = people("bob", "member")
    bob.run("SELECT webhook_create('bobs', %s, events => '{tick}')", receiver.url("/"))
    bob.run("SELECT webhook_pause('bobs')")
    bob.run("SELECT webhook_emit('tick', '1')")
    job = bob.value("SELECT webhook_cancel_all('bobs')")
    bob.run("SELECT webhook_delete('bobs')")
    assert items.judge.value("SELECT webhook_wait(%s)", job) <= 1
    assert bob.rows("SELECT webhook, state FROM webhook.jobs") == [("bobs", "done")]
    assert bob.value("SELECT status FROM webhook.deliveries") == "cancelled"


def test_unfinished_jobs_are_bounded(items, receiver):
    """Of one role."""
    paused(items, receiver, 10)
    with items.connect() as caller, caller.transaction(force_rollback=True):
        for _ in range(100):
            caller.execute("SELECT webhook_cancel_all('hook')")
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="limit of 100 unfinished jobs"):
            caller.execute("SELECT webhook_cancel_all('hook')")


def test_without_preload_a_job_says_that_it_waits(own_cluster, make_db):
    db = make_db(own_cluster(shared_preload_libraries="''"), "plain", extension=False)
    db.run("CREATE EXTENSION pg_webhook")
    notices = []
    db.connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    job = db.value("SELECT webhook_cancel_all()")
    assert notices[-1] == f"job {job} waits for a worker, and the library is not in shared_preload_libraries"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="shared_preload_libraries"):
        db.value("SELECT webhook_wait(%s)", job)
    assert db.value("SELECT webhook_cancel_job(%s)", job) is True
    assert db.value(STATE, job) == "stopping"


def test_a_wait_can_be_cancelled(items, receiver):
    """And a time limit ends it. Meanwhile the worker is kept from its work."""
    paused(items, receiver, 1)
    with items.connect(user="postgres") as session, session.transaction():
        session.execute("LOCK TABLE webhook.pending IN SHARE MODE")
        job = items.value("SELECT webhook_cancel_all('hook')")
        with items.connect() as waiter:
            waiter.execute("SET statement_timeout = '300ms'")
            with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
                waiter.execute("SELECT webhook_wait(%s)", [job])
            waiter.execute("SET statement_timeout = 0")
            timer = threading.Timer(0.3, waiter.cancel)
            timer.start()
            with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
                waiter.execute("SELECT webhook_wait(%s)", [job])
            timer.join()
    # In a transaction that keeps its snapshot as well.
    with items.connect() as waiter, waiter.transaction():
        waiter.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        waiter.execute("SELECT count(*) FROM webhook.jobs")
        assert waiter.execute("SELECT webhook_wait(%s)", [job]).fetchone() == (1,)


def test_large_bodies_are_cancelled_a_few_at_a_time(items, receiver):
    """More bytes than are written anew in one transaction."""
    items.run("CREATE TABLE large (id int, note text)")
    items.create("hook", receiver.url("/"), table_name="large")
    items.run("SELECT webhook_pause('hook')")
    # None that can be compressed.
    items.run(
        "INSERT INTO large SELECT i, (SELECT string_agg(md5(format('%s %s', i, n)), '') FROM generate_series(1, 30000) AS n)"
        " FROM generate_series(1, 20) AS i"
    )
    backlog(items, 20)
    before = items.judge.value("SELECT count(DISTINCT xmin::text) FROM webhook.pending")
    assert items.job("webhook_cancel_all('hook')") == 20
    assert items.statuses() == {"cancelled": 20}
    written = items.judge.value("SELECT count(DISTINCT xmin::text) FROM webhook.pending")
    assert written >= 5, f"{written} transactions, {before} before"


def test_jobs_that_have_ended_are_forgotten(own_cluster, make_db, receiver):
    """And what they have cancelled, with the log; of those that have ended at once only so many are kept."""
    server = own_cluster(pg_webhook__log_retention="60s")
    db = make_db(server, "forgets").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    paused(db, receiver, 5)
    first = db.job("webhook_cancel_all('hook')")
    assert first == 5
    db.judge.run(
        "INSERT INTO webhook.job (id, kind, webhooks, first, \"end\", seen, caller, role, place, result, ended_at)"
        " SELECT n, 'cancel', '{}', 0, 1, pg_current_snapshot(), pg_current_xact_id(), 10, 0, 'done', webhook.queue_time() - interval '1 hour'"
        " FROM generate_series(1, 1200) AS n"  # before the first one
    )
    assert db.job("webhook_cancel_all('hook')") == 0
    assert db.judge.value("SELECT count(*) FROM webhook.jobs") == 1000
    assert db.judge.value("SELECT count(*) FROM webhook.jobs WHERE done = 5") == 1
    older = "interval '2 days'"
    db.judge.run(f"UPDATE webhook.job SET ended_at = ended_at - {older}; UPDATE webhook.pending SET dead_at = dead_at - {older}")
    turn(db.judge.connection)
    assert db.judge.value("SELECT count(*) FROM webhook.jobs") == 0
    assert db.judge.value("SELECT count(*) FROM webhook.deliveries") == 5
    for _ in range(SLOTS):
        turn(db.judge.connection)
    wait_until(lambda: db.judge.value("SELECT count(*) FROM webhook.pending") == 0, "the cancelled to be forgotten")


def dead(items, receiver, count, **settings):
    """A webhook with so many dead letters, whose endpoint is well by now."""
    receiver.default(reply(422))
    items.create("hook", receiver.url("/"), table_name="items", max_retries=0, **settings)
    insert(items, 1, count)
    wait_until(lambda: items.value("SELECT count(*) FROM webhook.dead_letters WHERE webhook = 'hook'") == count, "dead letters")
    wait_until(lambda: items.value("SELECT sum(pending) FROM webhook.webhooks") == 0, "the others")
    receiver.default(reply(200))


def test_dead_letters_are_replayed_once(items, receiver):
    """With the same bytes and ids; not those that somebody has replayed or cancelled, nor those that the replay makes."""
    dead(items, receiver, 6)
    first = {request.id: request.body for request in receiver.got()}
    ids = [row[0] for row in items.rows("SELECT id FROM webhook.deliveries ORDER BY id")]
    items.run("SELECT webhook_cancel(%s)", ids[0])
    items.run("SELECT webhook_replay(%s)", ids[1])
    items.wait_for_status(1)
    assert items.job("webhook_replay_all('hook')") == 4
    items.wait_for_status(5)
    assert items.job("webhook_replay_all()") == 0
    assert items.statuses() == {"cancelled": 1, "dead": 5, "delivered": 5}
    assert items.value("SELECT count(*) FROM webhook.dead_letters") == 0
    assert sent(receiver) == sorted([*range(1, 7), *range(2, 7)])
    again = receiver.got()[6:]
    assert len(again) == 5 and all(first[request.id] == request.body for request in again)
    assert items.job("webhook_replay_all('hook', status => 'cancelled')") == 1
    items.wait_for_status(6)


@pytest.mark.parametrize("level", ["all", "none"])
def test_what_has_been_delivered_is_replayed(own_cluster, make_db, receiver, level):
    """Of one webhook of two, whether it is in the log or not; tests are not."""
    server = own_cluster(pg_webhook__log_level=level)
    db = make_db(server, "delivered").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    for name in ("hook", "other"):
        db.create(name, receiver.url(f"/{name}"), table_name="items")
    insert(db, 1, 700)
    wait_until(lambda: len(receiver.got()) == 1400, "all of them")
    db.run("SELECT webhook_test('hook')")
    # A test is in the log, or nowhere.
    wait_until(lambda: db.statuses() in ({"delivered": 1401}, {"delivered": 1400}), lambda: f"the cursor: {db.statuses()}")
    assert db.job("webhook_replay_all('hook', status => 'delivered')") == 700
    assert db.job("webhook_replay_all('hook', status => 'delivered', until => '2021-01-01')") == 0
    wait_until(lambda: len(receiver.got("/hook")) == 1401, "them again")
    assert len(receiver.got("/other")) == 700


def test_a_replay_goes_on_after_a_crash_and_repeats_nothing(own_cluster, make_db, receiver):
    """Each is written once more, whether the server crashes before or after the commit."""
    server = own_cluster()
    db = make_db(server, "replays").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    count = 20_000
    dead(db, receiver, count)
    db.run("SELECT webhook_pause('hook')")
    job = db.value("SELECT webhook_replay_all('hook')")
    done = 0
    for _ in range(3):
        wait_until(lambda: db.value("SELECT done FROM webhook.jobs") > done, "progress", interval=0.001)
        db.close()
        server.crash()
        server.start()
        db.reconnect()
        with server.connect(db.name) as judge:
            both = "SELECT done, (SELECT count(*) FROM webhook.event WHERE event_id IS NOT NULL) FROM webhook.jobs"
            [(done, replays)] = judge.execute(both).fetchall()
        assert done == replays
    assert db.value("SELECT webhook_wait(%s)", job) == count
    with server.connect(db.name) as judge:
        replays = "SELECT count(DISTINCT event_id), count(*) FROM webhook.event WHERE event_id IS NOT NULL"
        assert judge.execute(replays).fetchone() == (count, count)
    assert db.statuses() == {"dead": count, "pending": count}


def test_a_replay_makes_nothing_dead(items, receiver):
    """It stops at half of what may wait, and goes on when there is room. What waited before is sent."""
    dead(items, receiver, 20)
    items.run("SELECT webhook_update('hook', max_backlog => 10, max_retries => 3)")
    items.run("SELECT webhook_pause('hook')")
    insert(items, 21, 23)
    backlog(items, 23)
    job = items.value("SELECT webhook_replay_all('hook')")
    wait_until(lambda: items.value("SELECT done FROM webhook.jobs") == 2, lambda: f"two, not {items.rows('SELECT * FROM webhook.jobs')}")
    time.sleep(5)
    assert items.rows("SELECT state, done FROM webhook.jobs") == [("running", 2)]
    assert items.statuses() == {"dead": 20, "pending": 5}
    items.run("SELECT webhook_resume('hook')")
    assert items.value("SELECT webhook_wait(%s)", job) == 20
    items.wait_for_status(23)
    assert items.value("SELECT shed FROM webhook.webhooks") == 0
    assert sent(receiver) == sorted([*range(1, 21)] * 2 + [21, 22, 23])


def test_a_dead_letter_that_somebody_replays_at_the_same_time_is_left_to_them(items, receiver):
    """And to whoever cancels one. Nobody waits for these."""
    dead(items, receiver, 300)
    ids = [row[0] for row in items.rows("SELECT id FROM webhook.deliveries ORDER BY id")]
    with items.connect() as other, other.transaction(force_rollback=True):
        other.execute("SELECT webhook_replay(%s)", [ids[3]])
        other.execute("SELECT webhook_cancel(%s)", [ids[290]])
        insert(items, 301, 301)
        items.wait_for_status(1)
        job = items.value("SELECT webhook_replay_all('hook')")
        assert items.value("SELECT webhook_wait(%s)", job) == 298
        assert items.value("SELECT last_error FROM webhook.worker") is None
    assert items.value("SELECT skipped FROM webhook.jobs") == 2
    assert items.job("webhook_replay_all('hook')") == 2
    items.wait_for_status(301)


def test_two_replays_at_once_replay_each_once(items, receiver):
    """Of all webhooks, and of one of them."""
    dead(items, receiver, 3000)
    jobs = items.rows("SELECT webhook_replay_all() UNION ALL SELECT webhook_replay_all('hook')")
    assert sum(items.value("SELECT webhook_wait(%s)", job) for (job,) in jobs) == 3000
    items.wait_for_status(3000)
    assert sent(receiver) == sorted([*range(1, 3001)] * 2)


def test_a_replay_for_a_webhook_that_is_deleted_meanwhile(items, receiver):
    """Its deliveries are left as they are, and the others go on."""
    items.create("other", receiver.url("/other"), table_name="items", max_retries=0)
    dead(items, receiver, 3)
    job_of = "SELECT id FROM webhook.jobs ORDER BY id DESC LIMIT 1"
    with items.connect(user="postgres") as session, session.transaction():
        session.execute("LOCK TABLE webhook.pending IN SHARE MODE")
        items.run("SELECT webhook_replay_all()")
        items.run("SELECT webhook_delete('hook')")
    assert items.value(f"SELECT webhook_wait(({job_of}))") == 3
    items.wait_for_status(3, webhook="other")
    assert len(receiver.got("/")) == 3


def test_a_copy_that_nobody_has_armed_replays_nothing(own_cluster, make_db, copy_of, receiver):
    """Neither what came along nor what is asked for there; once it is armed, jobs that came along are gone."""
    server = own_cluster(pg_webhook__server="'one'")
    db = make_db(server, "site").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    dead(db, receiver, 5)
    session = db.connect(user="postgres", autocommit=False)
    session.execute("LOCK TABLE webhook.pending IN SHARE MODE")
    db.run("SELECT webhook_replay_all('hook')")
    copy = copy_of(server, pg_webhook__server="'two'").start()
    db.close()
    server.crash()
    with copy.connect("site") as judge, copy.connect("site", user=db.owner) as owner:
        notices = []
        owner.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        [asked] = owner.execute("SELECT webhook_replay_all()").fetchone()
        assert notices == [f"job {asked} waits for a worker, and this database is a copy that nobody has armed"]
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="a copy that nobody has armed"):
            owner.execute("SELECT webhook_wait(%s)", [asked])
        time.sleep(3)
        assert judge.execute("SELECT count(*) FROM webhook.event WHERE event_id IS NOT NULL").fetchone() == (0,)
        assert judge.execute("SELECT webhook_arm()").fetchone() == (True,)
        assert owner.execute("SELECT id FROM webhook.jobs").fetchall() == [(asked,)]
        assert owner.execute("SELECT webhook_wait(%s)", [asked]).fetchone() == (0,)
    assert len(receiver.got()) == 5


ADA, BOB = "ada@example.com", "bob@example.com"

#: Where a person's address may be. Of the private tables all columns.
PRIVATE = [*(f"webhook.event_{slot}" for slot in range(8)), *(f"webhook.attempt_{slot}" for slot in range(8)), "webhook.pending",
           "webhook.job", "webhook.job_path"]


def traces(judge, text):
    """The tables that know of it."""
    found = "SELECT count(*) FROM {} AS t WHERE t::text LIKE '%%' || %s || '%%'"
    return {table for table in PRIVATE if judge.value(found.format(table), text)}


@pytest.fixture
def mails(db, receiver):
    """Of each of two people one that was delivered, one that is dead, one that is retried and one that waits, each answered with its body."""

    async def echo(connection):
        address = json.loads(connection.request.body)["record"]["email"].encode()
        number = json.loads(connection.request.body)["record"]["id"]
        return await reply({1: 200, 2: 422, 3: 500}[number % 10], b"no such person: " + address)(connection)

    db.hand_over()
    db.run("CREATE TABLE mails (id int, email text)")
    receiver.default(echo)
    db.create("hook", receiver.url("/"), table_name="mails", max_retries=0)
    for number in (1, 2):
        db.run("INSERT INTO mails VALUES (%s, %s), (%s, %s)", number, ADA, number + 10, BOB)
    db.wait_for_status(2, "dead")
    db.run("SELECT webhook_update('hook', max_retries => 5, retry_backoff_seconds => 3600)")
    db.run("INSERT INTO mails VALUES (3, %s), (13, %s)", ADA, BOB)
    db.wait_for_status(2, "retrying")
    db.run("SELECT webhook_pause('hook')")
    db.run("INSERT INTO mails VALUES (4, %s), (14, %s)", ADA, BOB)
    backlog(db, 6)
    return db


EVERYTHING = {"delivered": 2, "dead": 2, "retrying": 2, "pending": 2}


@pytest.mark.parametrize("path", ['$.record.email ? (@ == "ada@example.com")', '$.record.email starts with "ada"'])
def test_a_person_is_erased_everywhere(mails, path):
    """As a filter finds it, or as a predicate says. What waits is cancelled, and nothing of the other one is touched."""
    assert mails.statuses() == EVERYTHING
    bob = "SELECT d FROM webhook.deliveries AS d WHERE payload::jsonb->'record'->>'email' = %s ORDER BY id"
    before = mails.rows(bob, BOB)
    job = mails.value("SELECT webhook_erase('hook', path => %s::jsonpath)", path)
    assert mails.value("SELECT webhook_wait(%s)", job) == 4
    assert traces(mails.judge, ADA) == set()
    assert mails.rows(bob, BOB) == before and len(before) == 4
    erased = "SELECT status, payload, payload_json::text, response_body, error FROM webhook.{} WHERE payload IS NULL ORDER BY id"
    assert mails.rows(erased.format("deliveries")) == [
        ("delivered", None, None, None, None), *[("cancelled", None, None, None, None)] * 3]
    assert mails.rows(erased.format("deliveries")) == mails.rows(
        "SELECT status, payload, payload_json::text, response_body, error FROM webhook_log() WHERE payload IS NULL ORDER BY id")
    assert mails.value("SELECT count(*) FROM webhook.attempts WHERE response_body IS NULL AND error IS NULL") == 3
    assert mails.value("SELECT count(*) FROM webhook.attempts") == 6
    assert mails.value("SELECT count(*) FROM webhook.dead_letters") == 1
    for (number,) in mails.rows("SELECT id FROM webhook.deliveries WHERE payload IS NULL"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no longer kept"):
            mails.run("SELECT webhook_replay(%s)", number)
    assert mails.job("webhook_erase('hook', path => %s::jsonpath)", path) == 0
    assert mails.job("webhook_replay_all('hook', status => 'cancelled')") == 0
    assert mails.value("SELECT count(*) FROM webhook.jobs WHERE path IS NOT NULL") == 0


def test_what_an_erasure_leaves_is_sent_afterwards(mails, receiver):
    """And not before: until the worker has looked into a body nobody knows whether it may be."""
    heard = len(receiver.got())
    receiver.default(reply(200))
    with mails.connect(user="postgres") as session, session.transaction():
        session.execute("LOCK TABLE webhook.pending IN SHARE MODE")
        job = mails.value("SELECT webhook_erase('hook', path => '$.record.email ? (@ == \"ada@example.com\")')")
        assert mails.value("SELECT path FROM webhook.jobs") == '$."record"."email"?(@ == "ada@example.com")'
        mails.run("SELECT webhook_resume('hook')")
        time.sleep(0.5)
    assert mails.value("SELECT webhook_wait(%s)", job) == 4
    mails.wait_for_status(3)
    assert {json.loads(request.body)["record"]["email"] for request in receiver.got()[heard:]} == {BOB}


def test_all_of_a_time_is_erased_and_of_a_deleted_webhook(mails, receiver, people):
    """Without a path, and of nobody else's."""
    mails.create("other", receiver.url("/other"), events=["tick"])
    mails.run("SELECT webhook_pause('other')")
    mails.run("SELECT webhook_emit('tick', '1')")
    uuid = mails.value("SELECT id FROM webhook.webhooks WHERE name = 'hook'")
    middle = mails.value("SELECT min(created_at) FROM webhook.deliveries WHERE status = 'retrying'")
    assert mails.job("webhook_erase('hook', until => %s)", middle) in (3, 4)
    mails.run("SELECT webhook_delete('hook')")
    bob = people("bob", "member")
    with pytest.raises(psycopg.errors.UndefinedObject):
        bob.run("SELECT webhook_erase(%s)", str(uuid))
    assert bob.job("webhook_erase(NULL)") == 0
    assert mails.job("webhook_erase(%s)", str(uuid)) in (4, 5)
    assert traces(mails.judge, "example.com") == set()
    assert mails.rows("SELECT webhook, payload IS NULL FROM webhook.deliveries WHERE webhook = 'other'") == [("other", False)]
    assert mails.job("webhook_erase(NULL)") == 1
    assert mails.rows("SELECT DISTINCT payload FROM webhook.deliveries") == [(None,)]


def test_a_path_that_does_not_do(mails, cluster):
    """One that does not parse is the caller's; one that takes for ever fails, while others go on; what cannot be read is left and told."""
    with pytest.raises(psycopg.errors.SyntaxError):
        mails.run("SELECT webhook_erase('hook', path => '$.record ? (')")
    deep = "$" + ".**" * 12
    mails.run("CREATE TABLE nested (body jsonb)")
    mails.run("SELECT webhook_watch('hook', 'nested')")
    mails.run("INSERT INTO nested SELECT (repeat('[', 30) || repeat(']', 30))::jsonb")
    job = mails.value("SELECT webhook_erase('hook', path => %s::jsonpath)", deep)
    with mails.connect() as waiter:
        waiter.execute("SET statement_timeout = '90s'")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="takes longer than 300 ms"):
            waiter.execute("SELECT webhook_wait(%s)", [job])
    assert mails.value(STATE, job) == "failed"
    assert mails.value("SELECT last_error FROM webhook.worker") is None
    missing = mails.value("SELECT webhook_erase('hook', path => '$.record ? (@.id == $none)')")
    mails.run("SELECT webhook_cancel_job(%s)", missing)


def test_an_erasure_goes_on_after_a_crash(own_cluster, make_db, receiver):
    server = own_cluster()
    db = make_db(server, "erases").hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    count = 5_000
    db.create("hook", receiver.url("/"), table_name="items")
    insert(db, 1, count)
    db.wait_for_status(count)
    db.run("SELECT webhook_pause('hook')")
    insert(db, count + 1, 2 * count)
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.webhooks WHERE pending = %s", count), "the backlog")
    job = db.value("SELECT webhook_erase('hook')")
    crash_in_the_middle(db)
    assert db.value("SELECT webhook_wait(%s)", job) >= 2 * count
    assert db.statuses() == {"delivered": count, "cancelled": count}
    with server.connect(db.name) as judge:
        for table in ("event", "pending"):
            assert judge.execute(f"SELECT count(*) FROM webhook.{table} WHERE payload <> ''").fetchone() == (0,)
        assert judge.execute("SELECT count(*), count(DISTINCT id) FROM webhook.event").fetchone() == (2 * count, 2 * count)
        assert judge.execute("SELECT count(*), count(response_body) FROM webhook.attempt").fetchone() == (count, 0)


def test_an_answer_that_comes_later_is_erased_as_well(items, receiver):
    """The job waits for the request that is under way; new events do not wait for the job."""
    answered = threading.Event()
    receiver.on("/", reply(200), once(answered, reply(500, b"no such person: 2")), reply(200))
    items.create("hook", receiver.url("/"), table_name="items", **LATER)
    insert(items, 1, 1)
    items.wait_for_status(1)
    insert(items, 2, 2)
    receiver.wait(2)
    job = items.value("SELECT webhook_erase('hook')")
    insert(items, 3, 3)
    items.wait_for_status(2)
    assert items.value(STATE, job) == "waiting"
    answered.set()
    assert items.value("SELECT webhook_wait(%s)", job) == 2
    assert items.rows("SELECT status, payload IS NULL, response_body, error FROM webhook.deliveries ORDER BY id") == [
        ("delivered", True, None, None), ("cancelled", True, None, None), ("delivered", False, "ok", None)]
    assert items.rows("SELECT status_code, response_body, error FROM webhook.attempts ORDER BY delivery_id") == [
        (200, None, None), (500, None, None), (200, "ok", None)]
