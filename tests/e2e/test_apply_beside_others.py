"""webhook_apply beside other sessions of the same role: they wait for each other, and never in a circle."""

import json
import threading

import psycopg
import pytest

from harness import wait_until
from test_if_exists import ann, twin  # noqa: F401

URL = "http://127.0.0.1:9/"

#: What each session does, so often that without one order of locks some of them would meet.
TIMES = 60

#: Another session has made it, or deleted it.
EXPECTED = {"42710", "42704"}


def applying(webhooks, prune=False):
    """A statement; `webhooks` of a turn, each with what is always said of it."""
    def statement(turn):
        document = {"webhooks": {name: {"url": URL, **settings} for name, settings in webhooks(turn).items()}}
        return f"SELECT webhook_apply('{json.dumps(document)}', prune => {prune})"

    return statement


def repeat(session, statements, start, errors):
    start.wait()
    for turn in range(TIMES):
        try:
            session.run(statements[turn % len(statements)](turn))
        except psycopg.Error as error:
            errors.append((error.sqlstate, str(error)))


def beside(*sessions):
    """What has failed while each of these repeats its statements."""
    start, errors = threading.Barrier(len(sessions)), []
    threads = [threading.Thread(target=repeat, args=(*session, start, errors)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    return [error for error in errors if error[0] not in EXPECTED]


def named(name, **settings):
    return lambda turn: {name: {"description": str(turn), **settings}}


def test_each_prunes_what_the_other_has(ann, twin):
    """Which it changes at the same time."""
    assert beside((ann, [applying(named("a"), True)]), (twin, [applying(named("b"), True)])) == []


@pytest.mark.parametrize("other", ["update", "create"])
def test_new_ones_have_emitters(ann, twin, other):
    """While another session changes emitters of those that are there, or makes and deletes some."""
    role = ann.role
    ann.run("SELECT webhook_apply(%s)", json.dumps({"webhooks": {"a": {"url": URL, "events": ["a.b"]}}}))
    more = lambda turn: {**named("a", events=["a.b"])(turn), "z": {"events": ["a.b"], "emitters": [role]}}
    statements = {
        "update": [f"SELECT webhook_update('a', emitters => '{{{role}}}')", "SELECT webhook_update('a', emitters => '{}')"],
        "create": [f"SELECT webhook_create('z', '{URL}', events => '{{a.b}}', emitters => '{{{role}}}')", "SELECT webhook_delete('z')"],
    }[other]
    mine = [applying(more), applying(named("a", events=["a.b"]), True)]
    assert beside((ann, mine), (twin, [lambda turn, it=it: it for it in statements])) == []


def test_what_is_pruned_has_emitters(ann, twin):
    role = ann.role
    heard = lambda name: lambda turn: {name: {"description": str(turn), "events": ["a.b"], "emitters": [role]}}
    assert beside((ann, [applying(heard("a"), True)]), (twin, [applying(heard("b"), True)])) == []


def test_tables_are_locked_in_one_order(ann, twin):
    """Whatever the order of the webhooks that watch them."""
    tables = [f"{ann.role}.things", f"{ann.role}.others"]
    watching = lambda first, second, back: lambda turn: {
        first: {"tables": {tables[back]: {"events": ["INSERT"], "condition": f"NEW.id > {turn}"}}},
        second: {"tables": {tables[1 - back]: {"events": ["INSERT"], "condition": f"NEW.id > {turn}"}}},
    }
    assert beside((ann, [applying(watching("a", "b", 0))]), (twin, [applying(watching("c", "d", 1))])) == []


def test_a_writer_of_several_tables_is_not_the_one_that_fails(ann, twin):
    """It has written to one of them, and waits for the other, which is locked for a trigger."""
    ann.run("CREATE TABLE one (id int); CREATE TABLE two (id int)")
    tables = {f"{ann.role}.{name}": {"events": ["INSERT"]} for name in ("one", "two")}
    document = json.dumps({"webhooks": {"hook": {"url": URL, "tables": tables}}})
    twin.run("BEGIN; INSERT INTO two VALUES (1)")
    failed = []

    def apply():
        try:
            ann.run("SELECT webhook_apply(%s)", document)
        except psycopg.Error as error:
            failed.append((error.sqlstate, error.diag.message_primary))

    thread = threading.Thread(target=apply)
    thread.start()
    locked = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'one'::regclass AND mode = 'ShareRowExclusiveLock' AND granted)"
    wait_until(lambda: twin.value(locked) or failed, "the first table to be locked")
    # Which waits for it now, as it waits for this one.
    twin.run("INSERT INTO one VALUES (1)")
    twin.run("COMMIT")
    thread.join(60)
    assert failed == [("55P03", f"could not lock table {ann.role}.two within 200 milliseconds, with another table locked")]
    ann.run("SELECT webhook_apply(%s)", document)
