"""A provider login without a verified email address verifies one by mail."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from asok_auth_core.flows.linking import linked
from asok_auth_core.flows.verified_emails import is_email_verified, mark_email_verified
from asok_auth_core.plugin import (
    CredentialRejected,
    LoginAttempt,
    WebResponse,
    hookimpl,
)
from asok_auth_core.testing import FakeRequest, FakeUser, MemoryUsers, OAuthApp, error_code, location
from asok_auth_core.testing.login_method import FactorForEveryUser

EMAIL, CODE = "/auth/provider/email", "/auth/provider/code"
MakeApp = Callable[..., OAuthApp]


class Shop:
    """An app, its mails, and a browser back from a provider without an email."""

    def __init__(self, app: OAuthApp, **claims: object) -> None:
        self.app = app
        app.fake.profile.update({"email": None, "email_verified": None, **claims})  # type: ignore[arg-type]
        self.browser, answer = app.log_in(next_url="/inbox")
        assert location(answer) == EMAIL

    def get(self, path: str) -> WebResponse:
        self.browser = self.browser.follow(path)
        return self.app.send(self.browser)

    def post(self, path: str, **form: str) -> WebResponse:
        self.browser = self.browser.follow(path, method="POST", form=form)
        return self.app.send(self.browser)

    def code(self) -> str:
        """The code of the last mail."""
        self.app.auth.outbox.flush(5)
        [code] = re.findall(r"\b\w{4}-\w{4}\b", self.app.mails[-1].text)
        return str(code)

    def verify(self, email: str) -> WebResponse:
        assert location(self.post(EMAIL, email=email)) == CODE
        return self.post(CODE, code=self.code())


def nothing_is_kept(app: OAuthApp) -> bool:
    accounts = [user for user in map(app.users.by_id, map(str, range(1, 5))) if user is not None]
    return accounts == [] and not [row for n in range(5) for row in app.credentials.list(str(n))]


def test_a_newcomer_verifies_an_address_and_gets_an_account(make_app: MakeApp) -> None:
    shop = Shop(make_app())
    page = shop.get(EMAIL)
    assert "Example did not confirm an email address" in page.text
    assert location(shop.post(EMAIL, email="Eve@Example.org")) == CODE
    assert "eve@example.org" in shop.get(CODE).text.lower()
    code = shop.code()
    assert nothing_is_kept(shop.app), "before the code is entered"
    assert location(shop.post(CODE, code=code.lower())) == "/inbox"
    user = shop.browser.session.user
    assert user is not None
    assert shop.app.users.email_of(user) == "eve@example.org"
    assert is_email_verified(shop.app.auth, user, "eve@example.org")
    assert len(linked(shop.app.auth, user)) == 1
    again, answer = shop.app.log_in()
    assert location(answer) == "/"
    assert again.session.user is user, "from then on the identity is enough"


def test_without_a_mail_server_a_newcomer_is_rejected(make_app: MakeApp) -> None:
    app = make_app(config={"MAIL_TRANSPORT": "smtp"})
    app.fake.profile.update({"email": None, "email_verified": None})
    _, answer = app.log_in()
    assert error_code(answer) == "oauth_email_unverified"
    assert nothing_is_kept(app)


def test_an_unverified_address_of_the_provider_is_only_a_suggestion(make_app: MakeApp) -> None:
    shop = Shop(make_app(), email='"><b>@example.com', email_verified=False)
    assert 'value="&#34;&gt;&lt;b&gt;@example.com"' in shop.get(EMAIL).text
    assert location(shop.verify("eve@example.org")) == "/inbox"
    user = shop.browser.session.user
    assert shop.app.users.email_of(user) == "eve@example.org"  # type: ignore[arg-type]


@pytest.mark.requirement("SECURITY-15")
@pytest.mark.parametrize("is_verified", [False, True])
def test_an_account_that_exists_is_not_joined_by_its_mailbox_alone(
    make_app: MakeApp, is_verified: bool
) -> None:
    """An app without a login by mail must not get one this way."""
    ada = FakeUser("9", "ada@example.com")
    app = make_app(users=MemoryUsers(ada))
    if is_verified:
        mark_email_verified(app.auth, ada, "ada@example.com")
    shop = Shop(app, email="ada@example.com", email_verified=False)
    assert error_code(shop.verify("ada@example.com")) == "oauth_link_required"
    assert shop.browser.session.user is None
    assert not linked(app.auth, ada)
    assert "account.voided" not in app.events


@pytest.mark.requirement("SECURITY-27")
def test_the_pages_do_not_tell_accounts_apart(make_app: MakeApp) -> None:
    bodies = []
    for users in (MemoryUsers(), MemoryUsers(FakeUser("9", "ada@example.com"))):
        shop = Shop(make_app(users=users))
        sent = shop.post(EMAIL, email="ada@example.com")
        page = re.sub('value="[0-9a-f]{32}"', "", shop.get(CODE).text)
        shop.app.auth.outbox.flush(5)
        mail = re.sub(r"\w{4}-\w{4}", "", shop.app.mails[-1].text)
        bodies.append((sent.status, sent.headers, page, mail))
    assert bodies[0] == bodies[1]


@pytest.mark.requirement("SECURITY-36")
def test_a_login_that_is_rejected_leaves_nothing(make_app: MakeApp) -> None:
    class Closed:
        @hookimpl
        def asok_auth_before_login(self, attempt: LoginAttempt) -> str:
            assert attempt.identity is not None
            assert attempt.identity.email == "eve@example.org"
            return "We are closed."

    shop = Shop(make_app(plugins=(Closed(),)))
    assert error_code(shop.verify("eve@example.org")) == "login_rejected"
    assert shop.browser.session.user is None
    assert nothing_is_kept(shop.app)


def test_a_required_second_factor_is_asked_for_before_anything_is_linked(make_app: MakeApp) -> None:
    shop = Shop(make_app(config={"REQUIRE_2FA": True}, plugins=(FactorForEveryUser(),)))
    answer = shop.verify("eve@example.org")
    assert answer.status == 303
    assert location(answer).startswith("/auth/second-factor")
    assert shop.browser.session.user is None
    eve = shop.app.users.by_email("eve@example.org")
    assert eve is not None
    assert not linked(shop.app.auth, eve)
    assert not is_email_verified(shop.app.auth, eve, "eve@example.org")


@pytest.mark.requirement("SECURITY-1")
def test_a_code_counts_once_for_its_address_and_in_its_browser(make_app: MakeApp) -> None:
    shop = Shop(make_app())
    shop.post(EMAIL, email="eve@example.org")
    code = shop.code()
    wrong = shop.post(CODE, code="AAAA-AAAA")
    assert wrong.status == CredentialRejected.status
    assert 'aria-invalid="true"' in wrong.text
    other = Shop(shop.app)
    other.post(EMAIL, email="bob@example.org")
    assert other.post(CODE, code=code).status == CredentialRejected.status, "another email address"
    assert (
        shop.app.send(FakeRequest(CODE, method="POST", form={"code": code}, auth=shop.app.auth)).status >= 400
    )
    assert location(shop.post(CODE, code=code)) == "/inbox"
    before = len(shop.app.events)
    assert error_code(shop.post(CODE, code=code)) == "login_expired"
    assert "login.succeeded" not in shop.app.events[before:]


def test_a_code_of_an_earlier_address_is_void_once_another_is_named(make_app: MakeApp) -> None:
    """Otherwise a mailbox that the user gave up by mistake could finish the login."""
    shop = Shop(make_app())
    shop.post(EMAIL, email="mistake@example.org")
    first = shop.code()
    shop.post(EMAIL, email="eve@example.org")
    second = shop.code()
    assert shop.post(CODE, code=first).status == CredentialRejected.status
    assert location(shop.post(CODE, code=second)) == "/inbox"
    user = shop.browser.session.user
    assert shop.app.users.email_of(user) == "eve@example.org"  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [EMAIL, CODE])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_browser_without_such_a_login_has_no_such_pages(make_app: MakeApp, path: str, method: str) -> None:
    app = make_app()
    form = {"email": "eve@example.org", "code": "AAAA-AAAA"} if method == "POST" else None
    answer = app.send(FakeRequest(path, method=method, form=form, auth=app.auth))
    assert error_code(answer) == "login_expired"
    app.auth.outbox.flush(5)
    assert app.mails == []


def test_a_login_that_waited_too_long_has_expired(make_app: MakeApp) -> None:
    shop = Shop(make_app())
    shop.post(EMAIL, email="eve@example.org")
    code = shop.code()
    shop.app.clock.advance(1801)
    assert shop.post(CODE, code=code).status == CredentialRejected.status
    shop.app.clock.advance(1800)
    assert error_code(shop.get(EMAIL)) == "login_expired"


def test_without_a_code_sent_the_code_page_leads_back(make_app: MakeApp) -> None:
    shop = Shop(make_app())
    assert location(shop.get(CODE)) == EMAIL
    assert location(shop.post(CODE, code="AAAA-AAAA")) == EMAIL


def test_an_unreadable_address_is_shown_again(make_app: MakeApp) -> None:
    shop = Shop(make_app())
    answer = shop.post(EMAIL, email="eve@")
    assert answer.status == 400
    assert 'aria-invalid="true"' in answer.text
    assert 'value="eve@"' in answer.text


@pytest.mark.requirement("SECURITY-4")
def test_mails_and_attempts_are_limited(make_app: MakeApp) -> None:
    shop = Shop(make_app())
    answers = [shop.post(EMAIL, email="eve@example.org").status for _ in range(6)]
    assert answers == [303] * 5 + [429]
    attempts = [shop.post(CODE, code="AAAA-AAAA").status for _ in range(11)]
    assert attempts[-1] == 429
    assert 429 not in attempts[:-1]
