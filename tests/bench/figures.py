"""The figures: each function measures one thing and returns rows of the table."""

import dataclasses
import json
import statistics
import threading
import time

from harness.memory import private_memory
from harness.receiver import Receiver
from harness.waiting import wait_until
from machine import cpu, cpu_of_all, cpu_of_ended, memory
from stage import INSERT, ROWS, TABLE, Stage, pause


@dataclasses.dataclass
class Row:
    """A line of the table. `value` is compared with `target`, as `sense` says."""

    name: str
    value: float
    unit: str
    target: float | None = None
    sense: str = "least"
    beside: str = ""

    @property
    def met(self):
        if self.target is None:
            return None
        return self.value >= self.target if self.sense == "least" else self.value <= self.target


def of_the_server(stage, events):
    """Microseconds of processor time that PostgreSQL takes by itself to read the events and to write as many rows of the log, in two
    statements: nobody does it with less."""
    with stage.db.connect() as session:
        pid = session.execute("SELECT pg_backend_pid()").fetchone()[0]
        session.execute("CREATE TABLE logged (LIKE webhook.attempt_0 INCLUDING INDEXES)")
        before = cpu(pid)
        session.execute("SELECT sum(length(payload)) FROM webhook.event")
        session.execute("INSERT INTO logged SELECT * FROM webhook.attempt")
        return (cpu(pid) - before) / events * 1e6


