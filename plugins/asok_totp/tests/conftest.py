"""An app's authentication without a framework, and an authenticator app."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import asok_totp
import pyotp
import pytest

from asok_auth_core.pages.router import Router
from asok_auth_core.plugin import Auth, Proof, SecondFactorRequired, WebResponse, complete_login
from asok_auth_core.testing import (
    FakeRequest,
    FakeUser,
    FrozenClock,
    MemoryCredentialStore,
    MemoryUsers,
    build_auth,
)


class Site:
    """One app, its users and its pages."""

    def __init__(self, auth: Auth, users: MemoryUsers, clock: FrozenClock) -> None:
        self.auth = auth
        self.clock = clock
        self.ann = users.by_id("1")
        assert self.ann is not None
        self._router = Router(auth)

    def answer(self, request: FakeRequest) -> WebResponse:
        route = self._router.match(request.path)
        assert route is not None, request.path
        return self._router.respond(route, request)

    def log_in(self, request: FakeRequest | None = None, *, user: FakeUser | None = None) -> FakeRequest:
        """Pass the first factor; the request shows the result."""
        request = request or FakeRequest()
        try:
            complete_login(self.auth, request, user or self.ann, Proof("app"), next_url="/start")
        except SecondFactorRequired as required:
            return request.follow(required.location)
        return request.follow("/start")

    def enrol(self) -> tuple[Phone, list[str]]:
        """Ann logs in and turns it on; her app and her recovery codes."""
        browser = self.log_in()
        page = self.answer(browser.follow("/auth/totp/enrol", method="POST", form={})).body
        phone = Phone.from_page(page, self.clock)
        done = self.answer(browser.follow("/auth/totp/confirm", form={"code": phone.code()}))
        assert done.status == 200, done.body
        codes = codes_in(done.body)
        self.clock.advance(60)
        return phone, codes

    def second_factor(self, browser: FakeRequest, code: str, factor: str = "totp") -> tuple[int, FakeRequest]:
        request = browser.follow("/auth/second-factor", form={"factor": factor, "code": code})
        return self.answer(request).status, request


def codes_in(page: str) -> list[str]:
    """The recovery codes a page shows."""
    return list(dict.fromkeys(re.findall(r"\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}\b", page)))


class Phone:
    """An authenticator app: it knows the URI it was given, and the time."""

    def __init__(self, uri: str, clock: FrozenClock) -> None:
        parsed = pyotp.parse_uri(uri)
        assert isinstance(parsed, pyotp.TOTP)
        self.totp = parsed
        self.clock = clock

    @classmethod
    def from_page(cls, page: str, clock: FrozenClock) -> Phone:
        found = re.search(r'href="(otpauth://[^"]+)"', page)
        assert found, page
        return cls(found[1].replace("&amp;", "&"), clock)

    def code(self, *, off: float = 0) -> str:
        return self.totp.at(int(self.clock() + off))


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(1_790_000_010.0)


@pytest.fixture
def make_site(tmp_path: Path, clock: FrozenClock) -> Iterator[Callable[..., Site]]:
    made: list[Auth] = []

    def make(
        *plugins: object,
        secrets: tuple[str, ...] = ("k" * 32,),
        credentials: MemoryCredentialStore | None = None,
        **settings: object,
    ) -> Site:
        users = MemoryUsers(FakeUser("1", "ann@example.org", "Ann"), FakeUser("2", "bob@example.org", "Bob"))
        auth = build_auth(
            tmp_path,
            plugins=[asok_totp, *plugins],
            settings={"APP_NAME": "Shop", **settings},
            config={"SECRET_KEY": secrets[0], "SECRET_KEY_FALLBACKS": list(secrets[1:]), "DEBUG": True},
            users=users,
            credentials=credentials,
            clock=clock,
        )
        made.append(auth)
        return Site(auth, users, clock)

    yield make
    for auth in made:
        auth.outbox.close()
        auth.state.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


@pytest.fixture
def phone_of(clock: FrozenClock) -> Callable[[str], Phone]:
    """An app that was given the URI in a page."""
    return lambda page: Phone.from_page(page, clock)


@pytest.fixture
def phone_for(clock: FrozenClock) -> Callable[[str], Phone]:
    """An app that was given a URI."""
    return lambda uri: Phone(uri, clock)


@pytest.fixture
def recovery_codes_in() -> Callable[[str], list[str]]:
    """The recovery codes a page shows."""
    return codes_in
