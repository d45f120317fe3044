"""Waiting for a condition instead of for a time."""

import time

# Seconds that a condition may take where a test promises nothing about time. A machine with a lot else to do needs
# ten times as long as an idle one, and nobody waits so long but for what never comes.
PATIENCE = 60


def wait_until(condition, what, timeout=PATIENCE, interval=0.01):
    """Return the first true result of `condition()`; fail with `what` (a text, or a function
    that makes one then) when `timeout` seconds are over. The longer it takes, the more rarely it asks, up to five
    times the interval: most questions are put to the server, which has the tests' work to do."""
    deadline = time.monotonic() + timeout
    pause = interval
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(pause)
        pause = min(1.2 * pause, 5 * interval)


def waits_for_a_lock(connection, session):
    """Whether another `session` does, as `connection` sees it."""
    waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    return connection.execute(waits, [session.info.backend_pid]).fetchone()[0]
