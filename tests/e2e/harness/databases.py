"""Servers with many databases, each with a table `items` and a webhook."""

import contextlib
import json

from .cluster import Cluster

# Of max_worker_processes one is the launcher's, and one that of logical replication.
OTHERS = 2


@contextlib.contextmanager
def server_with(slots, **settings):
    server = Cluster("databases", max_worker_processes=slots + OTHERS, jit="off", **settings).start()
    try:
        yield server
    finally:
        server.destroy()


def furnish(db, receiver, path=None, **settings):
    db.run("CREATE TABLE items (id serial PRIMARY KEY)")
    db.create("hook", receiver.url(path or f"/{db.name}"), table_name="items", **settings)
    return db


def insert(db):
    db.run("INSERT INTO items DEFAULT VALUES")


def arrived(receiver, db):
    return len(receiver.got(f"/{db.name}"))


def answered(receiver, db):
    return sorted(json.loads(r.body)["record"]["id"] for r in receiver.got(f"/{db.name}") if r.answered == 200)
