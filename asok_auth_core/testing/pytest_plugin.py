"""Pytest fixtures for plugins and apps that use asok-auth-core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ..auth import Auth
    from ..contracts import CredentialStore
    from .fakes import FakeRequest, FrozenClock, MemoryUsers
    from .parts import TestParts

# Imports are inside the fixtures so that test runs that use none of them do not pay for them.


def pytest_configure(config: pytest.Config) -> None:
    """Register the contract suites' marker, for test runs with ``--strict-markers``."""
    config.addinivalue_line(
        "markers", "requirement(id, ...): the lines of asok-auth-core's docs/security.md that the test proves"
    )


@pytest.fixture
def frozen_clock() -> FrozenClock:
    """The clock of ``auth``; ``frozen_clock.advance(60)`` moves it a minute ahead."""
    from .fakes import FrozenClock

    return FrozenClock()


@pytest.fixture
def fake_users() -> MemoryUsers:
    """The app's users: Ada, with id 1 and email ada@example.com."""
    from .fakes import FakeUser, MemoryUsers

    return MemoryUsers(FakeUser("1", "ada@example.com", "Ada"))


@pytest.fixture
def auth_parts(frozen_clock: FrozenClock) -> TestParts:
    """What ``auth`` did: ``auth_parts.mail.sent`` and ``auth_parts.events``."""
    from .parts import TestParts

    return TestParts(frozen_clock)


@pytest.fixture
def make_auth(
    tmp_path: Path, fake_users: MemoryUsers, auth_parts: TestParts
) -> Iterator[Callable[..., Auth]]:
    """``make_auth(plugins=[...], settings={...})`` builds an ``Auth`` in memory.

    ``config`` is the app's configuration outside ``AUTH``. With ``credentials=auth.credentials`` the new
    one is another worker of the app of ``auth``.
    """
    from .parts import build_auth

    made: list[Auth] = []

    def make(
        *,
        plugins: Sequence[object] = (),
        settings: Mapping[str, object] | None = None,
        config: Mapping[str, object] | None = None,
        credentials: CredentialStore | None = None,
    ) -> Auth:
        auth = build_auth(
            tmp_path,
            plugins=plugins,
            settings=settings,
            config=config,
            credentials=credentials,
            users=fake_users,
            clock=auth_parts.clock,
            parts=auth_parts,
        )
        made.append(auth)
        return auth

    yield make
    for auth in made:
        auth.plugins.stop(auth)
        auth.outbox.close()
        auth.state.close()


@pytest.fixture
def auth(make_auth: Callable[..., Auth]) -> Auth:
    """An in-memory ``Auth`` with the core's own plugins only."""
    return make_auth()


@pytest.fixture
def web_request() -> Callable[..., FakeRequest]:
    """A factory: ``web_request("/path", form={...})`` from a new browser."""
    from .fakes import FakeRequest

    return FakeRequest
