"""Run blocking work outside the event loop, in a thread pool of our own.

Under ASGI, Asok 0.8 blocks a thread of asyncio's default pool for as long as a request lasts, one for
each middleware that is not async. If such requests handed work to the same pool, it would wait for the
threads that wait for it: as many concurrent requests as there are threads would deadlock the server.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from asok.orm import close_all_db_connections

THREADS = 32

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="asok-auth")


# A forked worker inherits the pool's bookkeeping but none of its threads.
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_pool.cache_clear)


async def in_thread(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Call ``function`` in a thread, and close Asok's connections of that thread."""

    def run() -> R:
        try:
            return function(*arguments, **named)
        finally:
            close_all_db_connections()

    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_pool(), lambda: context.run(run))
