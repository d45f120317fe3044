"""Lists of a log of ten million events. By name only, because it takes long: make bench ONLY=log_at_size."""

import statistics
import time

from figures import Row
from harness.cluster import Database
from harness.large_log import NEWEST, QUERIES, WEBHOOKS, fill
from harness.people import People
from harness.session import Session

#: What they may take, in milliseconds: unlike these, twenty.
OTHERS = {"an hour": 50, "the view, one": 5, "one by event_id": 5, "attempts": 5}

TIMES = 5

#: Of these it is said as well how much PostgreSQL takes to plan them, each time, unless the session prepares them.
PLANNED = ("the view, one", "webhooks", "dead letters")


def took(reader, query):
    began = time.perf_counter()
    reader.rows(query)
    return (time.perf_counter() - began) * 1000


def planning(reader, query):
    """Milliseconds of a query that is known to the session: in planning it, and in all."""
    [(plan,)] = reader.rows("EXPLAIN (ANALYZE, TIMING off, SUMMARY on, FORMAT json) " + query)
    return plan[0]["Planning Time"], plan[0]["Planning Time"] + plan[0]["Execution Time"]


def log_at_size(server, nginx, quick):
    """Of each query the slowest of three roles, before and after ANALYZE: the median of some, and the first of a session."""
    events = 1_000_000 if quick else 10_000_000
    server.reload(pg_webhook__enabled="off")
    db = Database(server, "lists")
    people = People(server, db)
    most, few, admin = people("most", "member"), people("few", "member"), people("adm", "admin")
    for number in range(WEBHOOKS):
        most.run("SELECT webhook_create(%s, %s, events => '{tick}')", f"many{number}", nginx.url())
    few.run("SELECT webhook_create('few', %s, events => '{tick}')", nginx.url())
    fill(db.judge, events)
    uuids = dict(db.rows("SELECT name, id::text FROM webhook.webhooks"))
    usual, first, planned = {}, {}, {}
    for analyzed in (False, True):
        if analyzed:
            db.run("VACUUM ANALYZE")
        for who, user, name in (("superuser", "postgres", "many1"), ("admin", admin.role, "many1"), ("few", few.role, "few")):
            with server.connect(db.name, user=user) as connection:
                middle, event = connection.execute(
                    "SELECT id, event_id FROM webhook_log(%s, 'delivered', lim => 1000) ORDER BY id LIMIT 1", [name]).fetchone()
            queries = {**QUERIES, **({} if who == "few" else {"the view, the newest": NEWEST})}
            for what, query in queries.items():
                query = query.format(name=name, uuid=uuids[name], middle=middle, event=event)
                with server.connect(db.name, user=user) as connection:
                    reader = Session(connection)
                    first[what] = max(first.get(what, 0), took(reader, query))
                    again = statistics.median(took(reader, query) for _ in range(TIMES))
                    usual[what] = max(usual.get(what, 0), again)
                    if what in PLANNED:
                        planned[what] = max(planned.get(what, (0, 0)), planning(reader, query), key=lambda it: it[1])
    people.close()
    db.drop()
    server.reload(pg_webhook__enabled="on")
    return [
        Row(f"log of {events}: {what}", usual[what], "ms", OTHERS.get(what, 20), "most", f"first of a session {first[what]:.1f} ms"
            + (f"; of {planned[what][1]:.1f} ms planning {planned[what][0]:.1f}" if what in planned else ""))
        for what in usual
    ]


OWN = [log_at_size]
