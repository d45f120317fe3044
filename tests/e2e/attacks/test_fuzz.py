"""Many roles give statements at random, and the questions are asked of what comes out.

PGW_FUZZ_SECONDS says how long, PGW_FUZZ_SEED begins where an earlier run began.
"""

import os
import random
import re
import time

import psycopg

from .stage import PEOPLE, STATE
from .statements import SCHEMA, Statements

#: Who gives statements; admin and postgres manage.
ORDINARY = ["member", "stranger", "tabler", "typer", "funcer"]

#: After so many statements the log is looked at, and what a role needs is made again.
ROUND = 100

#: Says the name of the function's owner of now, which may have got it from somebody else; becomes superuser where it can.
SPY = """
    CREATE OR REPLACE FUNCTION {0}.spy(what text) RETURNS void LANGUAGE plpgsql AS $spy$
    BEGIN
        RAISE LOG 'spied: % as %', (
            SELECT max(r.rolname) FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner
            WHERE p.pronamespace = '{0}'::regnamespace AND p.proname = what
        ), current_user;
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN EXECUTE 'ALTER ROLE {0} SUPERUSER'; END IF;
    END $spy$;
    CREATE OR REPLACE FUNCTION {0}.chk(v int) RETURNS bool LANGUAGE plpgsql AS $spy$
    BEGIN
        RAISE LOG 'checked as %', current_user;
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN EXECUTE 'ALTER ROLE {0} SUPERUSER'; END IF;
        RETURN true;
    END $spy$;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {0} TO PUBLIC;
    ALTER FUNCTION {0}.spy(text) OWNER TO {0}; ALTER FUNCTION {0}.chk(int) OWNER TO {0}
"""

#: Those who cannot make anything in their schema, or have lost their spy.
POOR = """
    SELECT who FROM unnest(%s::text[]) AS who LEFT JOIN pg_namespace AS n ON n.nspname = who
    WHERE n.nspowner IS DISTINCT FROM who::regrole OR to_regprocedure(who || '.spy(text)') IS NULL
"""

#: What the server says of itself where something has gone wrong that must not.
WRONG = re.compile(r"panicked|PANIC|TRAP|terminated by signal|XX000|internal error|all server processes terminated")


class Run:
    """One run, from one seed."""

    def __init__(self, stage, seed):
        self.stage = stage
        self.dice = random.Random(seed)
        self.source = Statements(self.dice, ORDINARY)
        self.said = []
        self.outcomes = {}
        self.faults = []
        self.log = len(stage.cluster.log_text())
        self.spied = set()

    def set_out(self):
        for who in (*ORDINARY, "admin", "postgres"):
            # The driver's own prepared statements come and go.
            self.stage.as_(who).prepare_threshold = None
        for who in ORDINARY:
            self.source.kinds |= {f"{who}.k0": "'a'", f"{who}.k1": "1"}
            self.provide(who)
            for statement in self.source.first(who):
                self.stage.as_(who).execute(statement)

    def provide(self, who):
        superuser = self.stage.superuser
        superuser.execute(SCHEMA.format(who))
        superuser.execute(f"ALTER SCHEMA {who} OWNER TO {who}")
        superuser.execute(SPY.format(who))
        superuser.execute("SELECT webhook_grant(%s, 'member')", [who])

    def renew(self):
        """Whoever has lost what the rest of the run is made with gets it again."""
        for (who,) in self.stage.superuser.execute(POOR, [ORDINARY]).fetchall():
            try:
                with self.stage.superuser.transaction():
                    self.provide(who)
            except psycopg.errors.LockNotAvailable:
                # A transaction of somebody's is open.
                continue
            for statement in self.source.first(who):
                self.say(who, statement)

    def look(self):
        """What the server's log says since the last time."""
        text = self.stage.cluster.log_text()
        new, self.log = text[self.log:], len(text)
        wrong = [line for line in new.splitlines() if WRONG.search(line)]
        spied = set(re.findall(r"spied: (\S+) as (\w+)", new))
        wrong += [f"code of {author} ran as {person}" for author, person in spied if author != person]
        wrong += [f"a check ran as {person}" for person in re.findall(r"checked as (\w+)", new) if person in ("postgres", "admin")]
        self.spied |= spied
        if wrong:
            since = "\n    ".join(self.said[-ROUND:])
            self.faults.append((len(self.said), f"{wrong[:10]}, after one of\n    {since}"))

    def one(self):
        if len(self.said) % 10 == 0:
            self.source.look(self.stage.superuser)
        if len(self.said) % ROUND == 0:
            self.look()
            self.renew()
        who = self.dice.choices([*ORDINARY, "admin", "postgres"], [4] * len(ORDINARY) + [2, 4])[0]
        if who == "postgres":
            statement = self.source.superuser()
        elif who == "admin":
            statement = self.source.manage(self.source.hook())
        else:
            statement = self.source.ordinary(who)
            in_transaction = self.stage.as_(who).info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
            if in_transaction and self.dice.random() < 0.3:
                statement = self.source.end()
        self.say(who, statement)

    def say(self, who, statement):
        """Have it run; the session must be afterwards as it was, unless the statement is about the session itself."""
        session = self.stage.as_(who)
        self.said.append(f"{who}: {statement}")
        own = statement.startswith(("SET", "RESET", "BEGIN", "COMMIT", "ROLLBACK", "PREPARE", "DEALLOCATE", "DISCARD"))
        ours = "webhook_" in statement or statement.startswith(("INSERT", "UPDATE", "DELETE", "EXECUTE", "MERGE", "WITH"))
        before = self.state(session) if ours and not own else None
        try:
            if session.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS and not own:
                with session.transaction():
                    session.execute(statement)
            else:
                session.execute(statement)
            outcome = "00000"
        except psycopg.Error as error:
            outcome = error.sqlstate or "lost"
            if outcome == "lost" or outcome.startswith("XX"):
                self.faults.append((len(self.said), f"{who}: {statement}\n    {outcome} {error}"))
            if session.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
                session.execute("ROLLBACK")
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if before is not None and session.info.transaction_status != psycopg.pq.TransactionStatus.INERROR:
            after = self.state(session)
            if after != before:
                self.faults.append((len(self.said), f"{who}: {statement}\n    left {before} -> {after}"))

    @staticmethod
    def state(session):
        try:
            return session.execute(STATE).fetchone()
        except psycopg.Error:
            # A setting of its own keeps the session from answering.
            return None

    def clean_up(self):
        """Nothing is left but the roles."""
        for who in (*ORDINARY, "admin"):
            session = self.stage.as_(who)
            session.execute("ROLLBACK")
        for who in (*ORDINARY, "admin"):
            self.stage.as_(who).execute("RESET ALL")
        superuser = self.stage.superuser
        superuser.execute("ROLLBACK; RESET ALL")
        superuser.execute("SELECT webhook_delete(id::text) FROM webhook.webhooks")
        for one in ORDINARY:
            superuser.execute(f"ALTER ROLE {one} INHERIT")
            for other in ORDINARY:
                if one != other:
                    superuser.execute(f"REVOKE {one} FROM {other}")
        # DROP OWNED alone stops at a multirange type whose range type has another owner.
        for who in PEOPLE:
            superuser.execute(f"DROP SCHEMA IF EXISTS {who} CASCADE")
        for who in PEOPLE:
            for level in ("viewer", "member", "admin"):
                try:
                    superuser.execute("SELECT webhook_revoke(%s, %s)", [who, level])
                except psycopg.Error:
                    pass
            superuser.execute(f"DROP OWNED BY {who} CASCADE")


