"""Two versions of the extension, and servers that come from one to the other as an upgrade of the package brings them there."""

import os
import pathlib
import re
import shutil
import subprocess

from .places import BIN, RUN

ROOT = pathlib.Path(__file__).parents[3]


class Tree:
    """A server's programs and files, of which those of the extension may become others. They are looked for beside the programs."""

    def __init__(self, name):
        asked = subprocess.run(
            [BIN / "pg_config", "--bindir", "--sharedir", "--pkglibdir"], stdout=subprocess.PIPE, text=True, check=True
        )
        bin, share, library = (pathlib.Path(line).resolve() for line in asked.stdout.split())
        source = BIN.parent.resolve()
        self.folder = RUN / f"{name}.{os.getpid()}"
        subprocess.run(["cp", "-as", source, self.folder], check=True)
        self.bin, self.extension, self.library = (
            self.folder / place.relative_to(source) for place in (bin, share / "extension", library)
        )
        # They find the others where they are themselves.
        for program in ("postgres", "pg_ctl"):
            subprocess.run(["cp", "-L", "--remove-destination", bin / program, self.bin], check=True)

    def install(self, files):
        """What an upgrade of the package brings: new files of the same names, so that what is loaded stays what it is."""
        for file in files.iterdir():
            place = (self.library if file.suffix == ".so" else self.extension) / file.name
            shutil.copy(file, place.with_name("new"))
            place.with_name("new").rename(place)

    def version(self):
        """The one that CREATE EXTENSION makes."""
        control = (self.extension / "pg_webhook.control").read_text()
        return re.search("^default_version = '(.*)'", control, re.MULTILINE)[1]

    def remove(self):
        shutil.rmtree(self.folder)


def next_version():
    """The folder with the files of a next version, which is built where it is not there: a minute of two processors."""
    home = BIN.parents[2]
    done = subprocess.run([ROOT / "tests/updates/build", ROOT, home], stdout=subprocess.PIPE, text=True, env={**os.environ, "PGW_BIN": str(BIN)}, check=True)
    return pathlib.Path(done.stdout.strip())


#: What an extension is in a database, by names: an update has to come to what an installation makes.
MEMBERS = """
    WITH member AS (
        SELECT d.classid, d.objid
        FROM pg_depend AS d JOIN pg_extension AS x ON x.oid = d.refobjid AND x.extname = 'pg_webhook'
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    ), class AS (
        SELECT c.* FROM member AS m JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
    ), function AS (
        SELECT p.* FROM member AS m JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
    ), acl (kind, name, acl) AS (
        SELECT 'relation', oid::regclass::text, relacl FROM class
        UNION ALL SELECT 'function', oid::regprocedure::text, proacl FROM function
        UNION ALL SELECT 'schema', n.nspname::text, n.nspacl
        FROM member AS m JOIN pg_namespace AS n ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
        UNION ALL SELECT 'type', t.oid::regtype::text, t.typacl FROM class AS c JOIN pg_type AS t ON t.oid = c.reltype
        UNION ALL SELECT 'column', format('%s.%s', c.oid::regclass, a.attname), a.attacl
        FROM class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND a.attacl IS NOT NULL
        UNION ALL SELECT 'initial', pg_describe_object(i.classoid, i.objoid, i.objsubid), i.initprivs
        FROM pg_init_privs AS i JOIN member AS m ON m.classid = i.classoid AND m.objid = i.objoid
    )
    SELECT 'member' AS what, pg_describe_object(classid, objid, 0) AS name, NULL AS detail FROM member
    UNION ALL SELECT 'relation', oid::regclass::text, concat_ws(' ', relkind, relpersistence, relam, relreplident, reloptions, relispartition) FROM class
    UNION ALL SELECT 'view', oid::regclass::text, pg_get_viewdef(oid) FROM class WHERE relkind = 'v'
    UNION ALL SELECT 'column', format('%s.%s', a.attrelid::regclass, a.attname), concat_ws(
        ' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attcompression,
        pg_get_expr(d.adbin, d.adrelid))
    FROM class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM class AS c JOIN pg_index AS i ON i.indrelid = c.oid
    UNION ALL SELECT 'constraint', format('%s of %s', k.conname, c.oid::regclass), pg_get_constraintdef(k.oid)
    FROM class AS c JOIN pg_constraint AS k ON k.conrelid = c.oid
    UNION ALL SELECT 'trigger', format('%s of %s', t.tgname, c.oid::regclass), concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid))
    FROM class AS c JOIN pg_trigger AS t ON t.tgrelid = c.oid AND NOT t.tgisinternal
    UNION ALL SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid) FROM function
    UNION ALL SELECT 'privilege', format('%s %s', acl.kind, acl.name), (
        SELECT string_agg(format('%s %s by %s', coalesce(g.rolname, 'PUBLIC'), a.privilege_type, o.rolname), ', ' ORDER BY g.rolname, a.privilege_type, o.rolname)
        FROM aclexplode(acl.acl) AS a LEFT JOIN pg_roles AS g ON g.oid = a.grantee JOIN pg_roles AS o ON o.oid = a.grantor
    ) FROM acl
    UNION ALL SELECT 'comment', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description
    FROM pg_description AS d JOIN member AS m ON m.classid = d.classoid AND m.objid = d.objoid
    UNION ALL SELECT 'dumped', k.relation::regclass::text, k.condition
    FROM pg_extension AS x CROSS JOIN unnest(x.extconfig, x.extcondition) AS k (relation, condition) WHERE x.extname = 'pg_webhook'
    UNION ALL SELECT 'extension', x.extname::text, concat_ws(' ', x.extversion, x.extowner::regrole, x.extnamespace::regnamespace)
    FROM pg_extension AS x WHERE x.extname = 'pg_webhook'
"""


def description(session):
    """What the extension is there."""
    return set(session.execute(MEMBERS).fetchall())
