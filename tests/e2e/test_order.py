"""Delivery in order: what waits for what, and what becomes of those behind one that is not delivered."""

import json
import threading
import time

import psycopg
import pytest

from harness import wait_until
from harness.receiver import reply

#: After a failure nothing is tried again while a test looks.
LATER = {"retry_backoff_seconds": 3600}
SOON = {"retry_backoff_seconds": 1}


@pytest.fixture
def items(db):
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, n int, customer text)")
    return db


def create(db, receiver, ordering="key", **settings):
    return db.create("hook", receiver.url("/"), ordering=ordering, **{"table_name": "items", **settings})


def numbers(receiver, path="/"):
    """The n of each event, in the order in which requests have come."""
    bodies = [json.loads(request.body) for request in receiver.got(path)]
    return [body["record"]["n"] if body.get("record") else body["event"] for body in bodies]


def write(db, n, id=1, customer=None):
    db.run(
        "INSERT INTO items VALUES (%s, %s, %s) ON CONFLICT (id)"
        " DO UPDATE SET n = excluded.n, customer = coalesce(excluded.customer, items.customer)",
        id, n, customer,
    )


def of(db, n):
    """The delivery of the event with this n."""
    return db.value("SELECT id FROM webhook.deliveries WHERE (payload_json -> 'record' ->> 'n')::int = %s ORDER BY id LIMIT 1", n)


def status(db, n):
    return db.value("SELECT status FROM webhook.deliveries WHERE id = %s", of(db, n))


def hold(db, receiver):
    """The first is a dead letter, and the second is held behind it; from then on the receiver takes everything."""
    receiver.on("/", reply(500), reply(200))
    write(db, 1)
    db.wait_for_status(1, "dead")
    write(db, 2)
    db.wait_for_status(1, "held")


def quiet(receiver, count, seconds=1.0):
    """There are so many requests, and no more come."""
    receiver.wait(count)
    time.sleep(seconds)
    assert len(receiver.got()) == count, numbers(receiver)


def nothing_left(db):
    wait_until(lambda: not db.judge.value("SELECT count(*) FROM webhook.place"), "no places to be left")
    db.counts_agree()


def test_changes_of_a_row_go_one_after_the_other_and_other_rows_beside_them(items, receiver):
    create(items, receiver)
    receiver.hold()
    for n in (1, 2, 3):
        write(items, n)
    write(items, 4, id=2)
    quiet(receiver, 2)
    assert sorted(numbers(receiver)) == [1, 4]
    assert items.statuses() == {"pending": 4}
    receiver.release()
    items.wait_for_status(4)
    assert [n for n in numbers(receiver) if n < 4] == [1, 2, 3]
    nothing_left(items)


def test_without_an_order_they_go_at_once(items, receiver):
    create(items, receiver, ordering="none")
    receiver.hold()
    for n in (1, 2, 3):
        write(items, n)
    receiver.wait(3)
    receiver.release()
    items.wait_for_status(3)
    assert not items.judge.value("SELECT count(*) FROM webhook.event WHERE keys IS NOT NULL")


def test_all_of_a_webhook_can_have_one_order(items, receiver):
    create(items, receiver, ordering="webhook")
    receiver.hold()
    for n in (1, 2, 3):
        write(items, n, id=n)
    quiet(receiver, 1)
    receiver.release()
    items.wait_for_status(3)
    assert numbers(receiver) == [1, 2, 3]


def test_a_retry_comes_before_what_is_behind_it(items, receiver):
    create(items, receiver, **SOON)
    receiver.on("/", reply(500), reply(500), reply(200))
    write(items, 1)
    write(items, 2)
    items.wait_for_status(2)
    assert numbers(receiver) == [1, 1, 1, 2]


def test_block_is_tried_for_as_long_as_it_takes(items, receiver):
    create(items, receiver, on_failure="block", max_retries=0, retry_for="0", **SOON)
    receiver.on("/", reply(500), reply(500), reply(500), reply(200))
    write(items, 1)
    write(items, 2)
    items.wait_for_status(2)
    assert numbers(receiver) == [1, 1, 1, 1, 2]


