"""First logins of one email address at once, on two machines."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import pytest
import requests
from asok_auth_dev.provider import DevProvider
from asok_auth_tests.machines import Machine, Visitor, ask, come_back, new_account, rows, token_of

from asok_auth_core.testing.races import in_threads

pytestmark = pytest.mark.slow

BROWSERS = 8
ROUNDS = 8
LATE = {"login_expired", "credential_rejected"}
"""A slower login was voided by a faster one, which verified the email address first; so was its link."""

Attempt: TypeAlias = tuple[Visitor, Callable[[], requests.Response]]
"""A browser, and the request that it has to make to be logged in."""


def by_link(machines: tuple[Machine, Machine], address: str) -> list[Attempt]:
    """Half of the browsers, each with a link that the machine has shown it."""
    visitors = [Visitor() for _ in range(BROWSERS // 2)]
    for visitor in visitors:
        ask(visitor, machines[0], address)
    mails = machines[0].mails(address, len(visitors))
    attempts: list[Attempt] = []
    for number, (visitor, mail) in enumerate(zip(visitors, mails, strict=True)):
        machine, token = machines[number % 2], token_of(mail)
        assert visitor.get(machine, f"/auth/magic/callback?token={token}").status_code == 200
        attempts.append((visitor, partial(visitor.post, machine, "/auth/magic/callback", token=token)))
    return attempts


def press_all_at_once(attempts: list[Attempt]) -> list[tuple[Visitor, requests.Response]]:
    left = iter(attempts)

    def press() -> list[tuple[Visitor, requests.Response]]:
        visitor, request = next(left)
        return [(visitor, request())]

    return [answer for part in in_threads(press, len(attempts)) for answer in part]


@pytest.mark.requirement("SECURITY-36")
def test_first_logins_at_once_make_one_account(
    machines: tuple[Machine, Machine], provider: DevProvider
) -> None:
    for _ in range(ROUNDS):
        account = new_account(provider)
        address = str(account.email)
        attempts = by_link(machines, address)
        for number in range(BROWSERS // 2):
            visitor = Visitor()
            path = come_back(visitor, machines[0], account)
            attempts.append((visitor, partial(visitor.get, machines[number % 2], path)))
        answers = press_all_at_once(attempts)

        seen = [{visitor.user(machine) for machine in machines} for visitor, _ in answers]
        assert {address} in seen
        for (_, answer), users in zip(answers, seen, strict=True):
            if answer.status_code == 303:
                assert answer.headers["Location"] == "/"
                # A slower login that verifies the address ends the sessions from before.
                assert users in ({address}, {"nobody"})
            else:
                [code] = re.findall(r"Error code: (\w+)", answer.text)
                assert (answer.status_code, code in LATE) == (400, True), answer.text
                assert 'href="/auth/login"' in answer.text
                assert users == {"nobody"}
        left = rows(machines[0], address)
        assert [left.count(one) for one in ("account", "email")] == [1, 1]
        assert left.count("identity") <= 1
        assert left.count("session") == seen.count({address})
