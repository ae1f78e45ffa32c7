"""RedisStateStore keeps the contract of every StateStore, on a real server."""

from __future__ import annotations

from functools import partial

import pytest
from asok_auth_redis import RedisStateStore

from asok_auth_core.testing.state_store import OpenStore, StateStoreContract


class TestRedis(StateStoreContract):
    takes_clock = False
    processes = 4

    @pytest.fixture
    def open_store(self, contract_url: str) -> OpenStore:
        return partial(RedisStateStore, contract_url)


@pytest.mark.slow
class TestRedisAtLength(TestRedis):
    """The same with 2,000 secrets of each kind, and 200 kills."""

    processes = 8
    secrets = 2000
    kills = 200
    examples = 200