def test_those_behind_a_dead_letter_are_held_until_it_is_replayed(items, receiver, make_receiver):
    hearer = make_receiver()
    items.create("hearer", hearer.url("/"), events=["pg_webhook.key.held"])
    create(items, receiver, max_retries=0)
    receiver.on("/", reply(500), reply(200))
    write(items, 1)
    items.wait_for_status(1, "dead", webhook="hook")
    write(items, 2)
    write(items, 3)
    write(items, 4, id=2)
    items.wait_for_status(1, "delivered", webhook="hook")
    quiet(receiver, 2)
    webhook = items.rows("SELECT pending, failed, held FROM webhook.stats WHERE webhook = 'hook'")[0]
    assert webhook == (0, 1, 2) and items.rows("SELECT pending, held FROM webhook.webhooks WHERE name = 'hook'")[0] == (0, 2)
    held = items.rows("SELECT id FROM webhook_log('hook', status => 'held')")
    assert [row[0] for row in held] == [of(items, 3), of(items, 2)]
    assert items.value("SELECT count(next_attempt_at) FROM webhook.deliveries WHERE status = 'held'") == 0
    [(severity, problem)] = items.rows("SELECT severity, problem FROM webhook_check('hook') WHERE problem LIKE '%hold up%'")
    assert severity == "warning"
    assert problem == f"dead letters hold up 2 others of their keys; the oldest of them is {of(items, 1)}"
    assert problem in items.value("SELECT health_reason FROM webhook.webhooks WHERE name = 'hook'")
    assert ("waits", problem) in items.rows("SELECT verdict, problem FROM webhook_why('hook', 'INSERT', '{\"id\": 1}')")
    told = json.loads(hearer.wait(1)[0].body)
    dead = of(items, 1)
    assert told["data"]["delivery_id"] == dead and told["data"]["webhook"] == "hook"
    assert items.value("SELECT webhook_replay(%s)", dead) == dead
    items.wait_for_status(4, "delivered", webhook="hook")
    assert numbers(receiver) == [1, 4, 1, 2, 3]
    first, second = (r for r in receiver.got() if json.loads(r.body)["record"]["n"] == 1)
    assert first.id == second.id and first.body == second.body
    assert not items.rows("SELECT FROM webhook_check('hook') WHERE problem LIKE '%hold up%'")
    nothing_left(items)


def test_dead_letters_end_unless_others_are_behind_them(items, receiver):
    receiver.default(reply(500))
    create(items, receiver, max_retries=0, dead_letter_retention="1 hour")
    for row in (1, 2, 3):
        write(items, row, id=row)
    items.wait_for_status(3, "dead")
    write(items, 4, id=2)
    items.wait_for_status(1, "held")
    items.judge.run("TRUNCATE webhook.event")
    items.judge.run("UPDATE webhook.pending SET dead_at = dead_at - interval '61 minutes' WHERE stage = 2")

    def left():
        items.run("SELECT webhook_update('hook', description => 'awake')")
        return items.statuses() == {"dead": 1, "held": 1}

    wait_until(left, "those that nothing waits for to end", interval=0.2)
    assert status(items, 2) == "dead"
    assert items.judge.value("SELECT count(*) FROM webhook.place") == 2
    # What has ended holds nothing.
    receiver.default(reply(200))
    write(items, 5, id=1)
    items.wait_for_status(1, "delivered")


def test_a_dead_letter_that_is_cancelled_lets_those_behind_it_go(items, receiver):
    create(items, receiver, max_retries=0)
    hold(items, receiver)
    assert items.value("SELECT webhook_cancel(%s)", of(items, 1))
    items.wait_for_status(1, "delivered")
    assert numbers(receiver) == [1, 2] and status(items, 1) == "cancelled"
    nothing_left(items)


def test_one_that_waits_for_a_retry_and_one_that_is_held_can_be_cancelled(items, receiver):
    create(items, receiver, **LATER)
    receiver.on("/", reply(500), reply(200))
    for n in (1, 2, 3):
        write(items, n)
    items.wait_for_status(1, "retrying")
    items.wait_for_status(2, "held")
    assert items.value("SELECT webhook_cancel(%s)", of(items, 2))
    items.wait_for_status(1, "cancelled")
    assert items.value("SELECT webhook_cancel(%s)", of(items, 1))
    items.wait_for_status(1, "delivered")
    assert numbers(receiver) == [1, 3]
    nothing_left(items)


