"""What a major version of PostgreSQL brings, in a session, a trigger or the worker."""

import json

from harness import wait_until
from harness.major import MAJOR, since


def records(receiver, count):
    return [json.loads(request.body)["record"] for request in receiver.wait(count)]


@since(17)
def test_a_transaction_timeout_of_the_database_does_not_end_the_workers_transactions(db, receiver):
    db.hand_over()
    db.judge.run(f"ALTER DATABASE {db.name} SET transaction_timeout = '200ms'")
    first = db.worker()
    db.judge.run("SELECT pg_terminate_backend(%s)", first)
    worker = db.wait_for_worker(other_than=first)
    db.run("CREATE TABLE items (id int)")
    db.create("hook", receiver.url("/"), table_name="items")
    # Locks that the worker waits for, longer than the timeout and shorter than its own patience.
    with db.judge.connection.transaction():
        db.judge.run("LOCK TABLE webhook.cursor, webhook.attempt IN ACCESS EXCLUSIVE MODE")
        with db.connect(options="-c transaction_timeout=0") as other:
            other.execute("INSERT INTO items VALUES (1)")
            other.execute("INSERT INTO items VALUES (2)")
            wait_until(
                lambda: other.execute(
                    "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", [worker]
                ).fetchone()[0],
                "the worker to wait",
            )
        db.judge.run("SELECT pg_sleep(0.6)")
    db.wait_for_status(2)
    assert db.worker() == worker
    assert not db.cluster.log_lines(f"{db.name} .*transaction timeout")


@since(17)
def test_the_processes_name_what_they_wait_for(db):
    def waiting():
        return set(db.rows(
            "SELECT backend_type, wait_event_type, wait_event FROM pg_stat_activity"
            " WHERE backend_type LIKE 'pg_webhook%%' AND (datname = current_database() OR datname IS NULL)"
        ))

    names = {"PgWebhookLauncher", "PgWebhookWorker"}
    wait_until(lambda: {event for _, _, event in waiting()} == names, lambda: f"{names}; there is {waiting()}")
    assert {kind for _, kind, _ in waiting()} == {"Extension"}


def test_the_writer_is_the_role_that_wrote(db, people, receiver):
    """AFTER triggers run as the role that queued them since 18; before it was the role of the moment."""
    definer, writer = people("definer"), people("writer")
    db.hand_over()
    db.run(f"CREATE TABLE items (id int, note text); GRANT INSERT ON items TO {definer.role}, {writer.role}")
    definer.run(
        "CREATE FUNCTION write() RETURNS void SECURITY DEFINER LANGUAGE sql AS $$INSERT INTO items VALUES (2, current_user)$$"
    )
    for person in (definer, writer):
        db.create(person.role, receiver.url("/"), table_name="items", condition=f"current_user = '{person.role}'")
    writer.run("INSERT INTO items VALUES (1, current_user)")
    writer.run(f"SELECT {definer.role}.write()")
    db.settled()
    sent = db.rows("SELECT webhook, payload::json->'record'->>'note' FROM webhook.deliveries ORDER BY id")
    assert sent == [(writer.role, writer.role), (definer.role, definer.role)]


def test_a_cascade_captures_whoever_the_trigger_runs_as(db, people, receiver):
    """What a foreign key deletes it deletes as the table's owner; since 18 the triggers run as that role, too, and before it as
    the one that deletes above."""
    writer, owner = people("writer"), people("owner", "member")
    db.run(f"CREATE TABLE above (id int PRIMARY KEY); GRANT SELECT, DELETE ON above TO {writer.role}; GRANT REFERENCES ON above TO {owner.role}")
    owner.run(
        "CREATE TABLE below (id int REFERENCES public.above ON DELETE CASCADE);"
        "CREATE FUNCTION shape(e jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('as', current_user) $$;"
        "CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM public.webhook_emit('told', jsonb_build_object('as', current_user)); RETURN NULL; END $$;"
        "CREATE TRIGGER told AFTER DELETE ON below FOR EACH ROW EXECUTE FUNCTION told()"
    )
    create = "SELECT webhook_create(%s, %s, %s, events => %s, transform => %s, emitters => %s::regrole[])"
    owner.run(create, "rows", receiver.url("/rows"), "below", ["DELETE"], "shape(jsonb)", None)
    owner.run(create, "told", receiver.url("/told"), None, ["told"], None, [writer.role, owner.role])
    db.run("INSERT INTO above VALUES (1)")
    owner.run("INSERT INTO below VALUES (1)")
    writer.run("DELETE FROM above")
    db.settled()
    role = owner.role if MAJOR >= 18 else writer.role
    told = {webhook: json.loads(body) for webhook, body in db.rows("SELECT webhook, payload FROM webhook.deliveries")}
    assert told["rows"] == {"as": owner.role}, "the transform runs as its owner"
    assert told["told"]["data"] == {"as": role}


def test_pages_that_the_worker_writes_have_checksums(own_cluster, make_db, receiver):
    """On by default since 18."""
    server = own_cluster()
    db = make_db(server).hand_over()
    server_has = db.value("SHOW data_checksums")
    assert server_has == ("on" if MAJOR >= 18 else "off")
    db.run("CREATE TABLE items (id int)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items SELECT generate_series(1, 500)")
    db.wait_for_status(500)
    db.close()
    server.stop("fast")
    if server_has == "off":
        server._run("pg_checksums", "--enable", "-D", server.data)
    server._run("pg_checksums", "--check", "-D", server.data)
    server.start()
    db.connection = db.connect()
    db.wait_for_worker()
    db.run("INSERT INTO items SELECT generate_series(501, 1000)")
    db.wait_for_status(1000)
    db.close()
    server.stop("fast")
    server._run("pg_checksums", "--check", "-D", server.data)


@since(18)
def test_a_subscriber_sends_the_generated_columns_that_are_published(own_cluster, make_db, receiver):
    server = own_cluster(wal_level="logical")
    origin, target = make_db(server, "origin", extension=False), make_db(server, "target")
    for database in (origin, target):
        twice = "int" if database is target else "int GENERATED ALWAYS AS (id * 2) STORED"
        database.run(f"CREATE TABLE items (id int PRIMARY KEY, twice {twice})")
    target.create("hook", receiver.url("/"), table_name="items")
    for (trigger,) in target.rows("SELECT tgname FROM pg_trigger WHERE tgrelid = 'items'::regclass"):
        target.run(f'ALTER TABLE items ENABLE ALWAYS TRIGGER "{trigger}"')
    origin.run("CREATE PUBLICATION p FOR TABLE items WITH (publish_generated_columns = stored)")
    origin.run("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    target.run(
        f"CREATE SUBSCRIPTION s CONNECTION '{server.dsn('origin')}' PUBLICATION p"
        " WITH (create_slot = false, copy_data = false)"
    )
    origin.run("INSERT INTO items VALUES (1); UPDATE items SET id = 5")
    assert records(receiver, 2) == [{"id": 1, "twice": 2}, {"id": 5, "twice": 10}]
    target.run("DROP SUBSCRIPTION s")


@since(18)
def test_old_and_new_in_returning_see_what_is_sent(db, receiver):
    db.hand_over()
    db.run("CREATE TABLE items (id uuid DEFAULT uuidv7(), n int)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("INSERT INTO items (n) VALUES (1)")
    old, new = db.rows("UPDATE items SET n = 2 RETURNING to_json(old.*), to_json(new.*)")[0]
    request = json.loads(receiver.wait(2)[1].body)
    assert (request["old_record"], request["record"]) == (old, new)
