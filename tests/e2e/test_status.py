"""Whatever keeps an event from arriving shows within two seconds: in the health of its webhook, in webhook_check and in webhook_why, with
what to do. Here what is wrong with one webhook; test_standstill.py has what concerns all of a database."""

import ipaddress
import json
import re
import time

import psycopg
import pytest
from cryptography import x509

from harness import wait_until
from harness.certificates import authority, server_context
from harness.cluster import Cluster, Database
from harness.names import Names
from harness.receiver import after, reply
from harness.status import check, explains, health, is_well, shows, why

#: Tables in the plan of a look at webhook.webhooks, of which webhook.problem has some. With these ten webhooks take 15 ms, planning
#: included, in a session that has looked before; with twice as many tables twice as long.
MOST_SCANS, MOST_OF_PROBLEMS = 150, 70


@pytest.fixture
def items(db, receiver):
    """An ordinary role, with a table and a webhook that has delivered."""
    db.hand_over()
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    db.create("hook", receiver.url("/"), table_name="items", retry_backoff_seconds=1)
    db.run("INSERT INTO items VALUES (1, 'x')")
    db.wait_for_status(1)
    return db


def test_what_is_well_has_nothing_to_tell(items):
    is_well(items)
    assert items.value("SELECT hint FROM webhook_why('hook', 'INSERT', '{\"id\": 2}')").endswith("webhook_preview shows the request.")


def test_paused_by_whom_and_since_when(items, people):
    """By the first who has done so, whoever does it again."""
    admin = people("adm", "admin")
    items.run("SELECT webhook_pause('hook')")
    shows(items, "paused", f"paused by role {items.owner} at 20", "waits")
    admin.run("SELECT webhook_pause('hook')")
    shows(items, "paused", f"paused by role {items.owner} at 20", "waits")
    [(severity, _, hint)] = check(items)
    assert severity == "notice"
    items.run(hint[hint.index("SELECT"):hint.index(" sends it")])
    is_well(items)
    admin.run("SELECT webhook_pause('hook')")
    shows(items, "paused", f"paused by role {admin.role} at 20", "waits")


def test_paused_by_the_worker(items, receiver):
    receiver.on("/", reply(410))
    items.run("INSERT INTO items VALUES (2)")
    wait_until(lambda: health(items)[0] == "paused", "the pause")
    shows(items, "paused", "paused by the worker at 20", "waits")
    assert "its endpoint answered 410 Gone" in health(items)[1]
    # Who pauses it as well has said so.
    items.run("SELECT webhook_pause('hook')")
    shows(items, "paused", f"paused by role {items.owner} at 20", "waits")


def test_disabled(items):
    items.run("SELECT webhook_update('hook', enabled => false)")
    shows(items, "disabled", "the webhook is disabled", "no event")
    [(severity, _, hint)] = check(items)
    assert severity == "notice"
    items.run(hint[:hint.index(" captures")])
    is_well(items)


# A statement that breaks it, the words of webhook_check, and those of webhook_why.
BROKEN = {
    "table dropped": ("DROP TABLE items", "table public.items has been dropped", None),
    "trigger disabled": ("ALTER TABLE items DISABLE TRIGGER ALL", "the trigger for INSERT on public.items is disabled", None),
    "trigger missing": ("DO $$ BEGIN EXECUTE (SELECT format('DROP TRIGGER %I ON items', tgname) FROM pg_trigger"
                        " WHERE tgname ~ '^_webhook_.*insert'); END $$",
                        "the trigger for INSERT on public.items is missing", None),
    "trigger renamed": ("DO $$ BEGIN EXECUTE (SELECT format('ALTER TRIGGER %I ON items RENAME TO mine', tgname) FROM pg_trigger"
                        " WHERE tgname ~ '^_webhook_.*insert'); END $$",
                        "the trigger for INSERT on public.items has been renamed", None),
    "trigger of somebody": ("DO $$ BEGIN EXECUTE (SELECT format('CREATE OR REPLACE TRIGGER %I AFTER INSERT ON items FOR EACH ROW"
                            " WHEN (NEW.id < 0) EXECUTE FUNCTION webhook.capture(%L)', tgname, substr(tgname, 10, 36))"
                            " FROM pg_trigger WHERE tgname ~ '^_webhook_.*insert'); END $$",
                            "the trigger for INSERT on public.items is not the one that was made", None),
    "no table": ("SELECT webhook_unwatch('hook', 'items')", "the webhook watches no table and hears no type of events",
                 "does not watch that table"),
}


