"""Text that no database takes is replaced in profiles, and never becomes an id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asok_auth_core.engine.message import Claims, Reply, read_object, read_profile
from asok_auth_core.engine.storable import is_exact, is_storable, storable
from asok_auth_core.engine.strict_json import JSONInvalid, read_strict
from asok_auth_core.errors import OAuthError

CUT = rb'{"id": "1\ud83d", "name": "Ada \u0000", "teams": [{"name": "\udc00"}], "age": 7}'


@given(st.text(st.characters()))
def test_what_was_made_storable_can_be_encoded(text: str) -> None:
    made = storable(text)
    assert is_storable(made)
    assert made.encode().decode() == made
    assert len(made) == len(text)
    assert (made == text) == is_storable(text)
    assert is_exact(text) == (made == text and "\ufffd" not in text)


def test_a_profile_is_read_with_replacements() -> None:
    profile = read_profile(Reply(200, CUT))
    assert profile == {
        "id": "1\ufffd",
        "name": "Ada \ufffd",
        "teams": [{"name": "\ufffd"}],
        "age": 7,
    }


def test_a_subject_that_was_replaced_identifies_nobody() -> None:
    with pytest.raises(OAuthError) as error:
        Claims(read_object(CUT, clean=True)).subject("id")
    assert error.value.code == "oauth_subject"


@pytest.mark.parametrize("body", [CUT, rb'{"\ud83d": 1}', rb'["\u0000"]'])
def test_everything_else_rejects_it(body: bytes) -> None:
    with pytest.raises(JSONInvalid, match="half a character"):
        read_strict(body)


def test_names_of_values_are_never_replaced() -> None:
    """Two names could become one."""
    with pytest.raises(JSONInvalid, match="half a character"):
        read_strict(rb'{"a\ud83d": 1, "a\udc00": 2}', clean=True)