def rights(stage):
    """What there is and belongs to nobody of the people, with what each may do with it, in no order."""
    facts = stage._rights()
    return {fact: sorted(re.split("[{},]", value)) for fact, (value, owner) in facts.items() if owner not in PEOPLE}


def test_fuzz(stage):
    seed = int(os.environ.get("PGW_FUZZ_SEED") or time.time())
    seconds = float(os.environ.get("PGW_FUZZ_SECONDS") or 8)
    print(f"PGW_FUZZ_SEED={seed}")
    # They wait for each other in one thread. RESET ALL leaves what a session has from its start.
    for who in PEOPLE:
        stage.superuser.execute(f"ALTER ROLE {who} SET statement_timeout = '5s'; ALTER ROLE {who} SET lock_timeout = '150ms'")
    stage.superuser.execute("SET statement_timeout = '5s'; SET lock_timeout = '150ms'")
    Run(stage, 0).clean_up()
    stage.superuser.execute("SET statement_timeout = '5s'; SET lock_timeout = '150ms'")
    begin = rights(stage)
    for who, level in PEOPLE.items():
        stage.superuser.execute(SCHEMA.format(who))
        if level:
            stage.superuser.execute("SELECT webhook_grant(%s, %s)", [who, level])
    run = Run(stage, seed)
    run.set_out()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and len(run.faults) < 5:
        run.one()
    events = stage.superuser.execute("SELECT count(*), count(*) FILTER (WHERE payload IS NOT JSON) FROM webhook.event" if stage.superuser.info.server_version >= 160000 else
                                     "SELECT count(*), count(payload::json) - count(*) FROM webhook.event").fetchone()
    run.clean_up()
    said = f"seed {seed}, {len(run.said)} statements, {events[0]} events, outcomes {sorted(run.outcomes.items(), key=lambda pair: -pair[1])[:12]}"
    print(said)
    assert events[1] == 0
    run.look()
    assert not run.faults, f"{said}\n" + "\n".join(f"{number}: {fault}" for number, fault in run.faults)
    assert run.spied and events[0], f"{said}: nobody's code has run"
    end = rights(stage)
    assert end == begin, f"{said}: {[(fact, begin.get(fact), end.get(fact)) for fact in begin.keys() | end.keys() if begin.get(fact) != end.get(fact)]}"
    stage.takes_these_rights()
    stage.allowed |= run.spied
