"""The hint for a misspelled name."""

from __future__ import annotations

import pytest

from asok_auth_core.engine.suggest import did_you_mean


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("STATE_STOER", "Did you mean 'STATE_STORE'?"),
        ("state_store", "Did you mean 'STATE_STORE'?"),
        ("Googel", "Did you mean 'google'?"),
        ("entirely different", ""),
        ("", ""),
    ],
)
def test_the_closest_known_name_is_suggested_as_it_is_spelled(name: str, hint: str) -> None:
    assert did_you_mean(name, ["STATE_STORE", "STRICT", "google"]) == hint


def test_nothing_is_suggested_from_nothing() -> None:
    assert did_you_mean("anything", []) == ""
