"""Run a contract suite over plugins with one fault each."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def failed_tests(mutants: Path, folder: Path) -> set[tuple[str, str]]:
    """``(class, test)`` of each failure in the file ``mutants``, run in ``folder``."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(mutants), "-q", "--tb=no", "-rf", "-p", "no:cacheprovider"),
            *("--import-mode=importlib", "--rootdir", str(mutants.parent), "-c", "/dev/null"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"\d+ failed, \d+ passed", run.stdout), run.stdout + run.stderr
    assert " error" not in run.stdout, run.stdout
    return set(re.findall(r"^FAILED \S+::(\w+)::(\w+)", run.stdout, re.MULTILINE))