@pytest.mark.parametrize("cause", BROKEN)
def test_broken(items, cause):
    statement, words, reason = BROKEN[cause]
    since = time.monotonic()
    items.run(statement)
    shows(items, "broken", words, since=since)
    explains(items, reason or words, "no event")


def test_an_owner_without_rights(db, people, receiver):
    lender, owner = people("len"), people("own", "member")
    lender.run(f"CREATE TABLE things (id int, note text); GRANT ALL ON things TO {owner.role}")
    owner.run("SELECT webhook_create('hook', %s, %s::text::regclass)", receiver.url("/"), f"{lender.role}.things")
    is_well(owner)
    lender.run(f"REVOKE SELECT ON things FROM {owner.role}")
    shows(owner, "broken", f"role {owner.role} may read nothing of {lender.role}.things", "no event")


def test_no_secret(items):
    """As after a restore of a dump, which holds none."""
    items.judge.run("UPDATE webhook.secret SET signing_key = NULL")
    shows(items, "broken", "the webhook has no secret", "waits")
    # It waits, however seldom it may be tried.
    items.run("SELECT webhook_update('hook', max_retries => 0); INSERT INTO items VALUES (3)")
    wait_until(lambda: items.judge.value("SELECT count(*) FROM webhook.pending") == 1, "it to wait")
    assert items.rows("SELECT status, attempts FROM webhook.deliveries ORDER BY id DESC LIMIT 1") == [("pending", 0)]
    items.run("SELECT webhook_rotate_secret('hook')")
    items.wait_for_status(2)
    is_well(items)


def test_what_is_in_headers_is_lost(items, receiver):
    """As after a restore: their names are there, and nothing is sent without them."""
    items.run("""SELECT webhook_update('hook', headers => '{"Authorization": "Bearer x", "X-Tenant": "7"}')""")
    items.judge.run("UPDATE webhook.secret SET headers = '{}'; SELECT webhook_update('hook', description => 'restored')")
    shows(items, "broken", "what is in header Authorization, X-Tenant is lost", "waits")
    headers = "SELECT headers FROM webhook.webhooks"
    assert items.value(headers) == {"Authorization": None, "X-Tenant": None}
    items.run("INSERT INTO items VALUES (3)")
    wait_until(lambda: items.judge.value("SELECT count(*) FROM webhook.pending") == 1, "it to wait")
    error = items.value("SELECT error FROM webhook_test('hook')")
    assert error.startswith("internal: what is in header Authorization, X-Tenant is lost"), error
    items.run("""SELECT webhook_update('hook', set_headers => '{"authorization": "Bearer y"}')""")
    assert items.value(headers) == {"X-Tenant": None, "authorization": "***"}
    shows(items, "broken", "what is in header X-Tenant is lost", "waits")
    items.run("SELECT webhook_update('hook', unset_headers => '{x-tenant}')")
    items.wait_for_status(2)
    sent = receiver.got("/")[-1].headers
    assert sent["authorization"] == "Bearer y" and "x-tenant" not in sent
    is_well(items)
    # All at once.
    items.judge.run("UPDATE webhook.secret SET headers = '{}'; SELECT webhook_update('hook', description => 'again')")
    items.run("SELECT webhook_update('hook', headers => '{}')")
    assert items.value(headers) is None
    is_well(items)


def test_what_is_not_signed_needs_no_secret(items):
    items.run("SELECT webhook_update('hook', signature => 'none')")
    items.judge.run("UPDATE webhook.secret SET signing_key = NULL; SELECT webhook_update('hook', description => 'restored')")
    items.run("INSERT INTO items VALUES (2)")
    items.wait_for_status(2)
    is_well(items)