def drained(stage, nginx, events, fill, batch=1, afterwards=lambda: None):
    """What waits once `fill` is done, as fast as it goes, all logged: events per second, CPU of each and bytes of WAL. `afterwards` is
    called while it is all there."""
    stage.sending(False)
    fill()
    stage.db.run("CHECKPOINT")
    before = {"leader": cpu(stage.pid), "receiver": cpu(*nginx.pids())}
    sent = nginx.requests()
    wal = stage.wal()
    stage.sending(True)
    wait_until(lambda: nginx.requests() - sent >= events // batch, "all to arrive", 300, interval=0.05)
    logged = lambda: stage.db.value("SELECT count(*) FROM webhook.attempt")
    wait_until(lambda: logged() >= events, lambda: f"{events} in the log; there are {logged()}", interval=0.25)
    used = {"leader": cpu(stage.pid) - before["leader"], "receiver": cpu(*nginx.pids()) - before["receiver"]}
    seconds = float(stage.db.value("SELECT extract(epoch FROM max(started_at) - min(started_at)) FROM webhook.attempt"))
    written = stage.wal() - wal
    requests = nginx.requests() - sent
    assert logged() == events and requests >= events // batch, f"{logged()} logged, {requests} received"
    assert batch > 1 or requests == events, f"{requests} requests"
    afterwards()
    stage.drop()
    return events / seconds, {name: used[name] / events * 1e6 for name in used}, written / events


def drain(server, nginx, quick):
    """Waiting events of one webhook."""
    events = 50_000 if quick else 200_000
    wrk, least, _ = nginx.cost(2 if quick else 6)
    stage = Stage(server, "drain", nginx.url())
    alone = []
    rate, each, written = drained(stage, nginx, events, lambda: stage.fill(1, events),
                                  afterwards=lambda: alone.append(of_the_server(stage, events)))
    secure = Stage(server, "secure", nginx.tls_url())
    over_tls = drained(secure, nginx, events, lambda: secure.fill(1, events))[0]
    return [
        Row("drain: deliveries per second", rate, "/s", 35_000, beside=f"{events} events"),
        Row("drain: against wrk -t1 -c64", rate / wrk, "x", 0.3, beside=f"wrk {wrk:.0f}/s"),
        Row("drain: over TLS, against plain", over_tls / rate, "x", 0.8, beside=f"{over_tls:.0f}/s"),
        Row("CPU of the leader and its threads, per delivery", each["leader"], "us", 16, "most"),
        Row("CPU of the same, against wrk that sends and PostgreSQL that reads and logs by itself", each["leader"] / (least + alone[0]), "x",
            beside=f"wrk {least:.2f} us, PostgreSQL {alone[0]:.2f} us; signing is not in it"),
        Row("CPU of the receiver, per delivery", each["receiver"], "us"),
        Row("WAL of the log, per delivery", written, "bytes"),
    ]


def batches(server, nginx, quick):
    """As many events in requests of a hundred, against requests of their own."""
    events = 100_000 if quick else 400_000
    single = Stage(server, "single", nginx.url())
    one = drained(single, nginx, events // 2, lambda: single.fill(1, events // 2))[0]
    stage = Stage(server, "batches", nginx.url(), batch_size=100)
    alone = []
    rate, each, written = drained(stage, nginx, events, lambda: stage.fill(1, events), batch=100,
                                  afterwards=lambda: alone.append(of_the_server(stage, events)))
    return [
        Row("batches of 100: deliveries per second", rate, "/s", 150_000, beside=f"{events} events"),
        Row("batches of 100: against single requests", rate / one, "x", 3, beside=f"single {one:.0f}/s"),
        Row("batches of 100: CPU of the leader and its threads, per delivery", each["leader"], "us"),
        Row("batches of 100: CPU of the same, against PostgreSQL that reads and logs by itself", each["leader"] / alone[0], "x",
            beside=f"{alone[0]:.2f} us; one process can do no more than {1e6 / alone[0]:.0f}/s"),
        Row("batches of 100: WAL of the log, per delivery", written, "bytes"),
    ]


def many_endpoints(server, nginx, quick):
    """As many events as of one webhook, of a thousand."""
    webhooks, each = (200, 50) if quick else (1000, 50)
    events = webhooks * each
    alone = Stage(server, "alone", nginx.url())
    one = drained(alone, nginx, events, lambda: alone.fill(1, events))[0]
    stage = Stage(server, "many", None)
    stage.db.run("SELECT webhook_create('hook' || n, %s || n, events => '{tick}') FROM generate_series(1, %s::int) AS n",
                 nginx.url("/"), webhooks)
    tick = "SELECT webhook_emit('tick', (SELECT to_jsonb(o) FROM orders AS o)) FROM generate_series(1, %s::int)"
    stage.fill(1, 1)
    rate = drained(stage, nginx, events, lambda: stage.db.run(tick, each))[0]
    return [Row(f"{webhooks} endpoints: deliveries per second, against one", rate / one, "x", 0.5, beside=f"{rate:.0f} and {one:.0f}/s")]


def large_bodies(server, nginx, quick):
    """Of 500 kB."""
    events, size = 100 if quick else 1000, 500_000
    wrk = nginx.wrk(2 if quick else 5, size)
    stage = Stage(server, "large", None)
    stage.db.run("CREATE TABLE large (id int, note text)")
    stage.db.create("healthy", nginx.url(), table_name="large", max_concurrency=64)
    rate = drained(stage, nginx, events, lambda: stage.fill_at_random("large", events, size))[0]
    return [Row("bodies of 500 kB: deliveries per second, against wrk", rate / wrk, "x", 0.3, beside=f"{rate:.0f} and {wrk:.0f}/s")]


def live(server, nginx, quick):
    """One insert a transaction by 8 clients, delivered while they write."""
    stage = Stage(server, "live", nginx.url())
    before = used_by_each(stage, nginx)
    seconds = 4 if quick else 20
    rate, tps, events, delays = written_and_delivered(stage, seconds)
    used = {name: after - before[name] for name, after in used_by_each(stage, nginx).items()}
    stage.db.run("SELECT webhook_update('healthy', enabled => false)")
    stage.db.run("CHECKPOINT")
    alone, busy = cpu_of_ended(stage.server.postmaster_pid()), cpu_of_all()
    unwatched = stage.pgbench(INSERT, seconds)
    alone, busy = cpu_of_ended(stage.server.postmaster_pid()) - alone, cpu_of_all() - busy
    transaction = busy / (unwatched * seconds) * 1e6
    capture = used["the backends"] / events * 1e6 - alone / (unwatched * seconds) * 1e6
    request = sum(nginx.cost(2)[1:])
    bound = transaction / (transaction + capture + request)
    beside = f"pgbench {tps:.0f}/s, {unwatched:.0f}/s without the webhook"
    half = stage.now()
    stage.db.run("SELECT webhook_update('healthy', enabled => true)")
    stage.pgbench(INSERT, 2 if quick else 10, rate=round(tps / 2))
    stage.settle(stage.db.value("SELECT count(*) FROM webhook.event"))
    p50, p99, _ = stage.delays(half)
    stage.drop()
    return [
        *speed("live", rate, beside, delays),
        Row("live: against pgbench without the webhook", rate / unwatched, "x", 0.7),
        Row("live: what it would be if reading, signing and logging took nothing", bound, "x",
            beside=f"a transaction takes {transaction:.1f} us of the processors, capture {capture:.1f}, a request of wrk {request:.1f}"),
        Row("live: p50 at half of that load", p50, "ms", 10, "most", f"p99 {p99:.1f} ms"),
        *(Row(f"live: CPU of {name}, per event", seconds / events * 1e6, "us") for name, seconds in used.items()),
    ]


def live_without_disk(server, nginx, quick):
    """The same where no commit waits for the disk, which without a limit would be written faster than a
    receiver on the same two cores can take it: what is left is the engine."""
    stage = Stage(server, "asynchronous", nginx.url())
    rate, tps, _, delays = written_and_delivered(stage, 3 if quick else 10, rate=15_500,
                                                 settings=("synchronous_commit=off",))
    stage.drop()
    return speed("live, synchronous_commit off", rate, f"pgbench {tps:.0f}/s, of 15500/s asked for", delays)


def written_and_delivered(stage, seconds, **load):
    """Events per second from the first write to the last delivery, pgbench's transactions per second, the
    events, and their delays."""
    since = stage.now()
    already = stage.finished()
    tps = stage.pgbench(INSERT, seconds, **load)
    events = stage.db.value("SELECT count(*) FROM webhook.event WHERE created_at >= %s", since)
    stage.settle(already + events)
    took = stage.db.value("SELECT extract(epoch FROM (SELECT max(started_at) FROM webhook.attempt) - min(created_at))"
                          " FROM webhook.event WHERE created_at >= %s", since)
    return events / float(took), tps, events, stage.delays(since)


def speed(name, rate, beside, delays):
    """Whether enough is delivered, and soon enough."""
    p50, p99, longest = delays
    return [
        Row(f"{name}: written and delivered per second", rate, "/s", 15_000, beside=beside),
        Row(f"{name}: longest wait of an event", longest / 1000, "s", 1, "most", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"),
    ]


def used_by_each(stage, nginx):
    """Seconds of CPU of each process that an event passes through; of backends those that have ended."""
    return {
        "the backends": cpu_of_ended(stage.server.postmaster_pid()),
        "the leader and its threads": cpu(stage.pid),
        "the receiver": cpu(*nginx.pids()),
    }


def recovery(server, nginx, quick):
    """A receiver that stops for a second while 8 clients write as fast as they can."""
    seconds, calm = (5, 2) if quick else (9, 3)
    stage = Stage(server, "recovery", nginx.url())
    going_on = []

    def stop_and_go_on():
        pause(1)
        with nginx.stopped():
            pause(1)
        going_on.append(stage.now())

    receiver = threading.Thread(target=stop_and_go_on)
    receiver.start()
    tps = stage.pgbench(INSERT, seconds)
    receiver.join()
    events = stage.db.value("SELECT count(*) FROM orders")
    stage.settle(events)
    since = stage.db.value("SELECT %s + make_interval(secs => %s)", going_on[0], calm)
    longest = stage.delays(since)[2]
    spilled = stage.spilled()
    stage.drop()
    return [
        Row(f"recovery: longest wait, {calm} s after a receiver's pause of 1 s", longest / 1000, "s", 1, "most",
            f"{spilled} of {events} events had to wait in webhook.pending, pgbench {tps:.0f}/s"),
    ]


def capture(server, nginx, quick):
    """CPU per row of the writer, added to a plain insert, against plpgsql that writes jsonb."""
    events, rounds = (50_000, 3) if quick else (100_000, 5)
    stage = Stage(server, "capture", nginx.url())
    stage.sending(False)
    for name in ("plain", "plpgsql"):
        stage.db.run(TABLE.format(name=name))
    stage.db.run("CREATE TABLE envelope (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), body jsonb)")
    stage.db.run("""CREATE FUNCTION to_envelope() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO envelope (body) VALUES (jsonb_build_object('event', TG_OP, 'schema', TG_TABLE_SCHEMA,
            'table', TG_TABLE_NAME, 'record', to_jsonb(NEW), 'old_record', NULL, 'timestamp', now()));
        RETURN NULL; END $$""")
    stage.db.run("CREATE TRIGGER t AFTER INSERT ON plpgsql FOR EACH ROW EXECUTE FUNCTION to_envelope()")
    used = {"plain": [], "orders": [], "plpgsql": []}
    written = {}
    with stage.db.connect() as writer:
        pid = writer.execute("SELECT pg_backend_pid()").fetchone()[0]
        for _ in range(rounds):
            for name, times in used.items():
                before, wal = cpu(pid), stage.wal()
                writer.execute(ROWS.format(name=name, first=1, last=events))
                times.append((cpu(pid) - before) / events * 1e6)
                written.setdefault(name, (stage.wal() - wal) / events)
    stage.sending(True)
    stage.drop()
    plain, ours, theirs = (statistics.median(used[name]) for name in ("plain", "orders", "plpgsql"))
    return [
        Row("capture: CPU added per row", ours - plain, "us", 5.5, "most", f"plain {plain:.2f} us, watched {ours:.2f} us"),
        Row("capture: against plpgsql with jsonb", (ours - plain) / (theirs - plain), "x", 0.65, "most",
            f"plpgsql adds {theirs - plain:.2f} us"),
        Row("capture: WAL added per row", written["orders"] - written["plain"], "bytes",
            beside=f"plpgsql adds {written['plpgsql'] - written['plain']:.0f}"),
    ]


def oltp(server, nginx, quick, batch=1):
    """Transactions per second of 8 clients with the webhook on, against off; and with events that are written and not sent, which is what
    sending them could reach at most."""
    # At first a leader does not know yet how much is written; for a second it sends in small batches.
    seconds, rounds = (4, 2) if quick else (8, 5)
    stage = Stage(server, "oltp", nginx.url(), batch_size=batch)
    stage.pgbench_tables(scale=10)
    stage.db.run("SELECT webhook_watch('healthy', 'pgbench_accounts', '{UPDATE}')")

    def in_turns(script, seconds):
        """Transactions per second, the median of all rounds, with the webhook off, with nothing sent, and with the webhook on."""
        tps = {"off": [], "unsent": [], "on": []}
        for number in range(rounds):
            # Whatever grows or slows down meanwhile is nobody's advantage.
            for what in list(tps) if number % 2 == 0 else reversed(tps):
                stage.db.run("SELECT webhook_update('healthy', enabled => %s)", what != "off")
                stage.sending(what != "unsent")
                tps[what].append(stage.pgbench(script, seconds, settings=("synchronous_commit=on",)))
                # Nor does one pay for what another one has left to be sent, or to be written to the disk.
                stage.sending(True)
                stage.settle(stage.db.value("SELECT count(*) FROM webhook.event"))
                stage.db.run("CHECKPOINT")
        return {what: statistics.median(each) for what, each in tps.items()}

    def ratios(name, tps, target):
        def against_off(name, what, target=None):
            return Row(name, tps[what] / tps["off"], "x", target, beside=f"{tps[what]:.0f} and {tps['off']:.0f} TPS")

        return [against_off(f"{name} sent{together}, on against off", "on", target),
                against_off(f"{name} written as an event and not sent, against off", "unsent")]

    together = f" in batches of {batch}" if batch > 1 else ""
    rows = ratios("OLTP: TPC-B with each account's update", in_turns(None, seconds), 0.92 if batch > 1 else 0.85)
    if not quick and batch == 1:
        rows += ratios("OLTP: single-row inserts, each", in_turns(INSERT, seconds // 2), None)
    stage.drop()
    return rows


def oltp_in_batches(server, nginx, quick):
    """The same, a hundred events in a request."""
    return oltp(server, nginx, quick, batch=100)


def latency(server, nginx, quick):
    """From the end of COMMIT, as the client sees it, to the request in the receiver, 100 times a second."""
    count = 200 if quick else 2000
    receiver = Receiver()
    stage = Stage(server, "latency", receiver.url())
    committed = {}
    for i in range(count):
        due = time.monotonic() + 0.01
        stage.db.run("INSERT INTO orders (id) VALUES (%s)", i)
        committed[i] = time.time()
        pause(max(0, due - time.monotonic()))
    stage.settle(count)
    arrived = {json.loads(r.body)["record"]["id"]: r.time for r in receiver.got()}
    stage.drop()
    receiver.close()
    delays = sorted((arrived[i] - committed[i]) * 1000 for i in committed)
    p50, p99 = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
    return [
        Row("latency: commit to receive, p50", p50, "ms", 1.5, "most", f"longest {delays[-1]:.1f} ms"),
        Row("latency: commit to receive, p99", p99, "ms", 10, "most"),
    ]


def backlog(server, nginx, quick):
    """The leader's memory while it works on many waiting events."""
    events = 100_000 if quick else 1_000_000
    stage = Stage(server, "backlog", nginx.url())
    stage.sending(False)
    for first in range(1, events, 100_000):
        stage.fill(first, first + 99_999)
    stage.sending(True)
    most = 0.0
    while stage.finished() < events // 10:
        most = max(most, private_memory(stage.pid))
        pause(0.2)
    high = memory(stage.pid, "VmHWM")
    stage.drop()
    return [Row(f"memory: the leader's own, {events} events waiting", most, "MiB", 256, "most",
                f"with shared buffers touched {high:.0f} MiB")]


def idle(server, nginx, quick):
    """What a worker does that has nothing to do."""
    seconds = 15 if quick else 60
    stage = Stage(server, "idle", nginx.url())
    stage.fill(1, 1)
    stage.settle(1)
    pause(3)
    looks = "SELECT sum(idx_scan) + sum(seq_scan) FROM pg_stat_all_tables WHERE relname = 'event_0'"
    before, used = float(stage.db.value(looks)), cpu(stage.pid)
    pause(seconds)
    stage.db.run("SELECT pg_stat_force_next_flush()")
    scans, used = float(stage.db.value(looks)) - before, cpu(stage.pid) - used
    stage.drop()
    return [
        Row("idle: looks per minute", scans / seconds * 60, "/min", 12, "most"),
        Row("idle: CPU", used / seconds * 100, "%", 0.1, "most"),
    ]


ALL = [drain, batches, many_endpoints, large_bodies, live, live_without_disk, recovery, capture, oltp, oltp_in_batches, latency, backlog, idle]
