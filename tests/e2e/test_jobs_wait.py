"""Jobs that cannot go on, or only slowly: they wait, say for what, and nobody else waits for them."""

import pathlib
import time

import pytest

from harness import wait_until
from harness.cluster import Database
from harness.databases import OTHERS, server_with
from harness.receiver import reply
from harness.ring import slot

ROOT = pathlib.Path(__file__).parents[2]

JOB = "SELECT state, done, skipped, error FROM webhook.jobs"


def dead(db, receiver, count, name="hook", **settings):
    """A webhook with so many dead letters, whose endpoint is well by now."""
    db.run("CREATE TABLE IF NOT EXISTS items (id int)")
    receiver.on(f"/{name}", reply(422))
    db.create(name, receiver.url(f"/{name}"), table_name="items", max_retries=0, **settings)
    db.run("INSERT INTO items SELECT generate_series(1, %s::int)", count)
    letters = "SELECT count(*) FROM webhook.dead_letters WHERE webhook = %s"
    wait_until(lambda: db.value(letters, name) == count, lambda: f"dead letters of {name}: {db.statuses()}")
    wait_until(lambda: db.value("SELECT sum(pending) FROM webhook.webhooks") == 0, "the others")
    receiver.on(f"/{name}", reply(200))
    return db


@pytest.fixture
def items(db):
    return db.hand_over()


@pytest.mark.parametrize("table", ["the ring", "closed"])
def test_a_replay_waits_for_a_table_and_leaves_nothing_out(items, receiver, table):
    """And says which one it is, for as long as that lasts."""
    dead(items, receiver, 120)
    name = f"event_{slot(items.judge.connection)}" if table == "the ring" else table
    with items.connect(user="postgres") as admin, admin.transaction():
        admin.execute(f"LOCK TABLE webhook.{name} IN SHARE MODE")
        job = items.value("SELECT webhook_replay_all('hook')")

        def says():
            [(state, done, skipped, error)] = items.rows(JOB)
            assert (state, done, skipped) in (("waiting", 0, 0), ("running", 0, 0))
            return error == f"waits: somebody has locked webhook.{name}"

        wait_until(says, lambda: f"it to say so: {items.rows(JOB)}")
        time.sleep(2)
        assert says()
    assert items.value("SELECT webhook_wait(%s)", job) == 120
    assert items.rows(JOB) == [("done", 120, 0, None)]
    items.wait_for_status(120)


def test_an_erasure_waits_for_a_table(items, receiver):
    """Longer than one that fails would be tried for."""
    dead(items, receiver, 60)
    name = f"event_{slot(items.judge.connection)}"
    with items.connect(user="postgres") as admin, admin.transaction():
        admin.execute(f"LOCK TABLE webhook.{name} IN SHARE MODE")
        job = items.value("SELECT webhook_erase('hook')")
        said = lambda: items.value("SELECT error FROM webhook.jobs") == f"waits: somebody has locked webhook.{name}"
        wait_until(said, lambda: f"it to say so: {items.rows(JOB)}")
        time.sleep(2)
        assert said()
    assert items.value("SELECT webhook_wait(%s)", job) == 60
    assert items.rows(JOB) == [("done", 60, 0, None)]


def test_a_replay_is_held_up_by_no_webhook_whose_backlog_is_full(items, receiver):
    """Those after it in the job go on meanwhile, and it follows when there is room, with nothing left out or sent twice."""
    dead(items, receiver, 20, "aaa")
    dead(items, receiver, 20, "bbb")
    items.run("SELECT webhook_update('aaa', max_backlog => 10, max_retries => 3)")
    items.run("SELECT webhook_pause('aaa')")
    heard = len(receiver.got("/bbb"))
    job = items.value("SELECT webhook_replay_all()")
    wait_until(lambda: len(receiver.got("/bbb")) == heard + 20, lambda: f"all of the other one: {items.rows(JOB)}", 20)
    assert items.value("SELECT done FROM webhook.jobs") in range(20, 30)
    assert items.value("SELECT state FROM webhook.jobs") == "running"
    first = len(receiver.got("/aaa"))
    items.run("SELECT webhook_resume('aaa')")
    replayed = items.value("SELECT webhook_wait(%s)", job)
    assert replayed == items.value("SELECT done FROM webhook.jobs") and items.value("SELECT skipped FROM webhook.jobs") == 0
    wait_until(lambda: items.value("SELECT sum(pending) FROM webhook.webhooks") == 0, "what has been replayed")
    assert items.value("SELECT count(*) FROM webhook.dead_letters") == 0
    assert items.value("SELECT sum(shed) FROM webhook.webhooks") == 0
    again = [request.id for request in receiver.got("/aaa")[first:]]
    assert len(again) == len(set(again)) == 20


def waits(db, receiver):
    """How long an event of a database waits whose worker has left, five times."""
    def took():
        time.sleep(1)
        began, before = time.monotonic(), len(receiver.got("/other"))
        db.run("INSERT INTO items VALUES (1)")
        receiver.wait(before + 1, path="/other")
        return time.monotonic() - began

    return sorted(took() for _ in range(5))