def test_one_that_is_cancelled_under_way_keeps_the_next_one_until_it_is_back(items, receiver):
    create(items, receiver)
    receiver.hold()
    write(items, 1)
    write(items, 2)
    receiver.wait(1)
    assert items.value("SELECT webhook_cancel(%s)", of(items, 1))
    quiet(receiver, 1)
    receiver.release()
    wait_until(lambda: numbers(receiver) == [1, 2], lambda: numbers(receiver))
    nothing_left(items)


def test_skip_goes_on(items, receiver):
    create(items, receiver, on_failure="skip", max_retries=0)
    receiver.on("/", reply(500), reply(200))
    write(items, 1)
    write(items, 2)
    items.wait_for_status(1, "delivered")
    assert numbers(receiver) == [1, 2] and status(items, 1) == "dead"
    # Its replay is a new one, at the end.
    assert items.value("SELECT webhook_replay(%s)", of(items, 1)) != of(items, 1)
    items.wait_for_status(2, "delivered")
    nothing_left(items)


def test_hold_that_becomes_skip_lets_go_what_is_held(items, receiver):
    create(items, receiver, max_retries=0)
    hold(items, receiver)
    items.run("SELECT webhook_update('hook', on_failure => 'skip')")
    items.wait_for_status(1, "delivered")


def test_an_update_of_the_key_stands_in_the_order_of_both(items, receiver):
    create(items, receiver, order_key=["customer"])
    receiver.hold()
    write(items, 1, id=1, customer="a")
    write(items, 2, id=1, customer="b")
    write(items, 3, id=2, customer="b")
    write(items, 4, id=3, customer="c")
    quiet(receiver, 2)
    assert sorted(numbers(receiver)) == [1, 4]
    receiver.release()
    items.wait_for_status(4)
    assert [n for n in numbers(receiver) if n < 4] == [1, 2, 3]
    nothing_left(items)


def test_truncate_waits_for_all_and_all_wait_for_it(items, receiver):
    create(items, receiver, events=["INSERT", "TRUNCATE"])
    receiver.hold()
    write(items, 1, id=1)
    write(items, 2, id=2)
    items.run("TRUNCATE items")
    for n in (3, 4, 5):
        write(items, n, id=n)
    quiet(receiver, 2)
    receiver.release()
    items.wait_for_status(6)
    got = numbers(receiver)
    assert sorted(got[:2]) == [1, 2] and got[2] == "TRUNCATE" and sorted(got[3:]) == [3, 4, 5]
    nothing_left(items)


def test_the_key_is_that_of_a_table_unless_columns_are_named(items, receiver):
    items.run("CREATE TABLE others (id int PRIMARY KEY, n int, customer text)")
    create(items, receiver)
    items.run("SELECT webhook_watch('hook', 'others')")
    receiver.hold()
    write(items, 1)
    items.run("INSERT INTO others VALUES (1, 2, 'a')")
    receiver.wait(2)
    receiver.release()
    items.wait_for_status(2)
    items.run("SELECT webhook_update('hook', order_key => '{customer}')")
    receiver.hold()
    write(items, 3, id=3, customer="b")
    items.run("INSERT INTO others VALUES (4, 4, 'b')")
    quiet(receiver, 3)
    receiver.release()
    items.wait_for_status(4)
    assert numbers(receiver)[2:] == [3, 4]


def test_emitted_events_are_ordered_by_the_key_that_they_are_given(items, receiver):
    items.create("hook", receiver.url("/"), events=["tick"], ordering="key")
    receiver.hold()
    for key, n in (("a", 1), ("a", 2), ("b", 3), (None, 4), (None, 5)):
        items.run("SELECT webhook_emit('tick', jsonb_build_object('n', %s::int), %s)", n, key)
    data = lambda: [json.loads(request.body)["data"]["n"] for request in receiver.got()]
    receiver.wait(4)
    time.sleep(1)
    assert sorted(data()) == [1, 3, 4, 5]
    receiver.release()
    items.wait_for_status(5)
    assert data()[-1] == 2


