"""What must not harm a healthy webhook: the same load without and with an adversary, in one run."""

import contextlib
import subprocess
import sys
import threading
import time

import namespace
from figures import Row
from harness.memory import private_memory
from harness.port import mute_listener
from harness.receiver import Receiver, drip, endless, reply
from harness.waiting import wait_until
from machine import free_port
from stage import INSERT, Stage, pause

RATE = 2000

# Seconds for which the worker uses what a name has resolved to, without asking again.
STALE = 30


def measure(stage, seconds):
    """Deliveries per second and p99 of the healthy webhook under a steady load."""
    before, since = stage.finished(), stage.now()
    stage.pgbench(INSERT, seconds, clients=4, rate=RATE)
    events = stage.db.value("SELECT count(*) FROM orders")
    stage.settle(events)
    assert events > before
    took = stage.db.value(
        "SELECT extract(epoch FROM max(a.started_at) - min(a.started_at)) FROM webhook.attempt a"
        " JOIN webhook.webhook w ON w.uuid = a.webhook_id WHERE w.name = 'healthy' AND a.started_at >= %s", since)
    return (events - before) / float(took), stage.delays(since)[1]


# What was last measured without an adversary, by server and address of the healthy webhook.
undisturbed = {}


def against(name, server, nginx, quick, adversary, url=None, **settings):
    """Rows that compare the healthy webhook's figures, with these settings, with and without `adversary(stage)`."""
    seconds = 3 if quick else 10
    stage = Stage(server, "adversary", url or nginx.url(), **settings)
    known = (server, url, str(settings))
    # A quick run has no time to measure for each adversary what is the same without it. The worker must know
    # the endpoint nevertheless.
    if quick and known in undisturbed:
        stage.fill(1, 100)
        stage.settle(100)
    else:
        undisturbed[known] = measure(stage, seconds)
    alone, quiet = undisturbed[known]
    with adversary(stage):
        among, loud = measure(stage, seconds)
    stage.drop()
    allowed = 1.25 * quiet + 20
    return [
        Row(f"{name}: throughput", among / alone, "x", 0.95, beside=f"{alone:.0f} and {among:.0f}/s"),
        Row(f"{name}: p99", loud, "ms", allowed, "most", f"alone {quiet:.1f} ms"),
    ]


def other_table(stage, count, url, name="other", **settings):
    """Webhooks `name0`, `name1`, ... on a table of their own, which the healthy one does not watch."""
    stage.db.run(f"CREATE TABLE IF NOT EXISTS {name} (id bigint, note text)")
    for number in range(count):
        stage.db.create(f"{name}{number}", url(number), table_name=name, **settings)


@contextlib.contextmanager
def repeated(stage, statement, pause):
    """All the time a session does that, with a pause of so many seconds."""
    stopping = threading.Event()

    def repeat():
        with stage.db.connect() as session:
            while not stopping.wait(pause):
                session.execute(statement)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def old_snapshot(server, nginx, quick):
    """And behind it what vacuum cannot remove: the rows of an endpoint that was down, and now fails at times."""
    events = 10_000 if quick else 200_000

    @contextlib.contextmanager
    def adversary(stage):
        flaky = Receiver()
        flaky.on("/0", *[reply(503), reply(200)] * 1000)

        def waiting():
            return stage.db.value("SELECT count(*) FROM webhook.pending")

        with stage.db.connect(autocommit=False) as old:
            old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            old.execute("SELECT count(*) FROM orders")
            other_table(stage, 1, lambda _: f"http://127.0.0.1:{free_port()}/", "flaky", retry_backoff_seconds=1)
            stage.db.run("INSERT INTO flaky SELECT i, 'x' FROM generate_series(1, %s::int) i", events)
            wait_until(lambda: waiting() == events, lambda: f"{events} to fail; {waiting()} have", 120, interval=0.25)
            stage.db.run("SELECT webhook_update('flaky0', url => %s)", nginx.url("/was-down"))
            wait_until(lambda: waiting() == 0, lambda: f"the others; {waiting()} wait", 120, interval=0.25)
            stage.db.run("SELECT webhook_update('flaky0', url => %s)", flaky.url("/0"))
            with repeated(stage, "INSERT INTO flaky VALUES (0, 'x')", 0.1):
                yield
            old.rollback()
        flaky.close()
    return against(f"an idle REPEATABLE READ transaction, {events} dead rows", server, nginx, quick, adversary)


def dead_in_front(server, nginx, quick):
    events = 50_000 if quick else 1_000_000

    @contextlib.contextmanager
    def adversary(stage):
        port = free_port()
        other_table(stage, 1, lambda _: f"http://127.0.0.1:{port}/", "dead")
        for first in range(1, events, 50_000):
            stage.db.run("INSERT INTO dead SELECT i, 'x' FROM generate_series(%s::int, %s) i", first, first + 49_999)
        yield
    return against(f"{events} events of a dead endpoint in front", server, nginx, quick, adversary)


