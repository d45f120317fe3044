"""What happens to a server, and what each may cost."""

import contextlib
import os
import pathlib
import random
import signal
import time

import psycopg

from harness import wait_until
from harness.clock import Clock
from harness.disk import Disk
from harness.preload import environment

#: How a fault ends what was going on. An orderly end repeats nothing that was answered; in a crash of the worker or the server
#: some of it may be repeated; the others end nothing.
ORDERLY, CRASH, NONE = "orderly", "crash", "none"

#: The clock is set by at most so many seconds.
STEP = 3600


class Victim:
    """A server with its disk and its clock. A standby takes its place where that is promoted."""

    def __init__(self, server, steps=0):
        self.server, self.disk, self.clock = server, Disk(server), Clock(server)
        #: Lines of the logs of servers before this one that there should not be.
        self.wrong = []
        #: How often a standby has taken its place.
        self.promotions = 0
        self.set_clock(steps)

    def set_clock(self, seconds):
        self.steps = seconds
        self.clock.set(seconds)

    def is_succeeded_by(self, other):
        self.look_for_what_is_wrong()
        self.promotions += 1
        self.server, self.disk, self.clock = other.server, other.disk, other.clock

    def look_for_what_is_wrong(self):
        self.wrong += self.server.log_lines("TRAP|panicked|XX000")

    def environment(self):
        return environment(self.disk, self.clock)

    def start(self):
        # What is left of a server that was killed takes a moment to end.
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.server.start(**self.environment())
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def answers(self):
        """Somebody can connect, and the launcher is there."""
        try:
            with self.server.connect() as connection:
                return connection.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_webhook launcher'").fetchone()[0]
        except psycopg.OperationalError:
            return False

    def back(self):
        """Wait until it serves, which it does by itself after most crashes."""
        def serves():
            if not self.server.running():
                self.start()
            return self.answers()
        wait_until(serves, "the server to be back", 120, interval=0.05)

    def kill(self, kind, dice):
        """Kill one of those processes, and wait until the server has noticed."""
        before = self.server.processes("checkpointer")
        if self.hit(kind, signal.SIGKILL, dice):
            wait_until(lambda: not self.server.running() or self.server.processes("checkpointer") not in (before, []), "the server to begin anew")

    def hit(self, kind, number, dice):
        """Send a signal to one of those processes, if there is any."""
        found = self.server.processes(kind)
        if not found:
            return None
        victim = dice.choice(found)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, number)
        return victim


def immediate_stop(victim, dice):
    victim.server.crash()
    victim.start()


def fast_stop(victim, dice):
    began = time.monotonic()
    victim.server.stop("fast")
    victim.took = time.monotonic() - began
    victim.start()


def kill_postmaster(victim, dice):
    children = victim.server.processes("postgres")
    os.kill(victim.server.postmaster_pid(), signal.SIGKILL)
    left = lambda: [pid for pid in children if os.path.exists(f"/proc/{pid}")]
    wait_until(lambda: not left(), lambda: f"the server to be gone; there is {[title(pid) for pid in left()]}")
    victim.start()


def title(pid):
    """What a process calls itself, and what it waits for."""
    with contextlib.suppress(OSError):
        return [pathlib.Path(f"/proc/{pid}/{name}").read_text() for name in ("cmdline", "wchan")]


def kill_backend(victim, dice):
    # A client's: its title names the database and where it comes from.
    victim.kill("[local]", dice)


def kill_worker(victim, dice):
    victim.kill("pg_webhook worker", dice)


def kill_launcher(victim, dice):
    victim.kill("pg_webhook launcher", dice)


def terminate_worker(victim, dice):
    victim.hit("pg_webhook worker", signal.SIGTERM, dice)


def terminate_launcher(victim, dice):
    victim.hit("pg_webhook launcher", signal.SIGTERM, dice)


def terminate_backend(victim, dice):
    victim.hit("[local]", signal.SIGTERM, dice)


def stand_still(victim, dice):
    kind = dice.choice(("pg_webhook worker", "pg_webhook worker", "pg_webhook launcher", "[local]", "walwriter"))
    pid = victim.hit(kind, signal.SIGSTOP, dice)
    time.sleep(dice.uniform(0.1, 3))
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def full_disk(victim, dice):
    """Where the log of changes cannot grow, the server crashes; and a worker that is about to end cannot write what it knows."""
    there = lambda: victim.server.processes("checkpointer") + victim.server.processes("pg_webhook worker")
    before, said = there(), len(victim.server.log_text())
    victim.disk.fill()
    time.sleep(dice.uniform(0.3, 2))
    victim.disk.fill(False)
    victim.back()
    crashed = there() != before or victim.server.log_lines("PANIC|terminated by signal", said)
    return CRASH if crashed else NONE


def set_clock(victim, dice):
    victim.set_clock(round(dice.uniform(-STEP, STEP)))


def reload(victim, dice):
    victim.server.reload(pg_webhook__enabled="off")
    time.sleep(dice.uniform(0, 0.3))
    victim.server.reload(pg_webhook__enabled="on")


def promote_standby(victim, dice):
    """The server is gone for good, and a synchronous standby takes its place."""
    server = victim.server
    successor = Victim(server.standby(), victim.steps)
    try:
        successor.start()
        server.reload(synchronous_standby_names="'*'")
        with server.connect() as admin:
            synchronous = "SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication"
            wait_until(lambda: admin.execute(synchronous).fetchone()[0], "the standby to be synchronous")
            # Commits wait for it once the checkpointer has read the setting.
            admin.execute("CHECKPOINT")
        time.sleep(dice.uniform(0, 0.5))
        server.crash()
        successor.server.promote()
    except BaseException:
        successor.server.destroy()
        raise
    victim.is_succeeded_by(successor)
    server.destroy()


#: Each with how it ends what goes on, where it does not say so itself, and how often it is drawn.
FAULTS = {
    immediate_stop: (CRASH, 3), kill_postmaster: (CRASH, 2), kill_backend: (CRASH, 3), kill_worker: (CRASH, 3), kill_launcher: (CRASH, 1),
    fast_stop: (ORDERLY, 3), terminate_worker: (ORDERLY, 4), terminate_launcher: (NONE, 1), stand_still: (NONE, 3),
    terminate_backend: (NONE, 2), full_disk: (CRASH, 3), set_clock: (NONE, 2), reload: (NONE, 1), promote_standby: (CRASH, 1),
}


def draw(dice):
    """One of them."""
    faults = list(FAULTS)
    return dice.choices(faults, [FAULTS[fault][1] for fault in faults])[0]


def drawn(seed):
    """Faults without end, each with its own dice and how much is to be sent before it."""
    dice = random.Random(seed)
    while True:
        yield draw(dice), random.Random(dice.random()), dice.randrange(20, 600)
