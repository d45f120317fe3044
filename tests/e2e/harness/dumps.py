"""Dumps, and what they have been restored to."""

import re

EVENTS = """
    SELECT w.name, e.event_type, e.payload
    FROM webhook.event AS e JOIN webhook.webhook AS w ON w.id = e.webhook
    WHERE e.xid = pg_current_xact_id() ORDER BY w.name, e.id
"""
MEANWHILE = re.compile(r'"(?:id|timestamp)": ?"[^"]*",? ?')


def events(db, changes):
    """What `changes` become, without what differs each time. They are rolled back, so that nothing of it is sent."""
    with db.cluster.connect(db.name, autocommit=False) as session:
        session.execute(changes)
        found = session.execute(EVENTS).fetchall()
        session.rollback()
    return [(name, kind, MEANWHILE.sub("", payload)) for name, kind, payload in found]


def run(cluster, program, *arguments, user="postgres", check=True):
    return cluster._run(program, "-h", cluster.folder, "-U", user, *arguments, check=check)


def dump(db, *options, user="postgres", name="dump"):
    place = db.cluster.folder / f"{db.name}_{name}"
    run(db.cluster, "pg_dump", "-f", place, *options, db.name, user=user)
    return place


def text_of(db, *options, user="postgres"):
    """A plain dump, without what is made up for each."""
    text = run(db.cluster, "pg_dump", *options, db.name, user=user).stdout
    for installation, in db.rows("SELECT DISTINCT installation FROM webhook.webhook"):
        text = text.replace(installation, "installation")
    return [line for line in text.splitlines() if "restrict " not in line]


def restore(db, place, *options, check=True):
    """Restores an archive."""
    return run(db.cluster, "pg_restore", "-d", db.name, *options, place, check=check).stdout


def feed(db, place, *options, check=True):
    """Restores a plain dump."""
    options = ("-v", "ON_ERROR_STOP=1", *options) if check else options
    return run(db.cluster, "psql", "-X", "-q", "-d", db.name, *options, "-f", place, check=check).stdout
