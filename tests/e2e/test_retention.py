"""The ring turns over: what is finished is forgotten after its time, what is not is kept."""

import json

import pytest

from harness import wait_until
from harness.dumps import dump, feed
from harness.receiver import reply
from harness.ring import SLOTS, age, slot, turn


@pytest.fixture
def server(own_cluster):
    return own_cluster(pg_webhook__log_retention="60")


def prepare(server, make_db, receiver, **settings):
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", **settings)
    return db


def ids(db):
    return {json.loads(payload)["record"]["id"] for (payload,) in db.rows("SELECT payload FROM webhook.deliveries")}


def test_a_turn_forgets_the_oldest_and_keeps_the_rest(server, make_db, receiver):
    db = prepare(server, make_db, receiver)
    for i in range(SLOTS):
        db.run("INSERT INTO items VALUES (%s)", i)
        db.wait_for_status(i + 1)
        # The cursor must be past an event before its slot can be emptied.
        assert turn(db.connection) == (i + 1) % SLOTS
    assert ids(db) == set(range(1, SLOTS)), "the slot of the first one has been emptied"
    assert db.value("SELECT count(*) FROM webhook.attempts") == SLOTS - 1
    assert len(receiver.got()) == SLOTS


def test_the_log_of_a_database_at_rest_turns(server, make_db, receiver):
    db = prepare(server, make_db, receiver)
    db.run("INSERT INTO items VALUES (1)")
    db.wait_for_status(1)
    before = slot(db.connection)
    age(db.connection)
    # Nobody wakes the worker.
    wait_until(lambda: slot(db.connection) != before, "the ring to turn", interval=0.1)


def test_what_waits_outlives_its_slot(server, make_db, receiver):
    receiver.default(reply(500))
    db = prepare(server, make_db, receiver, max_retries=0)
    db.create("later", receiver.url("/later"), table_name="items", retry_backoff_seconds=36000)
    db.create("paused", receiver.url("/paused"), table_name="items")
    db.run("SELECT webhook_pause('paused')")
    db.run("INSERT INTO items VALUES (1)")
    expected = {"dead": 1, "retrying": 1, "pending": 1}
    wait_until(lambda: db.statuses() == expected, lambda: f"{expected}, not {db.statuses()}")
    before = db.rows("SELECT webhook, event_id, payload FROM webhook.deliveries ORDER BY webhook")
    for _ in range(SLOTS):
        turn(db.connection)
    assert db.value("SELECT count(*) FROM webhook.event") == 0
    assert db.statuses() == expected
    after = db.rows("SELECT webhook, event_id, payload FROM webhook.deliveries ORDER BY webhook")
    assert after == before

    receiver.default(reply(200))
    db.run("SELECT webhook_resume('paused')")
    [request] = [r for r in wait_until(lambda: receiver.got("/paused"), "the paused event")]
    assert request.body.decode() == before[2][2] and request.id == before[2][1]
    dead = db.value("SELECT id FROM webhook.deliveries WHERE status = 'dead'")
    db.run("SELECT webhook_replay(%s)", dead)
    replayed = wait_until(lambda: [r for r in receiver.got("/") if r.answered == 200], "the replay")
    assert (replayed[0].id, replayed[0].body.decode()) == before[0][1:]


def test_what_waited_for_a_deleted_webhook_is_cancelled_until_the_ring_forgets_it(server, make_db, receiver):
    """Also where that is longer than the retention."""
    db = prepare(server, make_db, receiver)
    db.create("gone", receiver.url("/"), table_name="items")
    db.run("SELECT webhook_pause('gone')")
    db.run("INSERT INTO items VALUES (1), (2), (3)")
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.pending") == 3, "the backlog")
    db.run("SELECT webhook_delete('gone')")
    db.run("UPDATE webhook.webhook SET deleted_at = deleted_at - interval '90 seconds' WHERE name = 'gone'")
    turn(db.connection)
    assert db.statuses() == {"delivered": 3, "cancelled": 3}
    db.run("UPDATE webhook.webhook SET deleted_at = deleted_at - interval '1 day' WHERE name = 'gone'")
    turn(db.connection)
    assert db.statuses() == {"delivered": 3, "cancelled": 3}, "nor is its name forgotten"
    for _ in range(SLOTS):
        turn(db.connection)
    assert db.value("SELECT count(*) FROM webhook.pending") == 0
    turn(db.connection)
    assert db.value("SELECT count(*) FROM webhook.webhook WHERE name = 'gone'") == 0