def test_a_row_that_is_invoked_stands_in_its_order(items, receiver):
    create(items, receiver)
    receiver.hold()
    write(items, 1)
    items.run("SELECT webhook_invoke('hook', i) FROM items AS i")
    quiet(receiver, 1)
    receiver.release()
    items.wait_for_status(2)


def test_the_order_of_a_row_is_that_of_commits(items, receiver):
    create(items, receiver)
    write(items, 0)
    items.wait_for_status(1)
    receiver.hold()
    with items.connect(autocommit=False) as first:
        # It has the smaller transaction number, and changes the row later.
        first.execute("INSERT INTO items VALUES (2, 100)")
        write(items, 1)
        first.execute("UPDATE items SET n = 2 WHERE id = 1")
        first.commit()
    quiet(receiver, 3)
    receiver.release()
    items.wait_for_status(4)
    assert [n for n in numbers(receiver) if n < 100] == [0, 1, 2]


def test_what_waits_for_an_endpoint_keeps_its_order(items, receiver):
    create(items, receiver, **SOON)
    receiver.down()
    for n in range(100):
        write(items, n, id=n % 5)
    wait_until(lambda: items.statuses().get("held", 0) >= 80, items.statuses)
    items.run("SELECT webhook_pause('hook')")
    receiver.up()
    items.judge.run("SELECT pg_terminate_backend(pid) FROM webhook.worker")
    for n in range(100, 120):
        write(items, n, id=n % 5)
    time.sleep(0.5)
    items.run("SELECT webhook_resume('hook')")
    items.wait_for_status(120)
    for row in range(5):
        of_row = [n for n in numbers(receiver) if n % 5 == row]
        assert of_row == sorted(of_row), of_row
    nothing_left(items)


def test_a_replay_of_what_has_been_delivered_comes_at_the_end(items, receiver):
    create(items, receiver)
    write(items, 1)
    items.wait_for_status(1)
    receiver.hold()
    write(items, 2)
    receiver.wait(2)
    again = items.value("SELECT webhook_replay(%s)", of(items, 1))
    assert again != of(items, 1)
    quiet(receiver, 2)
    receiver.release()
    items.wait_for_status(3)
    assert numbers(receiver) == [1, 2, 1]
    assert [request.headers.get("webhook-replay") for request in receiver.got()] == [None, None, "1"]
    assert receiver.got()[0].id == receiver.got()[2].id


def test_jobs_keep_the_order(items, receiver):
    create(items, receiver, max_retries=0)
    receiver.default(reply(500))
    for n in range(1, 9):
        write(items, n, id=n % 2)
    items.wait_for_status(2, "dead")
    items.wait_for_status(6, "held")
    receiver.default(reply(200))
    assert items.job("webhook_replay_all('hook', status => 'dead')") == 2
    items.wait_for_status(8, "delivered")
    for row in (0, 1):
        of_row = [n for n in numbers(receiver) if n % 2 == row]
        assert of_row == sorted(of_row)
    receiver.default(reply(500))
    for n in range(9, 13):
        write(items, n, id=1)
    items.wait_for_status(1, "dead")
    items.wait_for_status(3, "held")
    receiver.default(reply(200))
    assert items.job("webhook_cancel_all('hook', status => 'dead')") == 1
    items.wait_for_status(11, "delivered")
    receiver.default(reply(500))
    for n in range(13, 16):
        write(items, n, id=1)
    items.wait_for_status(1, "dead")
    items.wait_for_status(2, "held")
    assert items.job("webhook_cancel_all('hook')") == 3
    nothing_left(items)
    receiver.default(reply(200))
    write(items, 16)
    items.wait_for_status(12, "delivered")


def test_a_bound_takes_no_first_of_a_key(items, receiver):
    create(items, receiver, max_backlog=3, **LATER)
    receiver.default(reply(500))
    for n in range(1, 9):
        write(items, n)
    items.wait_for_status(1, "retrying")
    items.wait_for_status(4, "dead")
    assert status(items, 1) == "retrying" and status(items, 8) == "held"
    # What the bound has made dead holds as any dead letter does.
    receiver.default(reply(200))
    items.run("SELECT webhook_update('hook', max_backlog => 0, retry_backoff_seconds => 1)")
    assert items.value("SELECT webhook_cancel(%s)", of(items, 1))
    quiet(receiver, 1)
    assert items.job("webhook_replay_all('hook', status => 'dead')") == 4
    items.wait_for_status(7, "delivered")
    assert numbers(receiver)[1:] == [2, 3, 4, 5, 6, 7, 8]
    nothing_left(items)


