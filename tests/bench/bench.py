"""Measures, prints one table, and keeps a dated record. `QUICK=1` for a look of two minutes."""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import adversaries  # noqa: E402
import bulk  # noqa: E402
import figures  # noqa: E402
import lists  # noqa: E402
import order  # noqa: E402
from harness.cluster import RUN, Cluster  # noqa: E402
from machine import Nginx, describe  # noqa: E402

SETTINGS = {
    "shared_buffers": "'1GB'", "max_wal_size": "'8GB'", "checkpoint_timeout": "'30min'",
    "pg_webhook.max_concurrency": "100",
}


def line(row):
    sign = {"least": ">=", "most": "<="}[row.sense]
    target = f"{sign} {row.target:g}" if row.target is not None else ""
    verdict = {True: "yes", False: "NO", None: ""}[row.met]
    return f"{row.name:55} {row.value:>12,.2f} {row.unit:6} {target:>12} {verdict:4} {row.beside}"


def measure(measurements, quick):
    """The rows of each, with a server and a receiver that they share."""
    server = Cluster("bench", **SETTINGS)
    nginx = None
    try:
        server.start()
        nginx = Nginx(server.folder / "nginx")
        server.reload(pg_webhook__ca_file=f"'{nginx.ca_file}'")
        for measurement in measurements:
            yield from measurement(server, nginx, quick)
    finally:
        if nginx:
            nginx.stop()
        server.destroy()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("only", nargs="*", help="names of measurements; where left out, all but those of lists.py and bulk.py")
    only = parser.parse_args().only
    quick = bool(os.environ.get("QUICK"))
    began = time.monotonic()
    rows = []
    every = figures.ALL + order.ALL + adversaries.ALL
    chosen = [m for m in every + lists.OWN + bulk.OWN if m.__name__ in only] if only else every
    for row in measure(chosen, quick):
        rows.append(row)
        print(line(row), flush=True)
    missed = [row.name for row in rows if row.met is False]
    summary = f"{len(rows)} figures in {time.monotonic() - began:.0f} s; missed: {', '.join(missed) or 'none'}"
    print(summary)
    if not only:
        keep(rows, quick, summary)


def keep(rows, quick, summary):
    """Write the record of this run: machine, commit, command, figures."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=HERE).stdout.strip()

    at = datetime.datetime.now(datetime.timezone.utc)
    record = {
        "at": at.isoformat(timespec="seconds"),
        "machine": describe(),
        "commit": git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain") else ""),
        "command": "make bench QUICK=1" if quick else "make bench",
        "summary": summary,
        "figures": [
            {"name": r.name, "value": round(r.value, 4), "unit": r.unit, "target": r.target, "met": r.met,
             "beside": r.beside} for r in rows
        ],
    }
    path = HERE / "results" / f"{at:%Y-%m-%d-%H%M}{'-quick' if quick else ''}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"kept in {path.relative_to(HERE.parents[1])}")


if __name__ == "__main__":
    main()