def test_an_open_transaction_keeps_its_slot(server, make_db, receiver):
    db = prepare(server, make_db, receiver)
    db.run("BEGIN; INSERT INTO items VALUES (3); PREPARE TRANSACTION 'kept'")
    with db.connect(autocommit=False) as writer:
        writer.execute("INSERT INTO items VALUES (1)")
        for _ in range(SLOTS - 1):
            turn(db.connection)
        assert slot(db.connection) == SLOTS - 1
        since = len(server.log_text())
        age(db.connection)
        # The log and webhook_check say who holds it up.
        told = "its oldest part is in use by prepared transaction 'kept' of "
        wait_for_reason(db, told)
        [problem] = problems(db, told)
        assert f", process {writer.info.backend_pid} of role postgres, in a transaction since" in problem
        assert len(server.log_lines(f"the log is not cut, and takes .*: {told}", since)) == 1
        db.run("INSERT INTO items VALUES (2)")
        db.wait_for_status(1)
        assert slot(db.connection) == SLOTS - 1, "its slot must not be emptied under it"
        writer.commit()
    db.wait_for_status(2)
    db.run("COMMIT PREPARED 'kept'")
    db.wait_for_status(3)
    assert {json.loads(r.body)["record"]["id"] for r in receiver.got()} == {1, 2, 3}
    wait_until(lambda: slot(db.connection) == 0, "the ring to turn at last")
    assert ids(db) == {2} and not problems(db, "the log")


def test_an_open_transaction_that_has_looked_keeps_the_log(server, make_db, receiver):
    db = prepare(server, make_db, receiver)
    with db.connect(autocommit=False) as reader:
        assert reader.execute("SELECT count(*) FROM webhook.deliveries").fetchone() == (0,)
        age(db.connection)
        told = f"its oldest part is in use by process {reader.info.backend_pid} of "
        wait_for_reason(db, told)
        assert slot(db.connection) == 0
    wait_until(lambda: slot(db.connection) == 1, "the ring to turn at last")


def test_what_else_keeps_the_log_from_being_cut_is_told(server, make_db, receiver):
    db = prepare(server, make_db, receiver)
    since = len(server.log_text())
    with db.connect(autocommit=False) as other:
        # What is forgotten with a slot is in here, too.
        other.execute("LOCK TABLE webhook.closed IN SHARE MODE")
        age(db.connection)
        told = "of its oldest part, canceling statement due to lock timeout"
        wait_for_reason(db, told)
        assert slot(db.connection) == 0
    wait_until(lambda: slot(db.connection) == 1, "the ring to turn at last")
    assert not problems(db, "the log")
    assert len(server.log_lines(f"the log is not cut, and takes .*: {told}", since)) == 1


def test_what_is_open_in_another_database_holds_up_nothing(server, make_db, receiver):
    db = prepare(server, make_db, receiver)
    other = make_db(server, extension=False)
    # Each keeps the server's oldest transaction where it is.
    other.run("BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'forgotten'")
    try:
        with other.connect(autocommit=False) as session:
            session.execute("SELECT pg_current_xact_id()")
            for i in range(SLOTS + 1):
                db.run("INSERT INTO items VALUES (%s)", i)
                wait_until(lambda: len(receiver.got()) > i, "the event")
                assert turn(db.connection) == (i + 1) % SLOTS
    finally:
        other.run("ROLLBACK PREPARED 'forgotten'")
    assert ids(db) == set(range(2, SLOTS + 1))


def wait_for_reason(db, text):
    """Why the ring does not turn, as it is written down. Whoever asks webhook_check uses the log and can be a reason."""
    reason = lambda: db.value("SELECT blocked FROM webhook.ring") or ""
    wait_until(lambda: text in reason(), lambda: f"the reason to be written down; it is {reason()!r}", interval=0.1)


def problems(db, text):
    """Of those that webhook_check shows, the ones with this text."""
    return [problem for (problem,) in db.judge.rows("SELECT problem FROM webhook_check()") if text in problem]


def begin_the_last(db):
    """Of the ring: the first, which has been written to, comes next, and it is time for it."""
    db.judge.run("UPDATE webhook.ring SET slot = 7, since = since - interval '8 days'")
    db.judge.run("SELECT webhook_update('hook', description => 'awake')")


def test_tests_keep_the_log_of_nothing_else(db, receiver):
    """The worker has nothing to read, and its cursor follows all the same."""
    db.create("hook", receiver.url("/"))
    db.run("SELECT * FROM webhook_test('hook')")
    begin_the_last(db)
    wait_until(lambda: slot(db.connection) == 0, "the ring to turn", interval=0.1)


