"""RedisStateStore keeps the contract of every StateStore, on a real server."""

from __future__ import annotations

from functools import partial

import pytest
from asok_auth_redis import RedisStateStore, connect
from asok_auth_tests.state_stores import AtLength

from asok_auth_core.testing import OpenStore, StateStoreContract


def open_patiently(url: str) -> RedisStateStore:
    """What the fixture ``patient`` does, in a worker process too."""
    connect.STEP = 30.0
    return RedisStateStore(url)


@pytest.mark.usefixtures("patient")
class TestRedis(StateStoreContract):
    takes_clock = False
    processes = 4
    kills = 1
    examples = 10

    @pytest.fixture
    def open_store(self, contract_url: str) -> OpenStore:
        return partial(open_patiently, contract_url)


@pytest.mark.slow
class TestRedisAtLength(AtLength, TestRedis):
    """The same with more processes, secrets and kills."""