FAILS_FOR_1 = """
    CREATE FUNCTION shape(body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN
        IF body -> 'record' ->> 'n' = '1' AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{0}_mended') THEN
            RAISE EXCEPTION 'no';
        END IF;
        RETURN body;
    END $$
"""


def test_what_a_transform_has_made_dead_holds_and_its_replay_takes_its_place(items, receiver):
    items.run(FAILS_FOR_1.format(items.name))
    create(items, receiver, on_failure="block", transform="shape(jsonb)")
    write(items, 1)
    write(items, 2)
    items.wait_for_status(1, "dead")
    items.wait_for_status(1, "held")
    quiet(receiver, 0)
    items.judge.run(f"CREATE ROLE {items.name}_mended")
    try:
        write(items, 3)
        items.wait_for_status(2, "held")
        items.run("SELECT webhook_replay(%s)", of(items, 1))
        items.wait_for_status(3, "delivered")
    finally:
        items.judge.run(f"DROP ROLE {items.name}_mended")
    assert numbers(receiver) == [1, 2, 3]
    nothing_left(items)


def test_a_replay_that_its_transform_drops_lets_those_behind_it_go(items, receiver):
    items.run("CREATE TABLE mood (drops bool); INSERT INTO mood VALUES (false)")
    items.run("""CREATE FUNCTION moody(e jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
        IF (e -> 'record' ->> 'n') <> '1' THEN RETURN e; END IF;
        IF (SELECT m.drops FROM public.mood AS m) THEN RETURN NULL; END IF;
        RAISE 'not yet'; END $$""")
    create(items, receiver, transform="moody(jsonb)")
    write(items, 1)
    write(items, 2)
    items.wait_for_status(1, "dead")
    items.wait_for_status(1, "held")
    items.run("UPDATE mood SET drops = true")
    assert items.value("SELECT webhook_replay(%s)", of(items, 1)) is None
    items.wait_for_status(1, "delivered")
    assert numbers(receiver) == [2]
    nothing_left(items)


def test_a_webhook_that_is_deleted_leaves_no_order(items, receiver):
    create(items, receiver, max_retries=0)
    receiver.default(reply(500))
    write(items, 1)
    write(items, 2)
    items.wait_for_status(1, "held")
    items.run("SELECT webhook_delete('hook')")
    assert items.statuses() == {"dead": 1, "cancelled": 1}


def test_what_waits_is_moved_with_its_order(items, receiver, make_db):
    items.judge.run("SELECT webhook_grant(%s, 'admin')", items.owner)
    create(items, receiver, max_retries=0, order_key=["customer"])
    receiver.default(reply(500))
    write(items, 1, id=1, customer="a")
    items.wait_for_status(1, "dead")
    write(items, 2, id=1, customer="b")
    write(items, 3, id=2, customer="b")
    items.wait_for_status(2, "held")
    uuid = items.value("SELECT id FROM webhook.webhooks")
    waiting = items.rows("SELECT b::text FROM webhook_backlog_export() AS b")
    kind = items.value("SELECT '{}'::bigint[] IS NOT NULL")
    assert kind and len(waiting) == 3
    other = make_db(items.cluster)
    other.run("CREATE TABLE items (id int PRIMARY KEY, n int, customer text)")
    create(other, receiver, max_retries=0, order_key=["customer"])
    other.run("UPDATE webhook.webhook SET uuid = %s", uuid)
    other.run("SELECT webhook_update('hook', description => 'moved')")
    rows = items.rows("SELECT to_jsonb(b) FROM webhook_backlog_export() AS b")
    for (row,) in rows:
        other.run(
            "SELECT webhook_backlog_import(r) FROM jsonb_populate_record(NULL::webhook.unfinished, %s) AS r", json.dumps(row),
        )
    other.wait_for_status(2, "held")
    receiver.default(reply(200))
    dead = of(other, 1)
    assert other.value("SELECT webhook_replay(%s)", dead) == dead
    # What is delivered of it is in no list, as there is no event of it.
    wait_until(lambda: numbers(receiver) == [1, 1, 2, 3], lambda: numbers(receiver))
    wait_until(lambda: not other.value("SELECT count(*) FROM webhook.pending"), "all to be delivered")
    other.drop()