def test_the_log_turns_while_nothing_is_sent(server, make_db, receiver):
    """Events go to the backlog, as for a webhook that is paused, and its bounds hold then."""
    db = prepare(server, make_db, receiver)
    db.create("few", receiver.url("/few"), table_name="items", max_backlog=100)
    server.reload(pg_webhook__enabled="off")
    wait_until(lambda: db.value("SHOW pg_webhook.enabled") == "off", "the setting")
    db.run("INSERT INTO items SELECT generate_series(1, 3000)")
    begin_the_last(db)
    assert db.statuses() == {"pending": 6000}
    wait_until(lambda: slot(db.connection) == 0, "the ring to turn", interval=0.1)

    def has_been_looked_at():
        db.run("SELECT webhook_update('few', description => 'awake')")
        return db.statuses() == {"pending": 3100, "dead": 2900}

    wait_until(has_been_looked_at, lambda: f"the bound to hold: {db.statuses()}", interval=0.1)
    assert not receiver.got()
    server.reload(pg_webhook__enabled="on")
    db.wait_for_status(0, "pending")
    sent = {path: {json.loads(r.body)["record"]["id"] for r in receiver.got(path)} for path in ("/", "/few")}
    assert sent == {"/": set(range(1, 3001)), "/few": set(range(2901, 3001))}


def test_the_log_of_a_restored_dump_that_nobody_has_armed_turns(server, make_db, copy, receiver):
    """What waits outlives its slot there as well, and is sent once it is armed."""
    origin = make_db(server).hand_over()
    origin.run("CREATE TABLE items (id int PRIMARY KEY)")
    secret = origin.create("hook", receiver.url("/"), table_name="items")["secret"]
    db = copy(server)
    feed(db, dump(origin))
    # It comes with no dump.
    db.run("SELECT webhook_update('hook', secret => %s)", secret)
    with server.connect(db.name, user=origin.owner) as owner:
        for i in range(SLOTS + 1):
            owner.execute("INSERT INTO items VALUES (%s)", [i])
            assert turn(db.connection) == (i + 1) % SLOTS
        assert owner.execute("SELECT health FROM webhook.webhooks").fetchone() == ("unarmed",)
    everything = set(range(SLOTS + 1))
    assert db.statuses() == {"pending": SLOTS + 1} and ids(db) == everything
    assert not receiver.got()
    db.run("SELECT webhook_arm()")
    receiver.wait(SLOTS + 1)
    db.settled()
    assert sorted(json.loads(r.body)["record"]["id"] for r in receiver.got()) == sorted(everything)


def test_the_log_turns_before_its_time_where_it_is_full(own_cluster, make_db, receiver):
    server = own_cluster(pg_webhook__log_max_size="16MB")
    db = make_db(server).hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    db.create("hook", receiver.url("/"), table_name="items")

    def write(first, last):
        # Bodies of some 350 kB, of which compression leaves more than half.
        db.run("INSERT INTO items SELECT n, string_agg(md5(random()::text), '')"
               " FROM generate_series(%s::int, %s::int) AS n, generate_series(1, 11000) GROUP BY n", first, last)

    write(1, 15)
    wait_until(lambda: slot(db.judge.connection) == 1, "the ring to turn")
    # One that is there and is not full stays.
    db.run("INSERT INTO items VALUES (16, 'small')")
    db.wait_for_status(16)
    assert {json.loads(r.body)["record"]["id"] for r in receiver.got()} == set(range(1, 17))
    assert slot(db.judge.connection) == 1
    # What is larger all the same is told.
    assert not problems(db, "log_max_size")
    db.judge.run("ALTER TABLE webhook.event_3 ALTER COLUMN payload SET STORAGE EXTERNAL")
    db.judge.run("INSERT INTO webhook.event_3 (xid, id, created_at, webhook, slot, event_type, payload)"
                 " SELECT '3', n, now(), 1, 3, 'x', repeat('x', 1000000) FROM generate_series(1, 22) AS n")
    [told] = problems(db, "pg_webhook.log_max_size is 16MB")
    assert told.startswith("the log takes 2")


def test_nothing_is_lost_while_the_ring_turns_under_load(server, make_db, receiver):
    db = prepare(server, make_db, receiver)
    last, turns = 0, 0
    while turns < SLOTS + 2:
        before = slot(db.connection)
        age(db.connection)

        def turned():
            nonlocal last
            db.run("INSERT INTO items SELECT generate_series(%s::int, %s::int)", last + 1, last + 50)
            last += 50
            return slot(db.connection) != before

        wait_until(turned, "the ring to turn")
        turns += 1
    everything = set(range(1, last + 1))

    def arrived():
        return {json.loads(r.body)["record"]["id"] for r in receiver.got() if r.answered == 200}

    wait_until(lambda: len(receiver.got()) >= last, "every event")
    assert arrived() == everything
    assert len(receiver.got()) == last