def test_changes_in_a_loop_take_no_breaker_away(items, receiver):
    """Once a second at most the endpoint is tried because of them."""
    receiver.default(reply(500))
    items.run("SELECT webhook_update('hook', retry_backoff_seconds => 600)")
    items.run("INSERT INTO items SELECT id FROM generate_series(10, 60) AS id")
    wait_until(lambda: "nothing is sent before" in (health(items)[1] or ""), lambda: health(items))
    before, began = len(receiver.got("/")), time.monotonic()
    while time.monotonic() - began < 3:
        items.run("SELECT webhook_resume('hook')")
    seconds = time.monotonic() - began
    # what was under way when the breaker opened as well
    assert len(receiver.got("/")) - before <= seconds + 2


@pytest.mark.parametrize("change", ["webhook_update('hook', description => 'mended')", "webhook_resume('hook')"])
def test_a_change_is_tried_at_once(items, receiver, change):
    """Although nothing would be sent for minutes."""
    receiver.on("/", *[reply(500)] * 5, reply(200))
    items.run("SELECT webhook_update('hook', retry_backoff_seconds => 600, max_concurrency => 1)")
    for number in range(6):
        items.run("INSERT INTO items VALUES (%s)", 10 + number)
    wait_until(lambda: "nothing is sent before" in (health(items)[1] or ""), lambda: health(items))
    items.run(f"SELECT {change}")
    wait_until(lambda: items.statuses().get("delivered") == 2, lambda: str(items.statuses()), 5)


MAKE = "CREATE OR REPLACE FUNCTION shape(body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN {} END $$"


@pytest.mark.parametrize("on_error", ["dead", "fail"])
def test_a_transform_that_fails(items, on_error):
    items.run(MAKE.format("RETURN body;"))
    items.run("SELECT webhook_update('hook', transform => 'shape(jsonb)', on_transform_error => %s)", on_error)
    is_well(items)
    items.run(MAKE.format("RAISE 'no such thing';"))
    change = "INSERT INTO items VALUES (2)"
    if on_error == "fail":
        # It shows to who writes, and leaves nothing behind.
        with pytest.raises(psycopg.Error, match="no such thing"):
            items.run(change)
        return explains(items, "transform public.shape(jsonb): no such thing", "the statement fails")
    since = time.monotonic()
    items.run(change)
    shows(items, "failing", "the transform fails, the last time at 20", since=since)
    explains(items, "transform public.shape(jsonb): no such thing", "dead letter")
    # Mended, and what has become dead letters is sent.
    items.run(MAKE.format("RETURN body;"))
    [(_, _, hint)] = check(items)
    items.run(hint[hint.index("SELECT"):hint.index(" transforms")])
    is_well(items)


def test_a_transform_that_is_gone(items):
    items.run(MAKE.format("RETURN body;"))
    items.run("SELECT webhook_update('hook', transform => 'shape(jsonb)')")
    items.run("DROP FUNCTION shape CASCADE")
    shows(items, "broken", "the transform has been dropped")
    explains(items, "the transform of the webhook has been dropped", "dead letter")


def test_a_transform_that_drops_the_event(items):
    """Of one event, so webhook_why alone says so."""
    items.run(MAKE.format("RETURN NULL;"))
    items.run("SELECT webhook_update('hook', transform => 'shape(jsonb)')")
    explains(items, "the transform drops it", "no event")
    assert health(items) == ("healthy", None)


@pytest.mark.parametrize("status", [404, 422, 429, 500, 503])
def test_an_endpoint_that_answers_otherwise(items, receiver, status):
    receiver.on("/", reply(status))
    since = time.monotonic()
    items.run("INSERT INTO items VALUES (2)")
    shows(items, "failing", "requests fail, 1 in a row, the last at 20", "tried again", since=since)
    assert f"http_status: status {status}" in health(items)[1]


