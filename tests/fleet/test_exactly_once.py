"""Eight processes get each secret at once; exactly one of them logs in.

Everything goes through the app's pages, as browsers send it: the button of a login link, the form of
a mailed code, the provider's redirect, the form of the second factor. Only what comes before is
shorter than in life: links and codes are taken from where the mail is written, and an app's own
``request.login`` stands for the first factor. Each attempt comes from a browser and an address of its
own, so no limit of attempts is touched.

``ASOK_AUTH_SECRETS=2000`` is the full size; ``REDIS_URL`` and ``DATABASE_URL`` name real servers.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient, TestResponse
from asok_auth_dev.accounts import Account
from asok_auth_dev.provider import DevProvider
from asok_auth_tests.state_stores import RacyTakes
from asok_totp.totp import Parameters, code_at

from asok_auth_core.flows.email_proofs import EmailProofs
from asok_auth_core.flows.verified_emails import mark_email_verified
from asok_auth_core.plugin import hookimpl
from asok_auth_core.stores.sqlite import SQLiteStateStore
from asok_auth_core.testing.apps import asok_app
from asok_auth_core.testing.processes import Workers
from asok_auth_core.testing.races import exactly_once
from asok_auth_core.testing.waiting import PATIENCE
from asok_auth_core.types import Event

pytestmark = pytest.mark.slow

PROCESSES = 8
SECRETS = int(os.environ.get("ASOK_AUTH_SECRETS", "24"))
ROUND = 200
"""Secrets that are made, and then tried, at a time: the local provider's codes live for a minute."""
RUN = secrets.token_hex(4)
"""Distinguishes this run's users from those of an earlier run on the same servers."""

APP_URL = "http://localhost"
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
FIRST_FACTOR = """\
from models.user import User


def get(request):
    request.login(User.find(email=request.args["who"]))
"""


class Watching:
    """A plugin that counts logins, and whose store is ``racy:///<path>``."""

    def __init__(self) -> None:
        self.logins = 0

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        self.logins += event.name == "login.succeeded"

    @hookimpl
    def asok_auth_state_stores(self) -> Mapping[str, Callable[[str], SQLiteStateStore]]:
        return {"racy": lambda url: RacyTakes(url.replace("racy:", "sqlite:", 1))}


@dataclass(frozen=True)
class Place:
    """Where an app runs and what it shares with its other processes."""

    root: Path
    state: str
    database: str | None
    providers: Mapping[str, object]


@dataclass(frozen=True)
class Secret:
    """A secret that logs ``owner`` in once, with its browser's ``cookies``."""

    owner: str
    proof: str
    cookies: Mapping[str, str]


class Browser(TestClient):
    """A TestClient with an address of its own."""

    address = "127.0.0.1"

    def fresh(self, cookies: Mapping[str, str] | None = None) -> None:
        """Another user's browser on another machine."""
        self.cookies = dict(cookies or {})
        self.address = f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"

    def _build_environ(self, *arguments: object, **named: object) -> dict[str, object]:
        environ: dict[str, object] = super()._build_environ(*arguments, **named)
        return {**environ, "REMOTE_ADDR": self.address}


class Member:
    """One process of the fleet; it opens one app after the other."""

    def __init__(self) -> None:
        logging.disable(logging.INFO)  # a line for each request
        self.opened = ExitStack()
        self.watching = Watching()
        self.cookies: list[Mapping[str, str]] = []

    def open(self, place: Place) -> None:
        settings = {
            "STATE_STORE": place.state,
            "PROVIDERS": place.providers,
            "TOTP": {"DRIFT": 10},  # the codes of a round stay good however long it takes
        }
        pages = {"first.py": FIRST_FACTOR}
        app = self.opened.enter_context(
            asok_app(place.root, pages=pages, auth=settings, database=place.database, plugins=[self.watching])
        )
        self.auth = app.extensions["AuthExtension"].auth
        self.browser = Browser(app)
        self.browser.get("/auth/login")
        self.csrf = self.browser.cookies["asok_csrf"]

    def close(self) -> None:
        self.opened.close()

    def post(self, path: str, cookies: Mapping[str, str], **form: str) -> TestResponse:
        self.browser.fresh({**cookies, "asok_csrf": self.csrf})
        return self.browser.post(path, data={"csrf_token": self.csrf, **form})


