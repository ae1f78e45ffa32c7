"""Run a task in several processes at once, to test that a store is atomic.

Every worker process imports this module, so it must not import pytest or hypothesis.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from types import FunctionType, ModuleType, TracebackType
from typing import IO, Any, Concatenate, Generic, ParamSpec, TypeVar

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")

HEAD_START = 0.02
"""Seconds between sending a task and its start, so that every worker has received it by then."""

GRACE = 60.0
"""Seconds a worker has to exit by itself before it is killed."""

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]);"
    "from asok_auth_core.testing.processes import serve; serve()"
)


class WorkerFailed(Exception):
    """A task raised in a worker (the message is its traceback), or it ended."""


class Workers(Generic[C]):
    """``count`` new processes, each with ``context()``; a context manager.

    ``context`` and all tasks are pickled, so they must be functions or classes of a module (a test
    module works) or a ``functools.partial`` of one, not lambdas. Nothing is inherited by fork.
    """

    def __init__(self, context: Callable[[], C], count: int) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(count):
                self._processes.append(
                    subprocess.Popen(  # noqa: S603  # this interpreter, our own code
                        [sys.executable, "-c", _BOOT, json.dumps(sys.path)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                    )
                )
            for process in self._processes:
                _send(process, context, (), 0.0)
            for process in self._processes:
                _receive(process)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Workers[C]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes, in order."""
        return [process.pid for process in self._processes]

    def run(
        self, task: Callable[Concatenate[C, P], R], /, *arguments: P.args, **keywords: P.kwargs
    ) -> list[R]:
        """Run ``task(context, …)`` in all processes at once; return the results in order.

        Raises WorkerFailed if it raised in one of them.
        """
        self.start(task, *arguments, **keywords)
        return self.results()  # type: ignore[return-value]  # what the workers send back is of type R

    def start(
        self, task: Callable[Concatenate[C, P], object], /, *arguments: P.args, **keywords: P.kwargs
    ) -> None:
        """Start a task like :meth:`run`, without waiting for the results."""
        start = time.monotonic() + HEAD_START
        for process in self._processes:
            _send(process, task, arguments, start, keywords)

    def start_each(
        self,
        task: Callable[Concatenate[C, P], object],
        /,
        arguments: Callable[[int], tuple[object, ...]],
    ) -> None:
        """Start a task like :meth:`start`, giving ``arguments(n)`` to process ``n``."""
        start = time.monotonic() + HEAD_START
        for number, process in enumerate(self._processes):
            _send(process, task, arguments(number), start)

    def results(self) -> list[object]:
        """Wait for the results of the task that was started. Raises WorkerFailed."""
        results: list[object] = []
        failures: list[WorkerFailed] = []
        for process in self._processes:
            # All are read, even after a failure, or they would be taken for results of the next task.
            try:
                results.append(_receive(process))
            except WorkerFailed as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
        return results

    def kill(self) -> None:
        """Kill all processes at once, as ``kill -9`` does."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def close(self) -> None:
        """Let the processes exit; kill those that do not within ``GRACE`` seconds."""
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError):
                _pipes(process)[0].close()
        for process in self._processes:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _pipes(process)[1].close()


def serve() -> None:
    """Run tasks from standard input until it ends; the main loop of a worker process."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a task's output must not mix with the answers
    context: object = None
    first = True
    while header := requests.read(8):
        modules, payload = pickle.loads(requests.read(int.from_bytes(header, "big")))  # noqa: S301
        try:
            for name, file in modules:
                _make_importable(name, file)
            task, arguments, keywords, start = pickle.loads(payload)  # noqa: S301
            if first:
                result, context = None, task()
                first = False
            else:
                time.sleep(max(0.0, start - time.monotonic()))
                result = task(context, *arguments, **keywords)
            answer = pickle.dumps((True, result))
        except Exception:  # noqa: BLE001  # raised again in the parent
            answer = pickle.dumps((False, traceback.format_exc()))
        _write(answers, answer)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to and from the worker."""
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _send(
    process: subprocess.Popen[bytes],
    task: Callable[..., object],
    arguments: tuple[object, ...],
    start: float,
    keywords: dict[str, object] | None = None,
) -> None:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump((task, arguments, keywords or {}, start))
    modules = [(name, getattr(sys.modules[name], "__file__", None)) for name in sorted(pickler.modules)]
    try:
        _write(_pipes(process)[0], pickle.dumps((modules, buffer.getvalue())))
    except BrokenPipeError:
        raise WorkerFailed(f"Worker {process.pid} exited before it got its task.") from None


def _receive(process: subprocess.Popen[bytes]) -> object:
    answers = _pipes(process)[1]
    header = answers.read(8)
    payload = answers.read(int.from_bytes(header, "big"))
    if len(header) < 8 or len(payload) < int.from_bytes(header, "big"):
        raise WorkerFailed(f"Worker {process.pid} exited with code {process.wait()}.")
    good, result = pickle.loads(payload)  # noqa: S301
    if not good:
        raise WorkerFailed(str(result))
    return result


def _write(stream: IO[bytes] | io.BufferedWriter, payload: bytes) -> None:
    stream.write(len(payload).to_bytes(8, "big") + payload)
    stream.flush()


class _Pickler(pickle.Pickler):
    """Records the modules it refers to, under the names that pytest gave them."""

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer)
        self.modules: set[str] = set()

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, (type, FunctionType)) and obj.__module__ in sys.modules:
            self.modules.add(obj.__module__)
        return NotImplemented


def _make_importable(name: str, file: str | None) -> None:
    if name == "__main__":
        if file is not None and getattr(sys.modules[name], "__file__", None) != file:
            sys.modules[name] = _load("__mp_main__", file)  # a script; __mp_main__ skips its main part
    elif name not in sys.modules:
        try:
            importlib.import_module(name)
        except ImportError:
            if file is None:
                raise
            parent = name.rpartition(".")[0]
            while parent:
                sys.modules.setdefault(parent, ModuleType(parent))  # pickle imports parents too
                parent = parent.rpartition(".")[0]
            _load(name, file)


def _load(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"Cannot import {file}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
