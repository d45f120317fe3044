"""The ring, and how tests let it turn, which it does by itself in days."""

from .waiting import wait_until

SLOTS = 8


def slot(connection):
    """The current one."""
    return connection.execute("SELECT slot FROM webhook.ring").fetchone()[0]


def age(connection):
    """Make the current slot as old as if it had been in use for a year."""
    connection.execute("UPDATE webhook.ring SET since = since - interval '1 year'")


def turn(connection, meanwhile=lambda: None):
    """Let the ring turn once, as a superuser where there is a webhook `hook`, and return the new slot."""
    before = slot(connection)
    age(connection)

    def turned():
        meanwhile()
        # A worker at rest looks rarely; this wakes it.
        connection.execute("SELECT webhook_update('hook', description => 'awake')")
        return slot(connection) != before

    wait_until(turned, "the ring to turn", interval=0.05)
    return slot(connection)
