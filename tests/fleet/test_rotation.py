"""Workers in a key rotation: what one starts, another completes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import pytest
import requests
from asok_auth_dev.provider import DevProvider
from asok_auth_tests.machines import (
    Machine,
    Visitor,
    ask,
    code_of,
    come_back,
    first_line,
    give_first_factor,
    log_in,
    new_account,
    new_address,
    started,
    token_of,
    totp_code,
)

pytestmark = pytest.mark.slow

READS = {
    "old": {"old": True, "both": True, "new": False},
    "both": {"old": False, "both": True, "new": True},
    "new": {"old": False, "both": True, "new": True},
}
"""For what each generation makes: which one accepts it. ``both`` signs and seals with the new key."""


@pytest.fixture(scope="module")
def generations(
    told: Callable[..., Mapping[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Machine]]:
    """Three machines: with the old key, with both, with the new one."""
    old, new = secrets.token_hex(32), secrets.token_hex(32)
    keys = {"old": (old, ""), "both": (new, old), "new": (new, "")}
    environs = {
        tmp_path_factory.mktemp(name): {**told(key), "SECRET_KEY_FALLBACKS": fallbacks}
        for name, (key, fallbacks) in keys.items()
    }
    with started(environs) as made:
        yield dict(zip(keys, made, strict=True))


Login: TypeAlias = Callable[[Visitor, Machine, Machine, DevProvider], tuple[str, requests.Response]]
"""Starts a login on one machine and completes it on another: its email address, and the last answer."""


def by_link(
    visitor: Visitor, made: Machine, read: Machine, provider: DevProvider
) -> tuple[str, requests.Response]:
    address = new_address()
    token = token_of(ask(visitor, made, address))
    visitor.get(read, f"/auth/magic/callback?token={token}")
    return address, visitor.post(read, "/auth/magic/callback", token=token)


def by_code(
    visitor: Visitor, made: Machine, read: Machine, provider: DevProvider
) -> tuple[str, requests.Response]:
    address = new_address()
    code = code_of(ask(visitor, made, address))
    visitor.get(read, "/auth/magic/code")
    return address, visitor.post(read, "/auth/magic/code", email=address, code=code)


def by_provider(
    visitor: Visitor, made: Machine, read: Machine, provider: DevProvider
) -> tuple[str, requests.Response]:
    account = new_account(provider)
    return str(account.email), visitor.get(read, come_back(visitor, made, account))


def by_second_factor(
    visitor: Visitor, made: Machine, read: Machine, provider: DevProvider
) -> tuple[str, requests.Response]:
    address = new_address()
    Visitor().get(made, f"/enrol?who={address}")
    give_first_factor(visitor, made, address)
    assert visitor.user(read) == "nobody"
    visitor.get(read, "/auth/second-factor")
    return address, visitor.post(read, "/auth/second-factor", factor="totp", code=totp_code())


LOGINS: dict[str, Login] = {
    "link": by_link,
    "code": by_code,
    "provider": by_provider,
    "second factor": by_second_factor,
}


@pytest.mark.requirement("SECURITY-29", "SECURITY-38")
@pytest.mark.parametrize("kind", LOGINS)
@pytest.mark.parametrize("maker", READS)
@pytest.mark.parametrize("reader", READS)
def test_a_login_completes_only_on_a_worker_that_knows_the_key_it_was_started_under(
    generations: dict[str, Machine], provider: DevProvider, kind: str, maker: str, reader: str
) -> None:
    made, read, visitor = generations[maker], generations[reader], Visitor()
    accepted = READS[maker][reader]
    address, answer = LOGINS[kind](visitor, made, read, provider)
    assert answer.status_code == (303 if accepted else 400), answer.text
    # A session lies under no key.
    seen = {name: visitor.user(machine) for name, machine in generations.items()}
    assert seen == dict.fromkeys(generations, address if accepted else "nobody")


@pytest.mark.requirement("SECURITY-29")
@pytest.mark.parametrize("maker", READS)
@pytest.mark.parametrize("reader", READS)
def test_an_api_token_works_on_each_worker_that_knows_its_key(
    generations: dict[str, Machine], maker: str, reader: str
) -> None:
    made, read = generations[maker], generations[reader]
    address = new_address()
    token = first_line(log_in(made, made, address).get(made, "/token"))
    shown = Visitor().get(read, "/", Authorization=f"Bearer {token}")
    assert first_line(shown) == (address if READS[maker][reader] else "nobody")
