"""The durable cursor keeps up with what is settled, also when nothing follows."""

from harness import wait_until
from harness.receiver import after, reply


def test_the_last_slow_delivery_before_a_quiet_time(own_cluster, make_db, receiver):
    """Without a log only the cursor knows that it has been delivered: a restart does not repeat it."""
    server = own_cluster(pg_webhook__log_level="none")
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items")
    receiver.default(after(2.5, reply()))
    db.run("INSERT INTO items VALUES (1)")
    receiver.wait(1)
    db.run("SELECT pg_sleep(1.2)")
    db.wait_for_status(1)
    before = db.worker()
    db.run("SELECT pg_terminate_backend(%s)", before)
    wait_until(lambda: db.worker() not in (None, before), "another worker")
    db.run("INSERT INTO items VALUES (2)")
    db.wait_for_status(2)
    assert len(receiver.got()) == 2
