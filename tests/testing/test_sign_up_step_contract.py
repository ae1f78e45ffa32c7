"""The contract of sign-up steps: a sound one passes, each seeded fault fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest
from markupsafe import Markup

from asok_auth_core.auth import Auth
from asok_auth_core.plugin import CredentialRejected, LoginAttempt, SignUpStep, change_row, hookimpl
from asok_auth_core.testing import MemoryUsers, SignUpStepContract
from asok_auth_core.types import JSON, Newcomer, User
from asok_auth_core.web import WebRequest


class Age(SignUpStep):
    """Newcomers say that they are old enough."""

    name = "age"

    def __init__(self, auth: Auth) -> None:
        self.auth = auth

    def heading(self, request: WebRequest) -> str:
        return "Your age"

    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        return Markup('<p>{} {}</p><input name="age">').format(newcomer.name or "", problem or "")

    def check(self, request: WebRequest, newcomer: Newcomer) -> JSON:
        if request.form.get("age") != "16":
            raise CredentialRejected("You must be 16 to open an account.")
        return {"age": 16}

    def keep(self, user: User, answer: JSON) -> None:
        assert isinstance(answer, dict)
        change_row(self.auth.credentials, "age", str(user.id), lambda row: answer, owner=str(user.id))


class NeverAsked(Age):
    def is_needed(self, attempt: LoginAttempt) -> bool:
        return False


class AcceptsAll(Age):
    def check(self, request: WebRequest, newcomer: Newcomer) -> JSON:
        return {}


class AcceptsMore(Age):
    def check(self, request: WebRequest, newcomer: Newcomer) -> JSON:
        if "age" not in request.form:
            raise CredentialRejected("You must be 16 to open an account.")
        return {}


class OpensByItself(Age):
    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        if self.auth.users.by_email(newcomer.email) is None:
            self.auth.users.create(newcomer.email)
        return super().fields(request, newcomer, problem)


class SaysNothing(Age):
    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        return super().fields(request, newcomer)


class Unescaped(Age):
    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        return Markup(f"<p>{newcomer.name}</p>") + super().fields(request, newcomer, problem)


class UnescapedProblem(Age):
    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        return Markup(f'<p>{problem}</p><input name="age">')


class AnotherForm(Age):
    def fields(self, request: WebRequest, newcomer: Newcomer, problem: str | None = None) -> Markup:
        return Markup("<form>{}</form>").format(super().fields(request, newcomer, problem))


class NoHeading(Age):
    def heading(self, request: WebRequest) -> str:
        return ""


class KeepsASet(Age):
    def check(self, request: WebRequest, newcomer: Newcomer) -> JSON:
        super().check(request, newcomer)
        return {1, 2}  # type: ignore[return-value]

    def keep(self, user: User, answer: JSON) -> None:
        assert isinstance(answer, set)


class Suite(SignUpStepContract):
    __test__ = False
    kind: type[Age] = Age

    def plugin(self) -> object:
        kind = self.kind

        class Plugin:
            @hookimpl
            def asok_auth_sign_up_steps(self, auth: Auth) -> Iterable[SignUpStep]:
                return [kind(auth)]

        return Plugin()

    def form(self, page: str) -> Mapping[str, str]:
        assert '<input name="age">' in page
        return {"age": "16"}

    def rejected(self, page: str) -> Sequence[Mapping[str, str]]:
        return [{"age": "15"}]


class TestAge(Suite):
    __test__ = True


TAKEN, REJECTED = "test_no_account_exists_before_it_is_taken", "test_other_forms_open_no_account"
SHOWN, WAITS = "test_its_page_says_what_is_wrong_and_escapes_it", "test_its_answer_can_wait_for_another_step"


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        (NeverAsked, TAKEN),
        (OpensByItself, TAKEN),
        (AcceptsAll, REJECTED),
        (AcceptsMore, REJECTED),
        (SaysNothing, SHOWN),
        (Unescaped, SHOWN),
        (UnescapedProblem, SHOWN),
        (AnotherForm, SHOWN),
        (NoHeading, SHOWN),
        (KeepsASet, WAITS),
    ],
)
def test_each_fault_fails_the_suite(
    mutant: type[Age], test: str, make_auth: Callable[..., Auth], fake_users: MemoryUsers
) -> None:
    suite = Suite()
    suite.kind = mutant

    def build(*others: object) -> Auth:
        return make_auth(plugins=(suite.plugin(), *others))

    arguments = (build,) if test == SHOWN else (build, fake_users)
    with pytest.raises((AssertionError, TypeError, pytest.fail.Exception)):
        getattr(suite, test)(*arguments)