def test_a_job_that_can_do_nothing_keeps_no_slot(receiver):
    """The worker leaves for another database as one does that has nothing to do, and the job goes on when there is room."""
    with server_with(slots=1) as server:
        full, other = [Database(server, name, extension=False) for name in ("full", "other")]
        try:
            for db in (full, other):
                db.run("CREATE EXTENSION pg_webhook")
            dead(full, receiver, 20)
            full.run("SELECT webhook_update('hook', max_backlog => 10, max_retries => 3)")
            full.run("SELECT webhook_pause('hook')")
            other.run("CREATE TABLE items (id int)")
            other.create("hook", receiver.url("/other"), table_name="items")
            full.run("SELECT webhook_replay_all('hook')")
            wait_until(lambda: full.value("SELECT done FROM webhook.jobs") == 5, lambda: f"half of what may wait: {full.rows(JOB)}")

            # One that has work makes room after two seconds at the earliest.
            waited = waits(other, receiver)
            assert waited[2] < 1.5, waited
            full.run("SELECT webhook_resume('hook')")
            wait_until(lambda: full.rows(JOB) == [("done", 20, 0, None)], lambda: f"the job's end: {full.rows(JOB)}")
            assert full.value("SELECT count(*) FROM webhook.dead_letters") == 0
        finally:
            full.close()
            other.close()


def test_a_job_of_a_copy_that_nobody_has_armed_keeps_no_slot(own_cluster, make_db, copy_of, receiver):
    """It waits for that alone."""
    server = own_cluster(pg_webhook__server="'one'")
    site, other = make_db(server, "site"), make_db(server, "other")
    dead(site, receiver, 20)
    other.run("CREATE TABLE items (id int)")
    other.create("hook", receiver.url("/other"), table_name="items")
    copy = copy_of(server, pg_webhook__server="'two'", max_worker_processes=1 + OTHERS).start()
    for db in (site, other):
        db.close()
    server.stop()
    site, other = (Database(copy, db.name, is_there=True) for db in (site, other))
    try:
        assert other.value("SELECT webhook_arm()") is True
        site.run("SELECT webhook_replay_all('hook')")
        waited = waits(other, receiver)
        assert waited[2] < 1.5, waited
        assert site.rows("SELECT state, done FROM webhook.jobs") == [("waiting", 0)]
    finally:
        site.close()
        other.close()


def test_an_erasure_that_takes_long_looks_into_as_many_bodies_as_it_can(items, receiver):
    """A page of bodies that a path takes long for is tried again with fewer, and then with more again: not one by one to the end."""
    items.run("CREATE TABLE nested (body jsonb)")
    items.create("hook", receiver.url("/"), table_name="nested")
    path = "$" + ".**" * 4

    def seconds(depth):
        began = time.perf_counter()
        for _ in range(5):
            items.value("SELECT count(*) FROM jsonb_path_query((repeat('[', %s) || repeat(']', %s))::jsonb, %s::jsonpath)", depth, depth, path)
        return (time.perf_counter() - began) / 5

    # Such that all at once take too long, wherever this runs, and a few do not.
    depth = next(depth for depth in range(4, 60, 2) if seconds(depth) > 0.003)
    count = 300
    items.run("INSERT INTO nested SELECT (repeat('[', %s) || repeat(']', %s))::jsonb FROM generate_series(1, %s::int)", depth, depth, count)
    items.wait_for_status(count)
    job = items.value("SELECT webhook_erase('hook', path => %s::jsonpath)", path)
    assert items.value("SELECT webhook_wait(%s)", job) == count
    assert items.rows(JOB) == [("done", count, 0, None)]
    written = items.judge.value("SELECT count(DISTINCT xmin::text) FROM webhook.event WHERE payload = ''")
    assert written < count / 3, f"{written} transactions"


#: Statements that go through the backlog of one webhook, with arguments for each.
PAGES = {
    "count_waiting": "1, 2000, 0::bigint",
    "cancel_page": "0::bigint, 1, 250::bigint, 0::bigint, 1048576::bigint, '{0,1,2}'::smallint[], now()",
    "erase_backlog_page": "0::bigint, 1, 100::bigint, 0::bigint, 1048576::bigint, now()",
    "replay_backlog_page": "0::bigint, 1, 250::bigint, 0::bigint, 1048576::bigint, 'dead'::text, 'do'::text",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_job_looks_at_no_deliveries_of_others(db, receiver, name):
    """Not at those that came before its own, however many these are of the backlog: new events would wait for that. As the worker
    runs its statements, which are planned for any arguments."""
    for webhook in ("earlier", "later"):
        db.create(webhook, receiver.url("/"), events=[webhook])
        db.run("SELECT webhook_pause(%s)", webhook)
        db.run("SELECT webhook_emit(%s, '1') FROM generate_series(1, 10000)", webhook)
    wait_until(lambda: db.value("SELECT count(*) FROM webhook.pending") == 20_000, "the backlog", 60)
    statement = (ROOT / "sql" / "query" / "queue" / f"{name}.sql").read_text()
    db.run("SET search_path = pg_catalog, pg_temp")
    db.run("ANALYZE webhook.pending")
    for mode in ("force_generic_plan", "force_custom_plan"):
        db.run(f"SET plan_cache_mode = {mode}")
        db.connection.execute(f"PREPARE page AS {statement}", prepare=False)
        plan = "\n".join(row[0] for row in db.connection.execute(f"EXPLAIN EXECUTE page ({PAGES[name]})", prepare=False))
        db.run("DEALLOCATE page")
        assert "pending_webhook_id_id_idx" in plan and "using pending_id_key on pending r" not in plan, plan
