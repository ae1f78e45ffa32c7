"""The public behavior of the key ring."""

from __future__ import annotations

import pytest

from asok_auth_core.engine.keys import KeyRing, weakness


def test_a_key_ring_without_a_secret_is_none() -> None:
    with pytest.raises(ValueError, match="at least one secret"):
        KeyRing([])


@pytest.mark.requirement("SECURITY-30")
def test_a_keys_repr_holds_no_secret() -> None:
    assert repr(KeyRing([b"canary" * 8, b"kanary" * 8])) == "<KeyRing of 2 secret(s)>"


@pytest.mark.requirement("SECURITY-29")
def test_short_keys_are_weak() -> None:
    assert "fewer than 32" in str(weakness(b"\x01\x93\x52"))