def nine_of_ten_dead(server, nginx, quick):
    @contextlib.contextmanager
    def adversary(stage):
        with mute_listener(0) as hole, mute_listener(1024) as silent:
            ports = [free_port(), hole, silent]
            other_table(stage, 9, lambda n: f"http://127.0.0.1:{ports[n % 3]}/", "dead", timeout_seconds=5)
            stage.db.run("INSERT INTO dead SELECT i, 'x' FROM generate_series(1, 1000) i")
            yield
    return against("9 of 10 endpoints dead", server, nginx, quick, adversary)


SLOW = """
import http.server, time, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"])); time.sleep(1)
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
server = Server(("127.0.0.1", 0), Handler); print(server.server_address[1], flush=True); server.serve_forever()
"""


def fifty_slow(server, nginx, quick):
    @contextlib.contextmanager
    def adversary(stage):
        receiver = subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, text=True)
        try:
            port = int(receiver.stdout.readline())
            other_table(stage, 50, lambda n: f"http://127.0.0.1:{port}/{n}", "slow")
            stage.db.run("INSERT INTO slow SELECT i, 'x' FROM generate_series(1, 100) i")
            yield
        finally:
            receiver.kill()
            receiver.wait()
    return against("50 endpoints that take 1 s", server, nginx, quick, adversary)


def limited(name, server, nginx, quick, endpoints, bodies, size):
    """Against endpoints that take one body a second."""
    @contextlib.contextmanager
    def adversary(stage):
        other_table(stage, endpoints, lambda n: nginx.url(f"/limited/{n}"), "limited", rate_limit=1)
        stage.fill_at_random("limited", bodies, size)
        yield
    return against(name, server, nginx, quick, adversary)


def limited_bodies(server, nginx, quick):
    return limited("150 bodies of 1 MB at rate_limit => 1", server, nginx, quick, 1, 150, 960_000)


def slow_bodies(server, nginx, quick):
    return limited("bodies of 3 kB for 100 slow endpoints", server, nginx, quick, 100, 300, 2_880)


def due_at_a_start(server, nginx, quick):
    """Each with some events in the backlog, of which it takes one a second."""
    webhooks = 200 if quick else 2000

    @contextlib.contextmanager
    def adversary(stage):
        stage.db.run("SELECT webhook_create('due' || n, %s || n, events => '{tick}', rate_limit => 1) FROM generate_series(1, %s::int) AS n",
                     nginx.url("/due/"), webhooks)
        stage.db.run("SELECT webhook_pause('due' || n) FROM generate_series(1, %s::int) AS n", webhooks)
        stage.db.run("SELECT webhook_emit('tick', to_jsonb(n)) FROM generate_series(1, 20) AS n")
        waiting = lambda: stage.db.value("SELECT count(*) FROM webhook.pending")
        wait_until(lambda: waiting() == 20 * webhooks, lambda: f"the backlog; {waiting()} wait", 120, interval=0.25)
        stage.sending(False)
        stage.db.run("SELECT webhook_resume('due' || n) FROM generate_series(1, %s::int) AS n", webhooks)
        stage.db.run("SELECT pg_terminate_backend(%s)", stage.pid)
        stage.sending(True)
        stage.pid = stage.db.wait_for_worker(other_than=stage.pid)
        yield
        taken = stage.db.value("SELECT count(DISTINCT webhook_id) FROM webhook.attempt")
        assert taken > webhooks, f"{taken - 1} of {webhooks} have been sent anything"
    return against(f"{webhooks} webhooks with events due at a start", server, nginx, quick, adversary)


def locked_backlog(server, nginx, quick):
    """As VACUUM FULL has it, while what fails is to be written there."""
    @contextlib.contextmanager
    def adversary(stage):
        port = free_port()
        other_table(stage, 9, lambda n: f"http://127.0.0.1:{port}/{n}", "dead")
        with stage.db.connect(autocommit=False) as vacuum:
            vacuum.execute("LOCK TABLE webhook.pending IN ACCESS EXCLUSIVE MODE")
            stage.db.run("INSERT INTO dead SELECT i, 'x' FROM generate_series(1, 1000) i")
            yield
            vacuum.rollback()
    return against("a lock on the backlog while 9 endpoints fail", server, nginx, quick, adversary)


def silent_resolver(server, nginx, quick):
    """The server and the receiver of this one are in a namespace whose resolver answers nothing."""
    try:
        return [Row(**row) for row in namespace.rows("names_without_answer")]
    except namespace.Refused as reason:
        return [Row("DNS that does not answer for 50 names", 0, "x", 1, beside=f"not measured: {reason}")]


