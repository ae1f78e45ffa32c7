"""Fixtures for tests of plugins and of apps' hooks; active wherever asok-auth-core is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ..auth import Auth
    from .fakes import FakeRequest, FrozenClock, MemoryUsers
    from .parts import TestParts

# Imported inside the fixtures: a test run that uses none of them pays nothing for this plugin.


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that the contract suites carry, for test runs with ``--strict-markers``."""
    config.addinivalue_line(
        "markers", "requirement(id, ...): the lines of asok-auth-core's docs/security.md that the test proves"
    )


@pytest.fixture
def frozen_clock() -> FrozenClock:
    """The clock of ``auth``; ``frozen_clock.advance(60)`` lets a minute pass."""
    from .fakes import FrozenClock

    return FrozenClock()


@pytest.fixture
def fake_users() -> MemoryUsers:
    """The app's users: Ada, with id 1 and the address ada@example.com."""
    from .fakes import FakeUser, MemoryUsers

    return MemoryUsers(FakeUser("1", "ada@example.com", "Ada"))


@pytest.fixture
def auth_parts(frozen_clock: FrozenClock) -> TestParts:
    """What happened: ``auth_parts.mail.sent`` and ``auth_parts.events``."""
    from .parts import TestParts

    return TestParts(frozen_clock)


@pytest.fixture
def make_auth(
    tmp_path: Path, fake_users: MemoryUsers, auth_parts: TestParts
) -> Iterator[Callable[..., Auth]]:
    """``make_auth(plugins=[...], settings={...})``: an app's authentication, all in memory."""
    from .parts import build_auth

    made: list[Auth] = []

    def make(*, plugins: tuple[object, ...] = (), settings: dict[str, object] | None = None) -> Auth:
        auth = build_auth(
            tmp_path,
            plugins=plugins,
            settings=settings,
            users=fake_users,
            clock=auth_parts.clock,
            parts=auth_parts,
        )
        made.append(auth)
        return auth

    yield make
    for auth in made:
        auth.outbox.close()
        auth.state.close()


@pytest.fixture
def auth(make_auth: Callable[..., Auth]) -> Auth:
    """An app's authentication with no plugin but the core's own."""
    return make_auth()


@pytest.fixture
def web_request() -> Callable[..., FakeRequest]:
    """``web_request("/path", form={...})``: a request from a new browser."""
    from .fakes import FakeRequest

    return FakeRequest
