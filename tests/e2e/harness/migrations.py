"""Migration tools: each with a project of its own in a folder, run as people run it."""

import os
import pathlib
import subprocess
import sys

from .places import BIN

# What a migration does, in whatever tool: it can run twice, up and down.
UP = """
    CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY, total int);
    SELECT webhook_create('new-orders', '{url}', 'orders', '{{INSERT}}', condition => 'NEW.total > 10', if_exists => 'replace');
    SELECT webhook_apply('{{"webhooks": {{"shipped": {{"url": "{url}", "events": ["order.*"]}}}}}}');
"""
DOWN = """
    SELECT webhook_delete('new-orders', missing_ok => true);
    SELECT webhook_apply('{"webhooks": {}}', prune => true);
    DROP TABLE IF EXISTS orders;
"""

PACKAGES = pathlib.Path(os.environ["PGW_NODE"]) / "node_modules"
DBMATE = PACKAGES / "@dbmate/linux-x64/bin/dbmate"


class Tool:
    """A project in `folder`, for a database that a role reaches."""

    def __init__(self, folder, cluster, database, user, url):
        self.folder, self.cluster, self.database, self.user = folder, cluster, database, user
        self.up_sql, self.down_sql = UP.format(url=url), DOWN
        self.write()

    def file(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *command, check=True):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            # The server's own pg_dump and psql.
            "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1",
            "PGHOST": str(self.cluster.folder), "PGPORT": str(self.cluster.port), "PGUSER": self.user, "PGDATABASE": self.database,
        }
        done = subprocess.run(
            list(map(str, command)), cwd=self.folder, env=environment, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout


class Alembic(Tool):
    def write(self):
        self.file("alembic.ini", "[alembic]\nscript_location = migrations\npath_separator = os\n")
        self.file("migrations/env.py", f"""
from alembic import context
from sqlalchemy import create_engine
url = "postgresql+psycopg://{self.user}@/{self.database}?host={self.cluster.folder}&port={self.cluster.port}"
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
""")
        self.file("migrations/versions/0001_orders.py", f"""
from alembic import op
from sqlalchemy import text
revision, down_revision = "0001", None
def upgrade():
    op.get_bind().exec_driver_sql({self.up_sql.replace("%", "%%")!r})
def downgrade():
    op.get_bind().exec_driver_sql({self.down_sql.replace("%", "%%")!r})
""")

    def up(self):
        self.run(sys.executable, "-m", "alembic", "upgrade", "head")

    def down(self):
        self.run(sys.executable, "-m", "alembic", "downgrade", "base")

    def forget(self):
        """The tool believes that nothing has been done."""
        self.run(sys.executable, "-m", "alembic", "stamp", "base")

    def pretend(self):
        """The tool believes that all has been done."""
        self.run(sys.executable, "-m", "alembic", "stamp", "head")


class Django(Tool):
    def write(self):
        self.file("settings.py", f"""
SECRET_KEY = "x"
USE_TZ = True
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": {self.database!r}, "USER": {self.user!r},
    "HOST": {str(self.cluster.folder)!r}, "PORT": {str(self.cluster.port)!r},
}}}}
""")
        self.file("manage.py", """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""")
        self.file("shop/__init__.py", "")
        self.file("shop/models.py", """
from django.db import models
class Order(models.Model):
    id = models.IntegerField(primary_key=True)
    total = models.IntegerField()
    class Meta:
        db_table = "orders"
        managed = False
""")
        self.file("shop/migrations/__init__.py", "")
        self.file("shop/migrations/0001_orders.py", f"""
from django.db import migrations
class Migration(migrations.Migration):
    initial = True
    operations = [
        # A no-op where an administrator has made it.
        migrations.RunSQL("CREATE EXTENSION IF NOT EXISTS pg_webhook", ""),
        migrations.RunSQL({self.up_sql!r}, {self.down_sql!r}),
    ]
""")

    def manage(self, *arguments):
        return self.run(sys.executable, "manage.py", *arguments)

    def up(self):
        self.manage("migrate", "shop")

    def down(self):
        self.manage("migrate", "shop", "zero")

    def forget(self):
        self.manage("migrate", "--fake", "shop", "zero")

    def pretend(self):
        self.manage("migrate", "--fake", "shop")


class Dbmate(Tool):
    def write(self):
        self.file("db/migrations/20260101000000_orders.sql", f"-- migrate:up\n{self.up_sql}\n-- migrate:down\n{self.down_sql}\n")

    def dbmate(self, *arguments, database=None):
        url = f"postgres://{self.user}@/{database or self.database}?socket={self.cluster.folder}&port={self.cluster.port}&sslmode=disable"
        return self.run(DBMATE, "--url", url, "--wait-timeout", "5s", *arguments)

    def up(self):
        self.dbmate("up")

    def down(self):
        self.dbmate("down")

    def forget(self):
        self.query("DELETE FROM schema_migrations")

    def pretend(self):
        self.query("INSERT INTO schema_migrations VALUES ('20260101000000')")

    def query(self, statement):
        with self.cluster.connect(self.database, user=self.user) as connection:
            connection.execute(statement)


class NodePgMigrate(Dbmate):
    def write(self):
        self.file("migrations/1700000000000_orders.sql", f"-- Up Migration\n{self.up_sql}\n-- Down Migration\n{self.down_sql}\n")

    def migrate(self, *arguments):
        url = f"postgres://{self.user}@/{self.database}?host={self.cluster.folder}&port={self.cluster.port}"
        return self.run("env", f"DATABASE_URL={url}", PACKAGES / ".bin/node-pg-migrate", *arguments)

    def up(self):
        self.migrate("up")

    def down(self):
        # Where there is nothing to take back that is no error.
        self.migrate("down")

    def forget(self):
        self.query("DELETE FROM pgmigrations")

    def pretend(self):
        self.query("INSERT INTO pgmigrations (name, run_on) VALUES ('1700000000000_orders', now())")
