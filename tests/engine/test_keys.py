"""The key ring as people see it."""

from __future__ import annotations

import pytest

from asok_auth_core.engine.keys import KeyRing, weakness


def test_a_ring_without_a_secret_is_none() -> None:
    with pytest.raises(ValueError, match="at least one secret"):
        KeyRing([])


def test_what_is_shown_of_it_holds_no_secret() -> None:
    """SECURITY 30"""
    assert repr(KeyRing([b"canary" * 8, b"kanary" * 8])) == "<KeyRing of 2 secret(s)>"


def test_few_bytes_are_weak() -> None:
    """SECURITY 29"""
    assert "fewer than 32" in str(weakness(b"\x01\x93\x52"))
