"""``pytest.raises`` for an error's code, since many errors share a class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ..errors import AuthError


@contextmanager
def raises_code(code: str, match: str | None = None) -> Iterator[pytest.ExceptionInfo[AuthError]]:
    """Expect an AuthError with this ``code`` and a message with ``match``."""
    with pytest.raises(AuthError, match=match) as caught:
        yield caught
    assert caught.value.code == code, f"expected the code {code!r}, got {caught.value.code!r}"