def test_an_endpoint_that_points_elsewhere(items, receiver):
    receiver.on("/", reply(302, headers={"Location": "https://example.com/"}))
    since = time.monotonic()
    items.run("INSERT INTO items VALUES (2)")
    shows(items, "failing", "requests fail, 1 in a row, the last at 20", "tried again", since=since)
    assert ": redirect: " in health(items)[1]
    assert "Redirects are not followed" in hint_of_failure(items, "hook")


def test_an_endpoint_that_takes_too_long(items, receiver):
    items.run("SELECT webhook_update('hook', timeout_seconds => 1)")
    receiver.on("/", after(3, reply(200)))
    items.run("INSERT INTO items VALUES (2)")
    since = time.monotonic() + 1
    shows(items, "failing", "requests fail, 1 in a row, the last at 20", "tried again", since=since)
    assert ": timeout: " in health(items)[1]
    assert "timeout_seconds" in hint_of_failure(items, "hook")


def test_an_endpoint_that_speaks_something_else(items, make_receiver, tmp_path):
    """TLS, say, where http is asked for."""
    tls = server_context(tmp_path, authority("nobody"), "strange", [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    items.run("SELECT webhook_update('hook', url => %s)", make_receiver(tls=tls).url("/").replace("https:", "http:"))
    since = time.monotonic()
    items.run("INSERT INTO items VALUES (2)")
    shows(items, "failing", "requests fail", "tried again", since=since)


def test_an_endpoint_that_does_not_answer(items, receiver):
    receiver.down()
    since = time.monotonic()
    items.run("INSERT INTO items VALUES (2)")
    shows(items, "failing", "requests fail", "tried again", since=since)
    assert ": connect: 127.0.0.1" in health(items)[1]


def test_a_breaker_that_is_open_until_when(items, receiver):
    """And closed again, as soon as one is answered."""
    receiver.on("/", reply(500))
    items.run("SELECT webhook_update('hook', retry_backoff_seconds => 20)")
    since = time.monotonic()
    items.run("INSERT INTO items SELECT generate_series(2, 9)")
    shows(items, "failing", "nothing is sent before 20", "tried again", since=since, first=False)
    until = "SELECT held_until - clock_timestamp() BETWEEN '10 s' AND '25 s' FROM webhook.health"
    assert items.judge.value(until)
    assert re.search("because [5-8] requests in a row have failed", health(items)[1]), health(items)
    receiver.on("/", reply(200))
    wait_until(lambda: health(items) == ("healthy", None), lambda: str(health(items)))
    assert items.judge.value("SELECT held_until FROM webhook.health") is None


def test_events_that_wait_for_rate_limit(items):
    """As long as they do, and the webhook is well."""
    items.run("SELECT webhook_update('hook', rate_limit => 2)")
    since = time.monotonic()
    items.run("INSERT INTO items SELECT generate_series(2, 12)")
    shows(items, "healthy", "events wait, because no more than 2 requests start in a second", "waits", since=since)
    assert [severity for severity, _, _ in check(items)] == ["notice"]
    items.wait_for_status(12)
    is_well(items)


def test_a_bound_that_has_been_reached(items):
    items.run("SELECT webhook_update('hook', max_backlog => 2); SELECT webhook_pause('hook')")
    items.run("INSERT INTO items SELECT generate_series(2, 9)")
    wait_until(lambda: "a bound has been reached" in health(items)[1], lambda: str(health(items)))
    shows(items, "paused", "a bound has been reached", "dead letter", first=False)


# Of the session or of one event: webhook_why alone says so.
OF_THE_SESSION = {
    "capture": ("SET pg_webhook.capture = off", "pg_webhook.capture is off in this session"),
    "replica": (None, "session_replication_role is replica in this session"),
}


@pytest.mark.parametrize("what", OF_THE_SESSION)
def test_settings_of_the_session(items, what):
    statement, words = OF_THE_SESSION[what]
    if what == "replica":
        # Which it takes a superuser to allow.
        items.judge.run(f"ALTER ROLE {items.owner} SET session_replication_role = replica")
        items.connection = items.connect()
    else:
        items.run(statement)
    before = items.judge.value("SELECT count(*) FROM webhook.event")
    explains(items, words, "no event")
    items.run("INSERT INTO items VALUES (2)")
    assert items.judge.value("SELECT count(*) FROM webhook.event") == before
    assert health(items) == ("healthy", None) and check(items) == []
    assert [row[0] for row in why(items)] == ["session"]


def test_a_row_that_is_no_event(items):
    """Which of the two keeps an UPDATE back."""
    items.run("SELECT webhook_update('hook', events => '{INSERT,UPDATE}', columns => '{note}', condition => 'NEW.id > 5')")
    same = ("UPDATE", '{"id": 9, "note": "x"}', '{"id": 9, "note": "x"}')
    other = ("UPDATE", '{"id": 9, "note": "x"}', '{"id": 8, "note": "x"}')
    low = ("INSERT", '{"id": 2}', None)
    both = ("UPDATE", '{"id": 2, "note": "x"}', '{"id": 3, "note": "x"}')
    explains(items, "the new row is the same as the old one", "no event", same)
    explains(items, "no column of columns changes: note", "no event", other)
    explains(items, "the condition does not hold", "no event", low)
    assert [row[2] for row in why(items, both)] == ["the condition does not hold", "no column of columns changes: note"]
    assert health(items) == ("healthy", None) and check(items) == []


def test_an_operation_and_a_table_that_are_not_watched(items):
    items.run("SELECT webhook_update('hook', events => '{INSERT,a.*}'); CREATE TABLE others (id int)")
    explains(items, "DELETE is not among the events of public.items", "no event", ("DELETE", None, '{"id": 9}'))
    explains(items, "b.c is not among the events", "no event", ("b.c", "{}", None))
    explains(items, "the webhook does not watch that table", "no event", table="others")
    assert [row[1] for row in why(items, ("a.b", "{}", None))] == ["sent"]


def test_an_emitter_that_is_not_heard(items, people):
    """An admin may ask, and is not heard; its owner is."""
    admin = people("adm", "admin")
    items.run("SELECT webhook_update('hook', events => '{INSERT,a.*}')")
    explains(admin, f"events that role {admin.role} emits do not reach it", "no event", ("a.b", "{}", None))
    assert admin.value("SELECT webhook_emit('a.b', '{}')") == 0
    assert [row[1] for row in why(items, ("a.b", "{}", None))] == ["sent"]
    assert items.value("SELECT webhook_emit('a.b', '{}')") == 1


def test_all_that_is_in_the_way_is_told_in_its_order(items):
    items.run("SELECT webhook_update('hook', events => '{INSERT}', condition => 'NEW.id > 100'); SELECT webhook_pause('hook')")
    items.run("ALTER TABLE items DISABLE TRIGGER ALL; SET pg_webhook.capture = off")
    assert [row[:2] for row in why(items)] == [
        ("session", "no event"), ("capture", "no event"), ("row", "no event"), ("sending", "waits"),
    ]
    found, reason = health(items)
    assert found == "broken" and reason.endswith(f"; paused by role {items.owner} at {reason[-22:]}"), reason


def test_a_test_is_sent_whatever_is_switched_off(items):
    items.run("SELECT webhook_update('hook', enabled => false); SELECT webhook_pause('hook')")
    assert [row[1] for row in why(items, ("TEST", None, None))] == ["sent"]
    assert items.value("SELECT status_code FROM webhook_test('hook')") == 200


@pytest.fixture
def site():
    """A server that goes by names that the test chooses, and its database."""
    server = Cluster("status")
    try:
        names = Names(server)
        server.start(**names.environment())
        db = Database(server, "site").hand_over()
        db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
        yield db, names
        db.close()
    finally:
        server.destroy()


def test_an_endpoint_that_cannot_be_reached_so(site, receiver, make_receiver, tmp_path):
    """A name that nobody knows, a certificate that nobody trusts, an address that is not allowed any more."""
    site, names = site
    names.set("hooks.example.com", receiver.host)
    tls = server_context(tmp_path, authority("nobody"), "strange", [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    strange = make_receiver(tls=tls)
    hooks = {
        "dns": f"http://hooks.example.com:{receiver.port}/", "tls": strange.url("/"), "blocked_address": receiver.url("/"),
    }
    for name, url in hooks.items():
        site.create(name, url, table_name="items", retry_backoff_seconds=1)
    names.forget("hooks.example.com")
    since = time.monotonic()
    site.run("INSERT INTO items VALUES (1)")
    hints = {}
    for name in ("dns", "tls"):
        shows(site, "failing", "requests fail", "tried again", name=name, since=since)
        assert f": {name}: " in health(site, name)[1]
        hints[name] = hint_of_failure(site, name)
    assert "cannot resolve" in hints["dns"] and "pg_webhook.ca_file" in hints["tls"]
    site.wait_for_status(1, webhook="blocked_address")
    site.cluster.reload(pg_webhook__allowed_networks="''")
    wait_until(lambda: site.judge.value("SHOW pg_webhook.allowed_networks") == "", "the reload")
    since = time.monotonic()
    site.run("INSERT INTO items VALUES (2)")
    shows(site, "failing", "requests fail", "tried again", name="blocked_address", since=since)
    assert ": blocked_address: " in health(site, "blocked_address")[1]
    assert "pg_webhook.allowed_networks" in hint_of_failure(site, "blocked_address")


def hint_of_failure(db, name):
    """What webhook_check says is to be done about an endpoint."""
    [hint] = [hint for _, problem, hint in check(db, name) if problem.startswith("requests fail")]
    return hint


# A change, as a statement and as webhook_why is asked about it.
CHANGES = {
    "insert": ("INSERT INTO items VALUES (9, 'x')", ("INSERT", '{"id": 9, "note": "x"}', None)),
    "low insert": ("INSERT INTO items VALUES (2, 'x')", ("INSERT", '{"id": 2, "note": "x"}', None)),
    "update": ("UPDATE items SET note = 'z' WHERE id = 1", ("UPDATE", '{"id": 1, "note": "z"}', '{"id": 1, "note": "x"}')),
    "same update": ("UPDATE items SET note = note WHERE id = 1", ("UPDATE", '{"id": 1, "note": "x"}', '{"id": 1, "note": "x"}')),
    "other update": ("UPDATE items SET id = 7 WHERE id = 1", ("UPDATE", '{"id": 7, "note": "x"}', '{"id": 1, "note": "x"}')),
    "delete": ("DELETE FROM items WHERE id = 1", ("DELETE", None, '{"id": 1, "note": "x"}')),
    "large": ("INSERT INTO items VALUES (9, repeat('x', 3000))", ("INSERT", '{"id": 9, "note": "%s"}' % ("x" * 3000), None)),
}

STATES = {
    "well": [],
    "disabled": ["SELECT webhook_update('hook', enabled => false)"],
    "paused": ["SELECT webhook_pause('hook')"],
    "columns": ["SELECT webhook_update('hook', columns => '{note}')"],
    "condition": ["SELECT webhook_update('hook', events => '{INSERT,UPDATE}', condition => 'NEW.id > 5')"],
    "condition that fails": ["SELECT webhook_update('hook', events => '{INSERT,UPDATE}', condition => '1 / (NEW.id - 1) > -1')"],
    "operations": ["SELECT webhook_update('hook', events => '{INSERT}')"],
    "trigger disabled": ["ALTER TABLE items DISABLE TRIGGER ALL"],
    "trigger of a replica": ["DO $$ BEGIN EXECUTE (SELECT string_agg(format('ALTER TABLE items ENABLE REPLICA TRIGGER %I', tgname), ';')"
                             " FROM pg_trigger WHERE tgname ~ '^_webhook'); END $$"],
    "trigger missing": [BROKEN["trigger missing"][0]],
    "trigger renamed": [BROKEN["trigger renamed"][0]],
    "trigger of somebody": [BROKEN["trigger of somebody"][0]],
    "a column less": ["SELECT webhook_update('hook', payload_columns => '{note}')", "ALTER TABLE items RENAME note TO gone",
                      "ALTER TABLE items ADD note text", "ALTER TABLE items DROP gone"],
    "transform": [MAKE.format("RETURN jsonb_build_object('own', body -> 'record');"), "SELECT webhook_update('hook', transform => 'shape(jsonb)')"],
    "transform that drops": [MAKE.format("RETURN NULL;"), "SELECT webhook_update('hook', transform => 'shape(jsonb)')"],
    "transform that fails": [MAKE.format("RAISE 'no';"), "SELECT webhook_update('hook', transform => 'shape(jsonb)')"],
    "transform that fails the statement": [
        MAKE.format("RAISE 'no';"), "SELECT webhook_update('hook', transform => 'shape(jsonb)', on_transform_error => 'fail')",
    ],
    "transform dropped": [MAKE.format("RETURN body;"), "SELECT webhook_update('hook', transform => 'shape(jsonb)')",
                          "DROP FUNCTION shape CASCADE"],
    "capture off": ["SET pg_webhook.capture = off"],
    # PostgreSQL evaluates conditions before it asks us, and where a trigger does not fire not at all.
    "capture off, condition that fails": [
        "SELECT webhook_update('hook', events => '{INSERT,UPDATE}', condition => '1 / (NEW.id - 1) > -1')", "SET pg_webhook.capture = off",
    ],
    "trigger disabled, condition that fails": [
        "SELECT webhook_update('hook', events => '{INSERT,UPDATE}', condition => '1 / (NEW.id - 1) > -1')",
        "ALTER TABLE items DISABLE TRIGGER ALL",
    ],
}


def without_ids(body):
    return {name: value for name, value in json.loads(body).items() if name not in ("id", "timestamp")}


@pytest.mark.parametrize("state", STATES)
def test_preview_and_trigger_agree(db, receiver, state):
    """Of each change in each state: whether there is an event, a dead letter or an error, and of which body."""
    db.hand_over()
    db.judge.run(f"ALTER ROLE {db.owner} IN DATABASE {db.name} SET pg_webhook.max_payload_bytes = 2048")
    db.connection = db.connect()
    db.run("CREATE TABLE items (id int PRIMARY KEY, note text)")
    db.create("hook", receiver.url("/"), table_name="items")
    db.run("SET pg_webhook.capture = off; INSERT INTO items VALUES (1, 'x'); SET pg_webhook.capture = on")
    for statement in STATES[state]:
        db.run(statement)
    for what, (statement, change) in CHANGES.items():
        body, reason = db.rows("SELECT body, reason FROM webhook_preview('hook', %s, %s, %s)", *change)[0]
        first = why(db, change)[0]
        with db.connection.transaction(force_rollback=True):
            try:
                db.run(statement)
                found, failed = db.rows("SELECT status, payload, error FROM webhook.deliveries"), None
            except psycopg.Error as error:
                found, failed = [], error.diag.message_primary
        if failed:
            assert first[1] == "the statement fails" and failed in reason and failed in first[2], (what, failed, first)
        elif not found:
            assert first[1] == "no event" and reason == first[2] and body is None, (what, first)
        elif found[0][0] == "dead":
            assert first[1] == "dead letter" and reason == first[2] == found[0][2], (what, first)
        else:
            assert first[1] == ("waits" if state == "paused" else "sent") and reason is None, (what, first)
            assert without_ids(body) == without_ids(found[0][1]), what


def scans(plan):
    """How many tables a plan reads, each as often as it does."""
    return ("Relation Name" in plan) + sum(scans(part) for part in plan.get("Plans", []))


def test_a_look_at_webhooks_is_cheap_to_plan(items):
    """Most of its time is planning, and that goes by the tables that are in the plan: what several problems look at is in it once."""
    [looked] = items.value("EXPLAIN (FORMAT JSON) SELECT * FROM webhook.webhooks")
    [problems] = items.judge.value("EXPLAIN (FORMAT JSON) SELECT * FROM webhook.problem")
    assert scans(looked["Plan"]) <= MOST_SCANS
    assert scans(problems["Plan"]) <= MOST_OF_PROBLEMS
