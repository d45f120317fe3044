"""A million events: what the log promises to be fast reads little of it, whoever reads."""

from harness.large_log import NEWEST, QUERIES, WEBHOOKS, fill
from harness.people import People

#: Pages of eight kilobytes that one of these may look at, of a log of a hundred thousand.
MOST = 2_000

def pages(reader, query):
    """The pages that a query looks at, when it has been planned."""
    [(plan,)] = reader.rows(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}")
    return plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]


def test_what_is_asked_for_often_reads_little(own_cluster, make_db):
    db = make_db(own_cluster(pg_webhook__enabled="off", shared_buffers="'512MB'", max_wal_size="'4GB'"))
    people = People(db.cluster, db)
    most, few, admin = people("most", "member"), people("few", "member"), people("adm", "admin")
    for number in range(WEBHOOKS):
        most.run("SELECT webhook_create(%s, 'http://127.0.0.1:9/', events => '{tick}')", f"many{number}")
    db.run("CREATE FUNCTION public.same(event jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT $1'")
    few.run("SELECT webhook_create('few', 'http://127.0.0.1:9/', events => '{tick}', transform => 'public.same(jsonb)')")
    fill(db.judge, 1_000_000)
    uuids = dict(db.rows("SELECT name, id::text FROM webhook.webhooks"))
    far = {}
    for analyzed in (False, True):
        if analyzed:
            db.run("ANALYZE")
        for who, reader, name in (("superuser", db.judge, "many1"), ("admin", admin, "many1"), ("few", few, "few")):
            [(middle, event)] = reader.rows("SELECT id, event_id FROM webhook_log(%s, 'delivered', lim => 1000) ORDER BY id LIMIT 1", name)
            queries = dict(QUERIES) if who == "few" else {"the view, the newest": NEWEST, **QUERIES}
            for what, query in queries.items():
                query = query.format(name=name, uuid=uuids[name], middle=middle, event=event)
                rows = reader.rows(query)
                assert rows or "few" in who or what in ("an hour", "attempts") or "cancelled" in what, (who, what)
                read = pages(reader, query)
                if read >= MOST:
                    far[who, analyzed, what] = read
    # All that waits becomes dead, and still few has none of it.
    db.run(
        "INSERT INTO webhook.movement (webhook, was, stage, count)"
        " SELECT p.webhook, p.stage, 2, count(*) FROM webhook.pending AS p WHERE p.stage < 2 GROUP BY p.webhook, p.stage"
    )
    db.run("UPDATE webhook.pending SET stage = 2, next_at = 'infinity', dead_at = now() WHERE stage < 2")
    db.run("VACUUM ANALYZE")
    for who, reader in (("superuser", db.judge), ("admin", admin), ("few", few)):
        for what in ("webhooks", "stats", "dead letters"):
            reader.rows(QUERIES[what])
            read = pages(reader, QUERIES[what])
            if read >= MOST:
                far[who, "all dead", what] = read
    assert not far, "\n".join(f"{what}: {read}" for what, read in far.items())
    people.close()