def names_without_answer(server, nginx, quick):
    """Beside a webhook whose name is known, and one whose name is asked for after the others."""
    healthy, new, silent = "healthy.example.net", "new.example.net", [f"silent{n}.example.net" for n in range(50)]
    waited = []

    @contextlib.contextmanager
    def adversary(stage):
        namespace.know(healthy, new, *silent)  # otherwise they would not be registered
        other_table(stage, 50, lambda n: f"http://{silent[n]}/", "silent", timeout_seconds=2)
        other_table(stage, 1, lambda _: nginx.url("/new", new), "new", timeout_seconds=5, retry_backoff_seconds=1)
        namespace.know(healthy, new)
        stage.db.run("INSERT INTO silent SELECT i, 'x' FROM generate_series(1, 100) i")
        if not quick:
            pause(STALE - (time.monotonic() - began))
        yield
        failed = stage.db.value("SELECT count(*) FROM webhook.attempts WHERE error_class = 'dns'")
        assert failed > 0, "the resolver answered"
        asked = time.monotonic()
        stage.db.run("INSERT INTO new VALUES (1, 'x')")
        with contextlib.suppress(AssertionError):
            stage.settle(1, "new0", timeout=3 if quick else 30)
        waited.append(time.monotonic() - asked)

    namespace.know(healthy)
    began = time.monotonic()
    name = "DNS that does not answer for 50 names"
    rows = against(name, server, nginx, quick, adversary, nginx.url(host=healthy))
    # Its name is in a file: all that it can wait for is the others' lookups.
    return [*rows, Row(f"{name}: first request to another", waited[0], "s", 1, "most")]


def inserts(events, nginx):
    """The adversary that writes so many rows in one transaction, of another webhook."""
    @contextlib.contextmanager
    def adversary(stage):
        # A table and an endpoint of its own, so that the rows of both loads can be told apart.
        other_table(stage, 1, lambda _: nginx.url("/large"), "large")

        def insert():
            with stage.db.connect() as other:
                other.execute("INSERT INTO large SELECT i, 'x' FROM generate_series(1, %s::int) i", [events])

        thread = threading.Thread(target=insert)
        thread.start()
        yield
        thread.join()
    return adversary


def large_transaction(server, nginx, quick):
    events = 50_000 if quick else 1_000_000
    return against(f"a transaction of {events} rows", server, nginx, quick, inserts(events, nginx))


def turning_ring(server, nginx, quick):
    @contextlib.contextmanager
    def adversary(stage):
        server.reload(pg_webhook__log_retention="60", autovacuum_naptime="'1s'")
        with repeated(stage, "UPDATE webhook.ring SET since = since - interval '1 hour'", 0.5):
            yield
        server.reload(pg_webhook__log_retention="'7d'", autovacuum_naptime="'1min'")
    return against("the ring turning over", server, nginx, quick, adversary)


HOSTILE = [
    drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000),
    drip(b"y" * 1000, first=b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n"),
    endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 10),
    endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    endless(b"HTTP/1.1 500 No\r\nContent-Length: 1000000000000\r\n\r\n", b"y" * 1024),
]

# More than the sockets of both sides take in.
LARGE = 12_000_000


def hostile_receivers(server, nginx, quick):
    """Answers that never end, and requests that are hardly read: each attempt ends within its timeout and a
    second more. Five attempts for each webhook, because the breaker lets no more through."""
    receiver, reader = Receiver(), Receiver(bytes_per_second=100)
    for number in range(15):
        receiver.on(f"/{number}", HOSTILE[number % len(HOSTILE)])
    stage = Stage(server, "hostile", None)
    timeout = 1 if quick else 2
    settings = {"timeout_seconds": timeout, "max_retries": 0}
    other_table(stage, 15, lambda n: receiver.url(f"/{n}"), "hostile", **settings)
    other_table(stage, 5, lambda n: reader.url(f"/{n}"), "unread", **settings)
    before = most = private_memory(stage.pid)
    stage.db.run("SET pg_webhook.max_payload_bytes = '32MB'")
    stage.db.run("INSERT INTO unread SELECT i, repeat('x', %s) FROM generate_series(1, 5) i", LARGE)
    stage.db.run("INSERT INTO hostile SELECT i, 'x' FROM generate_series(1, 5) i")

    def ended():
        nonlocal most
        most = max(most, private_memory(stage.pid))
        return stage.db.value("SELECT count(*) FROM webhook.deliveries WHERE status = 'dead'") == 100

    wait_until(ended, lambda: f"100 attempts to end; there are {stage.db.statuses()}", 60, interval=0.1)
    after = private_memory(stage.pid)
    made, in_time, longest = stage.db.rows(
        "SELECT count(*), count(*) FILTER (WHERE latency_ms <= %s), max(latency_ms)::float FROM webhook.attempts",
        (timeout + 1) * 1000)[0]
    unread = stage.db.value("SELECT count(*) FROM webhook.deliveries WHERE webhook LIKE 'unread%%' AND starts_with(error, %s)",
                            f"no answer within {timeout} s")
    assert (made, unread) == (100, 25), f"{made} attempts, {unread} of them not read"
    stage.drop()
    receiver.close()
    reader.close()
    return [
        Row("hostile receivers: attempts that end in time", in_time / made, "x", 1.0,
            beside=f"{made} attempts with a timeout of {timeout} s, longest {longest / 1000:.2f} s"),
        Row("hostile receivers: memory added", after - before, "MiB", 8, "most",
            f"meanwhile {most - before:.0f} MiB, with 25 bodies of {LARGE / 1e6:.0f} MB"),
    ]


ALL = [old_snapshot, dead_in_front, nine_of_ten_dead, hostile_receivers, fifty_slow, limited_bodies, slow_bodies, due_at_a_start,
       locked_backlog, silent_resolver, large_transaction, turning_ring]
