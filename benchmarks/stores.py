"""Measure state stores: ``take`` with many live entries, and logins by link.

    python benchmarks/stores.py [--entries 1000,100000] [--logins 500] [--stores sqlite,valkey]

Servers come from wheels and run on this machine. Ten million entries need about 20 GB of disk and memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

# The servers of the tests, which are not part of any package.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from on_stores import logins, takes
from on_stores.places import PLACES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--entries", default="1000,10000,100000,1000000", help="live entries, up to 10000000")
    parser.add_argument("--operations", type=int, default=16_000, help="takes in all, over 8 processes")
    parser.add_argument("--logins", type=int, default=500, help="whole logins, in one process")
    parser.add_argument("--stores", default=",".join(PLACES))
    chosen = parser.parse_args()
    sizes = sorted(int(text) for text in chosen.entries.split(",") if text)
    by_link = Table(*logins.COLUMNS, title="whole logins by link, one process on one core")
    by_size = Table(*takes.COLUMNS, title=f"take by {takes.PROCESSES} processes on {os.cpu_count()} cores")
    console = Console(width=120)
    for name in chosen.stores.split(","):
        folder = Path(tempfile.mkdtemp(prefix="bench"))
        app = Path(tempfile.mkdtemp(prefix="bench"))
        try:
            with console.status(name) as status, PLACES[name](folder) as place:
                if chosen.logins:
                    logins.measure(place, app, chosen.logins, by_link, status.update)
                takes.measure(place, sizes, chosen.operations, by_size, status.update)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(app, ignore_errors=True)
    console.print(by_link, by_size)


if __name__ == "__main__":
    main()
