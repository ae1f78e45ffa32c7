"""RedisStateStore keeps the contract of every StateStore, on a real server."""

from __future__ import annotations

import os
from functools import partial

import pytest
from asok_auth_redis import RedisStateStore, connect

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
class TestRedisAtLength(TestRedis):
    """The same with 2,000 secrets of each kind, and more kills (ASOK_AUTH_KILLS)."""

    processes = 8
    secrets = 2000
    kills = int(os.environ.get("ASOK_AUTH_KILLS", "20"))
    examples = 50
