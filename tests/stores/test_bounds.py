"""Values that every store rejects before it does anything."""

from __future__ import annotations

import pytest

from asok_auth_core.contracts import StateStore
from asok_auth_core.errors import StoreError
from asok_auth_core.stores.memory import MemoryStateStore


@pytest.fixture
def store() -> StateStore:
    return MemoryStateStore()


@pytest.mark.parametrize("key", ["", "x" * 1025, "\u00e9" * 513, "\ud800"])
def test_a_key_outside_its_limits_is_an_error(store: StateStore, key: str) -> None:
    for call in (
        lambda: store.put(key, b"", 1),
        lambda: store.get(key),
        lambda: store.take(key),
        lambda: store.add(key, b"", 1),
        lambda: store.incr(key, 1),
        lambda: store.delete(key),
    ):
        with pytest.raises(StoreError, match="state key"):
            call()


@pytest.mark.parametrize("value", ["text", None, bytearray(b"x"), b"x" * 65_537])
def test_a_value_outside_its_limits_is_an_error(store: StateStore, value: bytes) -> None:
    with pytest.raises(StoreError, match="state value"):
        store.put("k", value, 1)
    with pytest.raises(StoreError, match="state value"):
        store.add("k", value, 1)
    assert store.get("k") is None


@pytest.mark.parametrize("ttl", [0, -1, 1.5, True, None, "60", 2**31])
def test_a_lifetime_outside_its_limits_is_an_error(store: StateStore, ttl: int) -> None:
    for call in (
        lambda: store.put("k", b"", ttl),
        lambda: store.add("k", b"", ttl),
        lambda: store.incr("k", ttl),
    ):
        with pytest.raises(StoreError, match="time to live"):
            call()
    assert store.get("k") is None
