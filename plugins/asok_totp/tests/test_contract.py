"""The factor passes the contract that every second factor must pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import asok_totp
from asok_totp.api import TotpApi
from asok_totp.totp import Parameters, code_at

from asok_auth_core.plugin import Auth, User
from asok_auth_core.testing import RoutesContract, SecondFactorContract, TestParts


def api(auth: Auth) -> TotpApi:
    found = auth.second_factors["totp"].api
    assert isinstance(found, TotpApi)
    return found


class TestAuthenticatorApp(SecondFactorContract):
    name: ClassVar[str] = "totp"

    def plugin(self) -> object:
        return asok_totp

    def enrol(self, auth: Auth, parts: TestParts, user: User) -> None:
        self.secrets = getattr(self, "secrets", {})
        self.secrets[str(user.id)] = ("A" if str(user.id) == "1" else "B") * 32
        api(auth)._authenticators.store(str(user.id), self.secrets[str(user.id)], Parameters())

    def proof(self, auth: Auth, parts: TestParts, user: User, shown: str) -> Mapping[str, str]:
        parts.clock.advance(30)
        return {"code": code_at(self.secrets[str(user.id)], Parameters(), int(parts.clock() // 30))}


class TestItsPages(RoutesContract):
    def plugin(self) -> object:
        return asok_totp
