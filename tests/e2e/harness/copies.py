"""Copies of databases and of servers, and what tests ask of them."""

import re

from .waiting import wait_until


def copy_database(server, origin, name):
    """A database made of another one as its template. The worker of that, which is connected to it, leaves for it."""
    with server.connect() as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{origin}"')


def state(connection):
    return connection.execute("SELECT state FROM webhook.worker").fetchone()[0]


def wait_for_state(connection, wanted):
    wait_until(lambda: state(connection) == wanted, lambda: f"the worker to be {wanted}; it is {state(connection)}")


def health(connection, name="hook"):
    return connection.execute("SELECT health, health_reason FROM webhook.webhooks WHERE name = %s", [name]).fetchone()


def ids(receiver, path=None):
    return [request.id for request in receiver.got(path)]


def records(receiver, path=None):
    """The values of `id` that have arrived, in their order."""
    return [int(re.search(rb'"record":\{"id":(\d+)', request.body)[1]) for request in receiver.got(path)]


def resume(server, db, insert=None):
    """As the webhook's owner."""
    with server.connect(db.name, user=db.owner) as owner:
        owner.execute("SELECT webhook_resume('hook')")
        if insert:
            owner.execute("INSERT INTO items VALUES (%s)", [insert])