def make_links(member: Member, owners: list[str]) -> list[Secret]:
    return [Secret(owner, token, {}) for owner, token, _ in _mailed(member, owners)]


def make_codes(member: Member, owners: list[str]) -> list[Secret]:
    return [Secret(owner, code, {}) for owner, _, code in _mailed(member, owners)]


def _mailed(member: Member, owners: list[str]) -> list[tuple[str, str, str]]:
    auth = member.auth
    grants = EmailProofs(auth, "magic")
    for owner in owners:
        # Of first logins, which void what was there before, one goes on: that would hide a race here.
        mark_email_verified(auth, auth.users.create(owner), owner)
    issued = [(owner, grants.issue(owner, 3600)) for owner in owners]
    return [(owner, one.token, one.code) for owner, one in issued]


def make_states(member: Member, owners: list[str]) -> list[Secret]:
    """Logins that have passed the provider; only its redirect back is missing."""
    made = []
    with requests.Session() as provider:
        provider.trust_env = False
        for owner in owners:
            started = member.post("/auth/google/login", {})
            assert started.status_code == 303, started.text
            number = owner.partition("@")[0].rpartition("-")[2]
            answer = provider.post(
                started.headers["Location"], data={"account": number}, allow_redirects=False, timeout=PATIENCE
            )
            path = answer.headers["Location"].removeprefix(APP_URL)
            made.append(Secret(owner, path, dict(member.browser.cookies)))
    return made


def make_recovery_codes(member: Member, owners: list[str]) -> list[Secret]:
    codes = member.auth.second_factors["recovery"].codes
    enrolled = make_steps(member, owners)
    users = [MODELS_REGISTRY["User"].find(email=one.owner) for one in enrolled]
    return [Secret(user.email, codes.issue(str(user.id))[0], {}) for user in users]


