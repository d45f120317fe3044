"""What a database says of a webhook: its health, webhook_check and webhook_why."""

import time

from .waiting import PATIENCE, wait_until

#: Seconds within which a cause shows, by docs/guarantees.md.
SOON = 2

#: What webhook_check says of how endpoints answer, which is no matter of most tests.
OF_ENDPOINTS = "problem ~ '^(requests fail|nothing is sent before)'"

#: What it says of a webhook that nothing makes an event of.
HEARS_NOTHING = "the webhook watches no table and hears no type of events"

INSERT = ("INSERT", '{"id": 9, "note": "x"}', None)


def furnish(db, receiver):
    """An ordinary role with a table and a webhook."""
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    db.create("hook", receiver.url("/"), table_name="items")
    return db


def health(db, name="hook"):
    """Its value and its reason."""
    return db.rows("SELECT health, health_reason FROM webhook.webhooks WHERE name = %s", name)[0]


def why(db, change=INSERT, name="hook", table=None):
    """Step, verdict, problem and hint of each row."""
    return db.rows("SELECT * FROM webhook_why(%s, %s, %s, %s, %s)", name, *change, table)


def check(db, name="hook"):
    return db.rows("SELECT severity, problem, hint FROM webhook_check(%s)", name)


def shows(db, value, words, verdict=None, change=INSERT, name="hook", since=None, first=True):
    """Health is `value` soon after `since`, and its reason, webhook_check and webhook_why have these words; these two say what to
    do. `verdict` is that of webhook_why, whose first row it is, or not."""
    since = since or time.monotonic()

    def is_shown():
        found, reason = health(db, name)
        return found == value and words in (reason or "")

    wait_until(is_shown, lambda: f"{value} and {words!r}, not {health(db, name)}", PATIENCE)
    assert time.monotonic() - since < SOON, f"it took {time.monotonic() - since:.1f} s"
    told = [row for row in check(db, name) if words in row[1]]
    assert told and all(hint and len(hint) > 20 for _, _, hint in told), check(db, name)
    if verdict:
        explains(db, words, verdict, change, name, first)


def explains(db, words, verdict, change=INSERT, name="hook", first=True, table=None):
    """webhook_why has a row with these words, the first one or not, which says what to do."""
    rows = why(db, change, name, table)
    [row] = [row for row in rows if words in (row[2] or "")]
    assert row[1] == verdict and row[3], rows
    assert not first or rows[0] == row, rows


def is_well(db, change=INSERT, name="hook"):
    """There is nothing to tell."""
    wait_until(lambda: health(db, name) == ("healthy", None), lambda: str(health(db, name)))
    assert check(db, name) == []
    assert [row[:3] for row in why(db, change, name)] == [("sending", "sent", None)]
