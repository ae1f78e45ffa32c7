"""Workers whose task fails in one process can be given the next."""

from __future__ import annotations

import os

import pytest

from asok_auth_core.testing.processes import WorkerFailed, Workers


def own_pid(first: int, fails: int) -> int:
    if os.getpid() == fails:
        raise ValueError("this one fails")
    return os.getpid()


def nothing() -> int:
    return 0


def test_answers_of_a_failed_task_are_not_taken_for_the_next() -> None:
    with Workers(nothing, 2) as workers:
        with pytest.raises(WorkerFailed, match="this one fails"):
            workers.run(own_pid, workers.pids[0])
        assert workers.run(nothing_of) == ["next", "next"]


def nothing_of(first: int) -> str:
    return "next"
