"""``pytest.raises`` for an error's code: many errors share a class, each reason has its own code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ..errors import AuthError


@contextmanager
def raises_code(code: str, match: str | None = None) -> Iterator[pytest.ExceptionInfo[AuthError]]:
    """Expect an AuthError with this ``code``, and with a message in which ``match`` is found."""
    with pytest.raises(AuthError, match=match) as caught:
        yield caught
    assert caught.value.code == code, f"expected the code {code!r}, got {caught.value.code!r}"
