"""Waiting for a condition instead of for a time."""

import time


def wait_until(condition, what, timeout=15.0, interval=0.01):
    """Return the first true result of `condition()`; fail with `what` (a text, or a function
    that makes one then) when `timeout` seconds are over."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(interval)
