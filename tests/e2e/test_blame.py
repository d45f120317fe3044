"""Who is suspected when a run of the worker ends badly: what it was sending if it has crashed itself, and nobody else."""

from harness import Cluster
from harness.receiver import hang, reply


def test_crashes_of_others_and_stops_make_nobody_a_suspect(own_cluster, make_db, receiver):
    """A crash of any process ends the worker as well, and so does an immediate stop."""
    server = own_cluster(restart_after_crash="on")
    db = make_db(server)
    db.run("CREATE TABLE items (id int PRIMARY KEY)")
    db.create("hook", receiver.url("/"), table_name="items", timeout_seconds=60)
    receiver.default(hang())
    db.run("INSERT INTO items VALUES (1)")
    receiver.wait(1)
    # As if the worker had crashed twice before: from now on it writes down what it sends, one at a time.
    db.run("UPDATE webhook.cursor SET runs = 3")
    for number, (end, runs) in enumerate([(Cluster.crash_of_a_session, 3), (Cluster.crash_of_a_session, 3), (stop, 1), (stop, 1)], 1):
        end(server)
        db.reconnect()
        # It is sent again, because no run has learned of an answer.
        receiver.wait(number + 1)
        state, suspects = db.rows("SELECT (runs, accused)::text, suspect IS NOT NULL FROM webhook.cursor")[0]
        assert (state, suspects) == (f"({runs},{{}})", runs == 3), number
    receiver.default(reply(200))
    db.run("INSERT INTO items VALUES (2)")
    db.wait_for_status(1)
    assert db.statuses() == {"delivered": 1, "pending": 1}


def stop(server):
    server.stop("immediate")
    server.start()
