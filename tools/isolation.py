"""Import each named module in a process without our other modules.

The processes are forks of one that has imported the third-party modules, which takes longer than ours.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence

LOAD_ALL = """
import contextlib, importlib, sys
for name in sys.argv[1:]:
    with contextlib.suppress(Exception):
        importlib.import_module(name)
print(*sys.modules)
"""


def third_party(modules: Sequence[str]) -> list[str]:
    """What importing ``modules`` imports from other packages than theirs."""
    command = [sys.executable, "-I", "-c", LOAD_ALL, *modules]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # ours
    loaded = done.stdout.split()
    ours = {name.partition(".")[0] for name in modules}
    return [name for name in loaded if name.partition(".")[0] not in {*ours, "__main__"}]


def imports_alone(module: str) -> bool:
    """True if ``module`` can be imported in a fork; else print the traceback."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    importlib.import_module(module)
    os._exit(0)


def main(modules: Sequence[str]) -> None:
    for name in third_party(modules):
        # Some names in sys.modules are no files. What warns is left to the modules that import it.
        with contextlib.suppress(ImportError, Warning):
            importlib.import_module(name)
    gc.disable()  # a collection would touch all that a fork shares with this process, and copy it
    failed = [module for module in modules if not imports_alone(module)]
    sys.exit(f"{len(failed)} of {len(modules)} failed: {', '.join(failed)}" if failed else None)


if __name__ == "__main__":
    main(sys.argv[1:])
