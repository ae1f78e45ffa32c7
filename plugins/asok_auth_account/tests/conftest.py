"""An app with accounts, its users' browsers and their mailboxes, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import asok_auth_account
import pytest

from asok_auth_core.plugin import JSON, Auth, OutgoingMail, StateStore, WebResponse
from asok_auth_core.testing import (
    Browser,
    FakeRequest,
    FakeUser,
    FrozenClock,
    MemoryCredentialStore,
    MemoryUsers,
    TestParts,
    build_auth,
)

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Visitor(Browser):
    """A browser that says which one it is."""

    def __init__(self, auth: Auth, *, locale: str, agent: str, ip: str) -> None:
        super().__init__(auth)
        self._headers = {"User-Agent": agent}
        self.request = FakeRequest("/", auth=auth, locale=locale, client_ip=ip, headers=self._headers)

    def get(self, url: str, *, method: str = "GET") -> WebResponse:
        return self.send(method, url)

    def post(self, url: str, form: Mapping[str, str] | None = None) -> WebResponse:
        return self._send(self.request.follow(url, method="POST", form=form or {}, headers=self._headers))

    def send(
        self, method: str, url: str, *, json: JSON = None, headers: Mapping[str, str] | None = None
    ) -> WebResponse:
        return super().send(method, url, json=json, headers={**self._headers, **(headers or {})})


class Site:
    """One app and what it mailed. ``ada`` is user 1, ``ada@example.com``."""

    def __init__(
        self,
        root: Path,
        *plugins: object,
        account: dict[str, object] | None = None,
        config: dict[str, object] | None = None,
        users: MemoryUsers | None = None,
        credentials: Callable[[FrozenClock], MemoryCredentialStore] = MemoryCredentialStore,
        **settings: object,
    ) -> None:
        self.clock = FrozenClock()
        self.parts = TestParts(self.clock)
        self.users = MemoryUsers(FakeUser("1", "ada@example.com", "Ada")) if users is None else users
        self.credentials = credentials(self.clock)
        self.auth: Auth = build_auth(
            root,
            plugins=(asok_auth_account, *plugins),
            settings={"APP_NAME": "Shop", "ACCOUNT": account or {}, **settings},
            config=config,
            users=self.users,
            credentials=self.credentials,
            clock=self.clock,
            parts=self.parts,
        )
        ada = self.users.by_id("1")
        assert ada is not None
        self.ada: FakeUser = ada

    @property
    def state(self) -> StateStore:
        """The state store below the app's wrapper, for what only an operator sees."""
        return self.parts.state

    def browser(self, *, locale: str = "en", agent: str = FIREFOX, ip: str = "192.0.2.1") -> Browser:
        """A new browser."""
        return Visitor(self.auth, locale=locale, agent=agent, ip=ip)

    def logged_in(self, user: FakeUser | None = None, **options: str) -> Browser:
        """A new browser in which ``user`` is logged in."""
        browser = self.browser(**options)
        browser.log_in(user or self.ada)
        return browser

    def mails(self, to: str | None = None) -> list[OutgoingMail]:
        """The mails that were sent since the last call, to one address or all."""
        assert self.auth.outbox.flush(60) == 0
        sent, self.parts.mail.sent = self.parts.mail.sent, []
        return [mail for mail in sent if to in (None, mail.to)]

    def events(self, name: str) -> list[dict[str, object]]:
        """The details of the events of this name."""
        return [dict(event.detail) for event in self.parts.events if event.name == name]

    def close(self) -> None:
        self.auth.plugins.stop(self.auth)
        self.auth.outbox.close()
        self.auth.state.close()


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """A factory: ``make_site(plugin, account={"NOTICES": []})``."""
    made: list[Site] = []

    def make(*plugins: object, **options: object) -> Site:
        made.append(Site(tmp_path, *plugins, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()
