"""A sound second factor, a mailed code, and copies with one fault each.

Run by test_second_factor_contract.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.contracts import SecondFactor
from asok_auth_core.engine.keys import digest
from asok_auth_core.hookspecs import hookimpl
from asok_auth_core.testing import SecondFactorContract, TestParts
from asok_auth_core.types import OutgoingMail, User
from asok_auth_core.web import Route, WebRequest, WebResponse

CODE_LIFETIME = 600


class MailCode(SecondFactor):
    """Knows nothing of authenticator apps, and the pipeline nothing of it."""

    name = "mailcode"
    label = "Code by mail"

    def __init__(self, auth: Auth) -> None:
        self.auth = auth

    def is_enrolled(self, user: User) -> bool:
        return self.auth.credentials.find(self.name, str(user.id)) is not None

    def reset(self, user: User) -> None:
        for row in self.auth.credentials.list(str(user.id), self.name):
            self.auth.credentials.remove(row)

    def begin(self, request: WebRequest, user: User) -> None:
        code = f"{int.from_bytes(self.auth.random(4), 'big') % 10**8:08}"
        self.auth.state.put(self.key(user, code), b"1", CODE_LIFETIME)
        address = self.auth.users.email_of(user)
        assert address is not None
        self.auth.outbox.post(OutgoingMail(address, "Your code", code)).wait(60)

    def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
        return Markup('<label>Code <input name="code"></label>')

    def verify(self, request: WebRequest, user: User) -> bool:
        return self.auth.state.take(self.key(user, request.form.get("code", ""))) is not None

    def key(self, user: User, code: str) -> str:
        return f"mailcode:{user.id}:{digest(code)}"


class Contract(SecondFactorContract):
    factor_class: type[MailCode] = MailCode

    def plugin(self) -> object:
        factor_class = self.factor_class

        class Plugin:
            @hookimpl
            def asok_auth_second_factors(self, auth: Auth) -> Iterable[SecondFactor]:
                return [factor_class(auth)]

        return Plugin()

    def enrol(self, auth: Auth, parts: TestParts, user: User) -> None:
        auth.credentials.add(str(user.id), self.factor_class.name, str(user.id), {})

    def proof(self, auth: Auth, parts: TestParts, user: User, shown: str) -> Mapping[str, str]:
        address = auth.users.email_of(user)
        return {"code": next(mail.text for mail in reversed(parts.mail.sent) if mail.to == address)}


class TestSound(Contract):
    pass


class TestReplay(Contract):
    class factor_class(MailCode):
        def verify(self, request: WebRequest, user: User) -> bool:
            return self.auth.state.get(self.key(user, request.form.get("code", ""))) is not None


class TestCheckThenDelete(Contract):
    class factor_class(MailCode):
        def verify(self, request: WebRequest, user: User) -> bool:
            key = self.key(user, request.form.get("code", ""))
            found = self.auth.state.get(key) is not None
            time.sleep(0.01)
            self.auth.state.delete(key)
            return found


class TestRemembersTheLastOnly(Contract):
    class factor_class(MailCode):
        def verify(self, request: WebRequest, user: User) -> bool:
            code = request.form.get("code", "")
            if self.auth.state.get(self.key(user, code)) is None:
                return False
            last = self.auth.state.get(f"last:{user.id}")
            self.auth.state.put(f"last:{user.id}", code.encode(), CODE_LIFETIME)
            return last != code.encode()


class TestNewestKeyOnly(Contract):
    class factor_class(MailCode):
        def key(self, user: User, code: str) -> str:
            return f"mailcode:{user.id}:{self.auth.keys.digests('mailcode', code)[0]}"


class TestAnybodysCode(Contract):
    class factor_class(MailCode):
        def key(self, user: User, code: str) -> str:
            return f"mailcode:{digest(code)}"


class TestEveryUserEnrolled(Contract):
    class factor_class(MailCode):
        def is_enrolled(self, user: User) -> bool:
            return True


class TestStaysEnrolled(Contract):
    class factor_class(MailCode):
        def reset(self, user: User) -> None:
            return


class TestTruthy(Contract):
    class factor_class(MailCode):
        def verify(self, request: WebRequest, user: User) -> bool:
            return "yes" if super().verify(request, user) else ""  # type: ignore[return-value]


class TestNothingIsRight(Contract):
    class factor_class(MailCode):
        def verify(self, request: WebRequest, user: User) -> bool:
            return not request.form.get("code") or super().verify(request, user)


class TestBreaksOnLetters(Contract):
    class factor_class(MailCode):
        def verify(self, request: WebRequest, user: User) -> bool:
            return super().verify(request, user) and int(request.form["code"]) >= 0

        def key(self, user: User, code: str) -> str:
            return f"mailcode:{user.id}:{int(code)}"


class TestReadsTheAddress(Contract):
    class factor_class(MailCode):
        def verify(self, request: WebRequest, user: User) -> bool:
            code = request.form.get("code") or request.query.get("code", "")
            return self.auth.state.take(self.key(user, code)) is not None


class TestStoresTheCode(Contract):
    class factor_class(MailCode):
        def verify(self, request: WebRequest, user: User) -> bool:
            right = super().verify(request, user)
            row = self.auth.credentials.find(self.name, str(user.id))
            if right and row is not None:
                self.auth.credentials.replace(row, {"last": request.form["code"]})
            return right


class TestRepeatsInput(Contract):
    class factor_class(MailCode):
        def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
            return Markup('<input name="code" value="' + request.form.get("code", "") + '">')


class TestSendsWhenShown(Contract):
    class factor_class(MailCode):
        def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
            self.begin(request, user)
            return super().challenge(request, user, problem)


class TestRepeatsTheProblem(Contract):
    class factor_class(MailCode):
        def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
            return super().challenge(request, user) + Markup(problem or "")


class TestWholeForm(Contract):
    class factor_class(MailCode):
        def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Markup:
            return Markup('<form method="post"><input name="code"></form>')


class TestPathsOfOthers(Contract):
    class factor_class(MailCode):
        def routes(self) -> Iterable[Route]:
            return [Route("/auth/mailcodes", get=lambda request: WebResponse())]