def make_steps(member: Member, owners: list[str]) -> list[Secret]:
    authenticators = member.auth.second_factors["totp"].authenticators
    for owner in owners:
        authenticators.store(str(member.auth.users.create(owner).id), TOTP_SECRET, Parameters())
    code = code_at(TOTP_SECRET, Parameters(), int(time.time()) // 30)
    return [Secret(owner, code, {}) for owner in owners]


def first_factor(member: Member, tried: list[Secret]) -> None:
    """Each owner's first factor is given in this process, by a browser of its own."""
    member.cookies = []
    for secret in tried:
        member.browser.fresh()
        answer = member.browser.get(f"/first?who={secret.owner}")
        assert answer.headers["Location"] == "/auth/second-factor", answer.text
        member.cookies.append(dict(member.browser.cookies))


def own_cookies(member: Member, tried: list[Secret]) -> None:
    """Each caller with the secret also has the cookies that belong to it."""
    member.cookies = [secret.cookies for secret in tried]


def press(member: Member, secret: Secret, cookies: Mapping[str, str]) -> TestResponse:
    return member.post("/auth/magic/callback", cookies, token=secret.proof)


def type_code(member: Member, secret: Secret, cookies: Mapping[str, str]) -> TestResponse:
    return member.post("/auth/magic/code", cookies, email=secret.owner, code=secret.proof)


def come_back(member: Member, secret: Secret, cookies: Mapping[str, str]) -> TestResponse:
    member.browser.fresh(cookies)
    return member.browser.get(secret.proof)


def second_factor(member: Member, secret: Secret, cookies: Mapping[str, str], *, factor: str) -> TestResponse:
    return member.post("/auth/second-factor", cookies, factor=factor, code=secret.proof)


@dataclass(frozen=True)
class Kind:
    """How secrets of one kind are made, prepared and tried."""

    make: Callable[[Member, list[str]], list[Secret]]
    prepare: Callable[[Member, list[Secret]], None]
    attempt: Callable[[Member, Secret, Mapping[str, str]], TestResponse]


KINDS = {
    "link": Kind(make_links, own_cookies, press),
    "code": Kind(make_codes, own_cookies, type_code),
    "oauth state": Kind(make_states, own_cookies, come_back),
    "recovery code": Kind(make_recovery_codes, first_factor, partial(second_factor, factor="recovery")),
    "totp step": Kind(make_steps, first_factor, partial(second_factor, factor="totp")),
}


def try_each(member: Member, kind: str, tried: list[Secret]) -> list[str]:
    """The owners this process logged in; other attempts must be rejected with 400."""
    won: list[str] = []
    before = member.watching.logins
    for secret, cookies in zip(tried, member.cookies, strict=True):
        answer = KINDS[kind].attempt(member, secret, cookies)
        assert answer.status_code in (303, 400), f"{answer.status_code}: {answer.text[:2000]}"
        if answer.status_code == 303:
            who = member.browser.get("/").text.split()[0].partition("<")[0]
            assert who == secret.owner, f"{secret.owner} was logged in as {who}"
            won.append(secret.owner)
    assert member.watching.logins - before == len(won), "a rejected attempt logged a user in"
    return won


def all_try(workers: Workers[Member], kind: str, owners: list[str]) -> list[list[str]]:
    """What each process won of ``owners``' secrets, round by round."""
    won: list[list[str]] = [[] for _ in range(PROCESSES)]
    for begin in range(0, len(owners), ROUND):
        some = owners[begin : begin + ROUND]
        workers.start_each(KINDS[kind].make, lambda worker, some=some: (some[worker::PROCESSES],))
        made = [secret for part in workers.results() for secret in part]
        assert len(made) == len(some)
        workers.run(KINDS[kind].prepare, made)
        for own, part in zip(won, workers.run(try_each, kind, made), strict=True):
            own += part
    return won


def people(run: str) -> list[str]:
    """An account for each secret; ``run`` separates runs and kinds."""
    return [f"p{run}-{number}@example.org" for number in range(SECRETS)]


@contextmanager
def opened(
    workers: Workers[Member], root: Path, state: str, database: str | None, run: str
) -> Iterator[Workers[Member]]:
    """Workers of one app, with a provider that knows the users of ``run``."""
    known = [
        Account(number, f"p{number}", f"User {number}", address) for number, address in enumerate(people(run))
    ]
    with DevProvider(APP_URL, debug=True, accounts=known) as local:
        place = Place(root, state, database, local.settings())
        with asok_app(root, auth={"STATE_STORE": state.replace("racy:", "sqlite:")}, database=database):
            pass  # the first process of an app makes its tables
        workers.run(Member.open, place)
        try:
            yield workers
        finally:
            workers.run(Member.close)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers[Member]]:
    with Workers(Member, PROCESSES) as started:
        yield started


@pytest.fixture(scope="module", params=["sqlite", "valkey", "postgresql"])
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, workers: Workers[Member]
) -> Iterator[Workers[Member]]:
    """All share one state store and one database."""
    root = tmp_path_factory.mktemp("fleet")
    state, database = f"sqlite:///{root / 'state.sqlite3'}", None
    if request.param != "sqlite":
        state = database = request.getfixturevalue("postgres_url")
    if request.param == "valkey":
        state = request.getfixturevalue("valkey_url")
    with opened(workers, root, state, database, RUN):
        yield workers


@pytest.mark.requirement("SECURITY-1", "SECURITY-20")
@pytest.mark.parametrize("kind", KINDS)
def test_each_secret_is_won_exactly_once(fleet: Workers[Member], kind: str) -> None:
    owners = people(RUN if kind == "oauth state" else secrets.token_hex(4))
    exactly_once(all_try(fleet, kind, owners), owners)


@pytest.mark.requirement("SECURITY-1")
def test_a_store_with_a_race_is_detected(workers: Workers[Member], tmp_path: Path) -> None:
    """The race is one: with a store that looks before it takes, links work twice."""
    owners = people(secrets.token_hex(4))
    with opened(workers, tmp_path, f"racy:///{tmp_path / 'state.sqlite3'}", None, RUN):
        won = all_try(workers, "link", owners)
    with pytest.raises(AssertionError, match="won by more than one caller"):
        exactly_once(won, owners)