@pytest.mark.parametrize("setting, value, code", [
    ("ordering", "row", "22023"), ("on_failure", "stop", "22023"), ("order_key", ["nothing"], "42703"),
])
def test_settings_that_are_refused(items, receiver, setting, value, code):
    with pytest.raises(psycopg.Error) as refused:
        items.create("hook", receiver.url("/"), table_name="items", **{"ordering": "key", setting: value})
    assert refused.value.sqlstate == code


def test_settings_go_back_and_forth(items, receiver):
    create(items, receiver, order_key=["customer"], on_failure="block")
    shown = "SELECT ordering, order_key, on_failure FROM webhook.webhooks"
    assert items.rows(shown) == [("key", ["customer"], "block")]
    document = items.value("SELECT webhook_export()")
    webhook = document["webhooks"]["hook"]
    assert (webhook["ordering"], webhook["order_key"], webhook["on_failure"]) == ("key", ["customer"], "block")
    assert {row[1] for row in items.rows("SELECT * FROM webhook_apply(%s)", json.dumps(document))} == {"unchanged"}
    with pytest.raises(psycopg.errors.UndefinedColumn):
        items.run("SELECT webhook_update('hook', order_key => '{nothing}')")
    items.run("CREATE TABLE others (id int PRIMARY KEY)")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        items.run("SELECT webhook_watch('hook', 'others')")
    items.run("SELECT webhook_update('hook', reset => '{ordering,order_key,on_failure}')")
    assert items.rows(shown) == [("none", None, "hold")]


def test_the_key_is_of_columns_that_its_owner_may_read(items, receiver):
    """What is held tells of values."""
    items.judge.run("CREATE TABLE theirs (id int PRIMARY KEY, salary int)")
    items.judge.run(f"GRANT TRIGGER, SELECT (id) ON theirs TO {items.owner}")
    settings = {"table_name": "theirs", "payload_columns": ["id"], "ordering": "key"}
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="every column of order_key"):
        items.create("hook", receiver.url("/"), order_key=["salary"], **settings)
    items.create("hook", receiver.url("/"), order_key=["id"], **settings)


def test_a_session_that_cancels_and_does_not_end_keeps_nobody_waiting(items, receiver):
    create(items, receiver, max_retries=0)
    items.run("CREATE TABLE others (id int PRIMARY KEY)")
    items.create("other", receiver.url("/other"), table_name="others")
    hold(items, receiver)
    dead = of(items, 1)
    with items.connect(autocommit=False) as one, items.connect(autocommit=False) as other:
        one.execute("SELECT webhook_replay(%s)", [dead])
        waiting = threading.Thread(target=other.execute, args=("SELECT webhook_cancel(%s)", [dead]))
        waiting.start()
        pid = other.info.backend_pid
        wait_until(lambda: items.judge.value("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", pid) == "Lock", "it to wait")
        one.commit()
        waiting.join()
        # It is idle in its transaction, and has the row.
        items.run("INSERT INTO others VALUES (1)")
        receiver.wait(1, "/other", timeout=10)
        other.commit()
    wait_until(lambda: not items.statuses().get("held"), items.statuses)


def test_a_key_that_has_no_text_fails_no_write(items, receiver):
    """130,000 digits of eight bytes: an array of these is more than a text can be."""
    items.run("CREATE TABLE large (id int PRIMARY KEY, n numeric[])")
    items.create("hook", receiver.url("/"), table_name="large", payload_columns=["id"], ordering="key", order_key=["n"])
    items.run("INSERT INTO large SELECT 1, array_fill('1e131071'::numeric, ARRAY[9000])")
    items.run("INSERT INTO large VALUES (2, '{1}')")
    items.wait_for_status(2, "delivered")
