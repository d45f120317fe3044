"""A private PostgreSQL cluster with the extension's library."""

import contextlib
import functools
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import psycopg

from .locks import locked
from .places import BIN, RUN
from .session import Session
from .waiting import PATIENCE, wait_until

INITDB = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"]

# Enough of a server for tests; durable, because that is what they are about.
SETTINGS = {
    "listen_addresses": "''",
    "shared_preload_libraries": "'pg_webhook'",
    "pg_webhook.allow_http": "on",
    "pg_webhook.allowed_networks": "'127.0.0.0/8, ::1'",
    "max_connections": "200",
    "max_worker_processes": "64",
    "max_prepared_transactions": "20",
    "shared_buffers": "'64MB'",
    # In the cluster's folder, so that nothing is left of a server that was killed once that is gone.
    "dynamic_shared_memory_type": "mmap",
    "log_line_prefix": "'%m [%p] %b %d '",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


@functools.cache
def version(bin):
    """What initdb says of itself."""
    return subprocess.run([bin / "initdb", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout


class Cluster:
    """One server in a folder of its own, reached through a socket in that folder; its processes may
    have `files` open (soft:hard, as prlimit takes it). `bin` is where its programs are, `initdb` what that is told besides."""

    def __init__(self, name="cluster", files=None, bin=BIN, initdb=(), **settings):
        self.bin, self._initdb = bin, [*INITDB, *initdb]
        self._make_folder(name)
        self._limited = ["prlimit", f"--nofile={files}"] if files else []
        subprocess.run([*self._as_user, "cp", "-a", self._initialised(), self.data], cwd="/", timeout=60, check=True)
        self.configure(unix_socket_directories=f"'{self.folder}'", **{**SETTINGS, **settings})

    def _make_folder(self, name):
        RUN.mkdir(parents=True, exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}.", dir=RUN))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.port = 5432
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as_user:
            shutil.chown(self.folder, "postgres")

    def copy(self, name="copy"):
        """A cluster that begins with what the files of this one hold now, while it runs."""
        other = Cluster.__new__(Cluster)
        other._make_folder(name)
        other.bin, other._limited = self.bin, self._limited
        self._run("pg_basebackup", "-D", other.data, "-h", self.folder, "-p", self.port, "-U", "postgres", "-c", "fast")
        other.configure(unix_socket_directories=f"'{other.folder}'")
        return other

    def standby(self, name="standby"):
        """A cluster that begins so and follows this one."""
        other = self.copy(name)
        (other.data / "standby.signal").touch()
        other.configure(primary_conninfo=f"'host={self.folder} port={self.port} user=postgres'")
        return other

    def _environment(self):
        # A backtrace in the environment would become part of every error's DETAIL.
        return {k: v for k, v in os.environ.items() if not k.startswith(("RUST_", "PG"))}

    def _initialised(self):
        """A data folder as initdb makes it, to be copied, which is ten times as fast. It is made once and stays
        for the next run, under a name that says how it was made. So all clusters have one system identifier."""
        made_by = " ".join([*self._initdb, version(self.bin)])
        template = RUN / f"initdb.{hashlib.sha256(made_by.encode()).hexdigest()[:12]}"
        with locked("initdb"):
            if not template.exists():
                self._run("initdb", *self._initdb, "-D", self.folder / "template")
                (self.folder / "template").rename(template)
        return template

    def _run(self, program, *arguments, check=True, timeout=120, cwd="/"):
        command = [*self._as_user, str(self.bin / program), *map(str, arguments)]
        done = subprocess.run(
            command, env=self._environment(), cwd=cwd, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stdout}\n{self.log_text()[-4000:]}")
        return done

    def configure(self, **settings):
        """Append settings to postgresql.conf; they hold after a start or a reload."""
        with open(self.data / "postgresql.conf", "a") as conf:
            for name, value in settings.items():
                conf.write(f"{name.replace('__', '.')} = {value}\n")

    def start(self, **environment):
        """Start and wait until connections are accepted."""
        env = {**self._environment(), **environment}
        command = [*self._as_user, *self._limited, str(self.bin / "pg_ctl"), "start", "-w", "-t", "60", "-D", str(self.data), "-l", str(self.log)]
        # Not PIPE: the server would inherit the pipe and keep it open.
        done = subprocess.run(command, env=env, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=90)
        if done.returncode != 0:
            raise RuntimeError(f"the server did not start:\n{self.log_text()[-4000:]}")
        return self

    def stop(self, mode="fast"):
        self._run("pg_ctl", "stop", "-w", "-D", self.data, "-m", mode)

    def promote(self):
        self._run("pg_ctl", "promote", "-w", "-D", self.data)

    def reload(self, **settings):
        self.configure(**settings)
        self._run("pg_ctl", "reload", "-D", self.data)

    def crash(self):
        """Stop as a power failure would: no checkpoint, nothing flushed."""
        self._run("pg_ctl", "stop", "-w", "-D", self.data, "-m", "immediate")

    def running(self):
        return self._run("pg_ctl", "status", "-D", self.data, check=False).returncode == 0

    def postmaster_pid(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def processes(self, kind):
        """Ids of its processes whose title has `kind` in it, found without its help."""
        postmaster, found = self.postmaster_pid(), []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                parent = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()[1]
                if int(parent) == postmaster and kind in open(f"/proc/{entry}/cmdline").read():
                    found.append(int(entry))
        return sorted(found)

    def destroy(self):
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-D", self.data, "-m", "immediate", check=False)
        if os.environ.get("KEEP"):
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, database="postgres", user="postgres"):
        return f"host={self.folder} port={self.port} dbname={database} user={user}"

    def connect(self, database="postgres", user="postgres", autocommit=True, **options):
        return psycopg.connect(self.dsn(database, user), autocommit=autocommit, **options)

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_lines(self, pattern, since=0):
        """Lines of the server's log, from byte `since` on, that match a regular expression."""
        return [line for line in self.log_text()[since:].splitlines() if re.search(pattern, line)]

    def signal_process(self, pid, number=signal.SIGKILL):
        os.kill(pid, number)

    def crash_of_a_session(self):
        """Ends one of an own session, and by that all processes; returns when the server is about to start again."""
        with self.connect() as victim:
            self.crash_of(victim.info.backend_pid)

    def crash_of(self, pid):
        """The same by that one of its processes."""
        witness = self.connect()
        self.signal_process(pid)

        def is_over():
            try:
                witness.execute("SELECT 1")
                return False
            except psycopg.OperationalError:
                return True

        wait_until(is_over, "the server to notice")


class Database(Session):
    """A database of a cluster with the extension in it, and one connection to it; one that is there already stays as it is."""

    def __init__(self, cluster, name, extension=True, is_there=False):
        self.cluster = cluster
        self.name = name
        if not is_there:
            with cluster.connect() as admin:
                admin.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        super().__init__(cluster.connect(name))
        self.judge = self
        self.owner, self.by_hand = None, False
        if extension and not is_there:
            self.connection.execute("CREATE EXTENSION pg_webhook")
            self.wait_for_worker()

    def hand_over(self):
        """From now on what is asked of it is asked by an ordinary role, a member that may make things of its own here;
        the superuser is `judge`."""
        self.judge, self.owner = Session(self.connection), f"{self.name}_owner"
        self.judge.run(f"CREATE ROLE {self.owner} LOGIN; SELECT webhook_grant('{self.owner}', 'member')")
        self.judge.run(f'GRANT CREATE ON DATABASE "{self.name}" TO {self.owner}; GRANT CREATE ON SCHEMA public TO {self.owner}')
        self.connection = self.connect()
        return self

    def connect(self, **options):
        """As whoever it is in the hands of, unless that is said."""
        return self.cluster.connect(self.name, **{"user": self.owner or "postgres", **options})

    def create(self, name="hook", url=None, **settings):
        """webhook_create with named arguments; returns its row as a dictionary."""
        named = {"name": name, "url": url, **settings}
        arguments = ", ".join(f"{key} => %({key})s{CASTS.get(key, '')}" for key in named)
        cursor = self.connection.execute(f"SELECT * FROM webhook_create({arguments})", named)
        names = [column.name for column in cursor.description]
        return dict(zip(names, cursor.fetchone()))

    def reconnect(self):
        """When the server is back."""
        def back():
            try:
                self.connection = self.cluster.connect(self.name)
                return True
            except psycopg.OperationalError:
                return False

        wait_until(back, "the server to be back")

    def worker(self):
        """Process id of the running worker, or None."""
        return self.value("SELECT pid FROM webhook.worker WHERE state = 'running'")

    def wait_for_worker(self, timeout=PATIENCE, other_than=None):
        def running():
            pid = self.worker()
            return pid if pid != other_than else None

        def missing():
            return f"a worker in {self.name}, but {self.rows('SELECT * FROM webhook.worker')}; {self.cluster.log_text()[-2000:]}"

        return wait_until(running, missing, timeout)

    def statuses(self):
        """How many deliveries have each status."""
        return dict(self.rows("SELECT status, count(*) FROM webhook.deliveries GROUP BY status"))

    def wait_for_status(self, count=1, status="delivered", timeout=PATIENCE, webhook=None):
        """Wait until exactly `count` deliveries have `status`."""
        def reached():
            return self.value(
                "SELECT count(*) FROM webhook.deliveries"
                " WHERE status = %s AND (%s::text IS NULL OR webhook = %s)",
                status, webhook, webhook,
            ) == count

        def explain():
            return f"{count} deliveries {status}; there are {self.statuses()}"

        return wait_until(reached, explain, timeout)

    def settled(self, timeout=PATIENCE):
        """Wait until nothing is pending or retrying."""
        def done():
            statuses = self.statuses()
            return not statuses.get("pending") and not statuses.get("retrying")

        return wait_until(done, "all deliveries finished", timeout, interval=0.05)

    def close(self):
        self.connection.close()
        self.judge.connection.close()

    def counts_agree(self):
        """What is said to be at each stage of the backlog is there. Whoever has changed rows by hand says so by `by_hand`."""
        try:
            judge = self.cluster.connect(self.name)
        except psycopg.OperationalError:
            # the database is gone, or is called otherwise
            return
        with judge:
            if self.by_hand or not judge.execute("SELECT to_regclass('webhook.movement') IS NOT NULL").fetchone()[0]:
                return
            differs = judge.execute("""
                SELECT webhook, stage, coalesce(a.count, 0), coalesce(p.count, 0)
                FROM webhook.at_stage AS a
                FULL JOIN (SELECT webhook, stage, count(*) FROM webhook.pending GROUP BY webhook, stage) AS p USING (webhook, stage)
                WHERE coalesce(a.count, 0) <> coalesce(p.count, 0)
            """).fetchall()
            assert not differs, f"webhook, stage, said and there: {differs}"

    def drop(self):
        self.close()
        self.counts_agree()
        with self.cluster.connect() as admin:
            admin.execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')
            if self.owner:
                admin.execute(f"DROP OWNED BY {self.owner}; DROP ROLE {self.owner}")


CASTS = {
    "table_name": "::regclass", "events": "::text[]", "order_key": "::text[]", "columns": "::text[]", "headers": "::jsonb",
    "retry_for": "::interval", "max_backlog_age": "::interval", "disable_after": "::interval", "payload_columns": "::text[]", "transform": "::regprocedure",
}
