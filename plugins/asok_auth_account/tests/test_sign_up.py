"""Who may open an account, with every login method.

Invitations work once, for a time, for one address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import asok_auth_account
import asok_magic_link
import pytest
from asok.orm import MODELS_REGISTRY
from asok_auth_account.invitations import Invitations
from asok_auth_account.method import AccountMethod

from asok_auth_core.plugin import (
    AccountExists,
    Auth,
    ConfigurationError,
    EmailInvalid,
    LoginAttempt,
    LoginRejected,
    MailPermanent,
    MailTransport,
    Newcomer,
    OpenIDProvider,
    OutgoingMail,
    Proof,
    SecondFactor,
    User,
    WebRequest,
    WebResponse,
    complete_enrolment,
    complete_login,
    enrolling_user,
    hookimpl,
    is_email_verified,
)
from asok_auth_core.plugin import Route as PluginRoute
from asok_auth_core.testing import (
    Browser,
    FakeRequest,
    FakeUser,
    MemoryUsers,
    OAuthApp,
    PolicyContract,
    asok_app,
    build_auth,
    error_code,
    exactly_once,
    raises_code,
    run_command,
)
from asok_auth_core.testing.races import in_threads

NEW = "new@acme.example"
DAY = 86_400


def by_mail(site: Any, email: str = NEW, browser: Browser | None = None) -> WebResponse:
    """Log in with a mailed link."""
    browser = browser or site.browser()
    token = site.auth.login_methods["magic"].api.create_token(browser.request, email)
    return browser.post("/auth/magic/callback", {"token": token})


def by_provider(
    root: Path, account: dict[str, object], email: str = NEW, *, trusted: bool = True
) -> tuple[OAuthApp, WebResponse]:
    """Log in at a provider that verified ``email``."""
    provider = OpenIDProvider.named("example", label="Example", issuer="https://login.example")
    provider.trusted_email_domains = (email.partition("@")[2],) if trusted else ()
    app = OAuthApp(
        provider,
        root,
        profile={"email": email, "email_verified": True, "name": "Ada"},
        config={"ACCOUNT": account, "APP_NAME": "Shop"},
        plugins=(asok_auth_account,),
    )
    return app, app.log_in()[1]


def invite(site: Any, email: str = NEW, **options: Any) -> str:
    """Invite; return the path in the mail."""
    Invitations(site.auth).invite(email, **options)
    return path_in(site.mails()[-1])


def path_in(mail: OutgoingMail) -> str:
    [link] = re.findall(r"https://app\.example(\S+)", mail.text)
    return str(link)


@pytest.fixture
def make_mail_site(make_site: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *plugins, **account: make_site(asok_magic_link, *plugins, account=account)


class TestPolicy:
    def test_by_default_everybody_may(self, make_mail_site: Callable[..., Any], tmp_path: Path) -> None:
        site = make_mail_site()
        assert by_mail(site).status == 303
        assert site.users.by_email(NEW) is not None
        app, answer = by_provider(tmp_path, {})
        assert answer.status == 303
        assert app.users.by_email(NEW) is not None

    @pytest.mark.requirement("SECURITY-36")
    @pytest.mark.parametrize("sign_up", ["invite", "closed"])
    def test_nobody_may_without_an_invitation(
        self, make_mail_site: Callable[..., Any], tmp_path: Path, sign_up: str
    ) -> None:
        site = make_mail_site(SIGN_UP=sign_up)
        answer = by_mail(site)
        assert (answer.status, error_code(answer)) == (403, "login_rejected")
        assert len(site.users) == 1
        app, answer = by_provider(tmp_path, {"SIGN_UP": sign_up})
        assert error_code(answer) == "login_rejected"
        assert len(app.users) == 0  # type: ignore[arg-type]
        with pytest.raises(LoginRejected):
            complete_login(site.auth, FakeRequest(), Newcomer(NEW), Proof("third_party", NEW))

    @pytest.mark.parametrize("sign_up", ["invite", "closed"])
    def test_users_who_have_an_account_log_in(self, make_mail_site: Callable[..., Any], sign_up: str) -> None:
        site = make_mail_site(SIGN_UP=sign_up, DOMAINS=["acme.example"])
        assert by_mail(site, "ada@example.com").status == 303

    def test_a_page_of_the_app_makes_accounts_as_it_likes(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="closed")
        assert site.logged_in(site.users.create(NEW)).request.follow("/").user is not None

    @pytest.mark.parametrize(
        ("locale", "said"), [("de", "Sie brauchen eine Einladung"), ("fr", "il faut une invitation")]
    )
    def test_the_reason_is_translated(
        self,
        make_mail_site: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        locale: str,
        said: str,
    ) -> None:
        site = make_mail_site(SIGN_UP="invite")
        translate = site.auth.translate
        monkeypatch.setattr(
            FakeRequest, "translate", lambda self, text, **values: translate(self.locale, text, **values)
        )
        assert said in by_mail(site, browser=site.browser(locale=locale)).text
        attempt = LoginAttempt(Newcomer(NEW), "magic", "", 0.0)
        reason = asok_auth_account.asok_auth_before_login(attempt, site.auth)
        assert f"no account with the email address {NEW}" in reason
        assert "you need an invitation" in reason

    @pytest.mark.parametrize("wrong", ["opened", "", True])
    def test_a_misspelled_policy_stops_the_start(self, make_site: Callable[..., Any], wrong: object) -> None:
        with raises_code("setting", match="SIGN_UP"):
            make_site(account={"SIGN_UP": wrong})


class TestDomains:
    @pytest.mark.parametrize(
        "email",
        [
            "a@other.example",
            "a@sub.acme.example",
            "a@acme.example.evil.example",
            "acme.example@evil.example",
            "a@xacme.example",
            "a@acme.exampl",
        ],
    )
    def test_only_these_domains(self, make_mail_site: Callable[..., Any], email: str) -> None:
        site = make_mail_site(DOMAINS=["acme.example", "acme.test"])
        assert error_code(by_mail(site, email)) == "login_rejected"
        assert by_mail(site, "b@ACME.example").status == 303

    @pytest.mark.requirement("SECURITY-15")
    def test_a_provider_that_is_not_trusted_for_the_address_opens_none(self, tmp_path: Path) -> None:
        """Anybody can run one that says it has verified the boss's address."""
        account: dict[str, object] = {"DOMAINS": ["acme.example"]}
        app, answer = by_provider(tmp_path, account, trusted=False)
        assert error_code(answer) == "login_rejected"
        assert len(app.users) == 0  # type: ignore[arg-type]
        assert by_provider(tmp_path, account, trusted=True)[1].status == 303

    def test_email_addresses_are_changed_within_them(self, make_site: Callable[..., Any]) -> None:
        site = make_site(account={"DOMAINS": ["acme.example"]})
        browser = site.logged_in()
        assert browser.post("/auth/account/email", {"email": "ada@other.example"}).status == 400
        assert browser.post("/auth/account/email", {"email": "ada@acme.example"}).status == 303

    @pytest.mark.parametrize(
        "wrong", ["@acme.example", "Acme.example", "acme", "*.acme.example", "büro.example"]
    )
    def test_a_domain_that_would_match_nobody_stops_the_start(
        self, make_site: Callable[..., Any], wrong: str
    ) -> None:
        with raises_code("setting", match="DOMAINS"):
            make_site(account={"DOMAINS": [wrong]})


class TestInvitation:
    def test_its_link_opens_the_account_and_logs_in(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="invite")
        path = invite(site, "New@Acme.example", name="Nora", roles=["editor", "author"])
        browser = site.browser()
        assert NEW in browser.get(path).text
        assert len(site.users) == 1
        assert browser.post(path).status == 303
        user = site.users.by_email(NEW)
        assert browser.request.follow("/").user is user
        assert (user.name, user.roles) == ("Nora", ["editor", "author"])
        assert is_email_verified(site.auth, user, NEW)
        assert site.events("invitation.accepted") == [{"roles": "editor, author"}]
        assert site.mails() == []

    def test_any_other_method_accepts_it_too(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="invite")
        path = invite(site, name="Nora", roles=["editor"])
        assert by_mail(site).status == 303
        user = site.users.by_email(NEW)
        assert (user.name, user.roles) == ("Nora", ["editor"])
        assert site.browser().get(path).status == 400

    @pytest.mark.requirement("SECURITY-15")
    @pytest.mark.parametrize("trusted", [True, False])
    def test_a_provider_accepts_it_if_it_is_trusted(self, tmp_path: Path, trusted: bool) -> None:
        provider = OpenIDProvider.named("example", label="Example", issuer="https://login.example")
        provider.trusted_email_domains = ("acme.example",) if trusted else ()
        app = OAuthApp(
            provider,
            tmp_path,
            profile={"email": NEW, "email_verified": True, "name": "Own Name"},
            config={"ACCOUNT": {"SIGN_UP": "invite"}},
            plugins=(asok_auth_account,),
        )
        Invitations(app.auth).invite(NEW, name="Nora", roles=["editor"])
        _, answer = app.log_in()
        user = app.users.by_email(NEW)
        if trusted:
            assert isinstance(user, FakeUser)
            assert (user.name, user.roles) == ("Own Name", ["editor"])
        else:
            assert error_code(answer) == "login_rejected"
            assert user is None
        app.auth.outbox.close()

    @pytest.mark.requirement("SECURITY-15")
    def test_an_untrusted_provider_gets_no_roles_even_where_sign_up_is_open(self, tmp_path: Path) -> None:
        provider = OpenIDProvider.named("example", label="Example", issuer="https://login.example")
        app = OAuthApp(
            provider,
            tmp_path,
            profile={"email": NEW, "email_verified": True},
            plugins=(asok_auth_account,),
        )
        Invitations(app.auth).invite(NEW, roles=["editor"])
        app.log_in()
        user = app.users.by_email(NEW)
        assert isinstance(user, FakeUser)
        assert user.roles == []
        app.auth.outbox.close()

    def test_it_is_for_one_address(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="invite")
        invite(site)
        assert error_code(by_mail(site, "other@acme.example")) == "login_rejected"

    def test_an_invitation_opens_an_account_in_any_domain_unless_closed(
        self, make_mail_site: Callable[..., Any]
    ) -> None:
        site = make_mail_site(DOMAINS=["shop.example"])
        assert site.browser().post(invite(site)).status == 303
        closed = make_mail_site(SIGN_UP="closed")
        assert error_code(closed.browser().post(invite(closed))) == "login_rejected"

    @pytest.mark.requirement("SECURITY-1")
    def test_of_many_presses_one_opens_the_account(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="invite")
        path = invite(site)

        def press() -> list[str]:
            return ["won"] if site.browser().post(path).status == 303 else []

        exactly_once(in_threads(press, 8), ["won"])
        assert len(site.users) == 2
        assert len(site.events("login.succeeded")) == 1

    @pytest.mark.requirement("SECURITY-1")
    def test_the_same_browser_gets_the_same_login_again(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="invite")
        path = invite(site)
        browser = site.browser()
        browser.get(path)
        first = browser.request
        assert browser.post(path).status == 303
        browser.request = first
        assert browser.post(path).status == 303
        assert len(site.events("login.succeeded")) == 1

    @pytest.mark.requirement("SECURITY-26")
    def test_opening_it_changes_nothing(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="invite")
        path = invite(site)
        for method in ("GET", "HEAD", "GET"):
            assert site.browser().get(path, method=method).status == 200
        assert len(site.users) == 1
        assert site.browser().post(path).status == 303

    @pytest.mark.requirement("SECURITY-25")
    def test_it_expires(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="invite")
        path = invite(site)
        site.clock.advance(7 * DAY)
        assert site.browser().get(path).status == 400
        assert site.browser().post(path).status == 400
        assert error_code(by_mail(site)) == "login_rejected"
        assert Invitations(site.auth).open() == []
        assert site.credentials.list("-") == []

    def test_a_newer_one_voids_it(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="invite")
        first = invite(site, roles=["admin"])
        second = invite(site, roles=["editor"])
        assert site.browser().post(first).status == 400
        assert site.browser().post(second).status == 303
        assert site.users.by_email(NEW).roles == ["editor"]

    def test_it_can_be_withdrawn(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site(SIGN_UP="invite")
        path = invite(site)
        invitations = Invitations(site.auth)
        assert invitations.withdraw("NEW@acme.example")
        assert not invitations.withdraw(NEW)
        assert not invitations.withdraw("é")
        assert site.browser().post(path).status == 400

    def test_an_address_with_an_account_is_not_invited(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site()
        with pytest.raises(AccountExists):
            Invitations(site.auth).invite("Ada@Example.com")
        assert site.mails() == []

    def test_its_link_is_void_once_the_address_has_an_account(
        self, make_mail_site: Callable[..., Any]
    ) -> None:
        """It was mailed days ago; a login needs a new link."""
        site = make_mail_site()
        path = invite(site, roles=["editor"])
        user = site.users.create(NEW)
        answer = site.browser().post(path)
        assert answer.status == 400
        assert "Please log in" in answer.text
        site.logged_in(user)
        assert user.roles == []  # that page of the app verified nothing
        by_mail(site)
        assert user.roles == ["editor"]

    @pytest.mark.requirement("SECURITY-36")
    def test_another_policy_may_reject_and_the_link_still_works(
        self, make_mail_site: Callable[..., Any]
    ) -> None:
        class Closed:
            __name__ = "closed"
            now = True

            @hookimpl
            def asok_auth_before_login(self) -> str | None:
                return "Closed today." if self.now else None

        policy = Closed()
        site = make_mail_site(policy, SIGN_UP="invite")
        path = invite(site)
        assert site.browser().post(path).status == 403
        assert len(site.users) == 1
        policy.now = False
        assert site.browser().post(path).status == 303

    @pytest.mark.requirement("SECURITY-36")
    def test_roles_apply_once_the_second_factor_is_set_up(self, make_site: Callable[..., Any]) -> None:
        site = make_site(asok_magic_link, Pin(), REQUIRE_2FA=True)
        path = invite(site, roles=["editor"])
        browser = site.browser()
        answer = browser.post(path)
        assert dict(answer.headers)["Location"] == "/auth/second-factor/enrol"
        user = site.users.by_email(NEW)
        assert user.roles == []
        assert site.browser().post(path).status == 400  # the account is being opened
        assert browser.post("/pin").status == 303
        assert user.roles == ["editor"]

    def test_a_role_that_is_gone_applies_at_a_later_login(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site()
        path = invite(site, roles=["editor"])
        original, calls = site.users.set_up, []

        def set_up(user: User, **options: Any) -> None:
            calls.append(options)
            if len(calls) == 1:
                raise ConfigurationError("There is no role 'editor'.")
            original(user, **options)

        site.users.set_up = set_up
        browser = site.browser()
        assert browser.post(path).status == 303
        user = site.users.by_email(NEW)
        assert user.roles == []
        browser.get("/auth/account")
        browser.log_in(user)
        assert user.roles == ["editor"]

    @pytest.mark.parametrize("token", ["x", "zz.x", f"{NEW.encode().hex()}.x", "ff.x", "é.x"])
    def test_garbage_is_rejected(self, make_mail_site: Callable[..., Any], token: str) -> None:
        site = make_mail_site()
        invite(site)
        for method in ("GET", "POST"):
            path = f"/auth/account/invitation?token={token}"
            assert site.browser().send(method, path).status == 400

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"email": "x"}, EmailInvalid),
            ({"name": ""}, ConfigurationError),
            ({"name": "x" * 201}, ConfigurationError),
            ({"roles": ["nobody"]}, ConfigurationError),
        ],
    )
    def test_what_cannot_be_invited(
        self, make_mail_site: Callable[..., Any], options: dict[str, Any], error: type[Exception]
    ) -> None:
        site = make_mail_site()
        site.users.known_roles = lambda: ["editor"]
        with pytest.raises(error):
            Invitations(site.auth).invite(**{"email": NEW, **options})
        assert site.mails() == []
        assert site.credentials.list("-") == []

    def test_without_app_url_no_link_can_be_mailed(self, make_site: Callable[..., Any]) -> None:
        site = make_site(config={"APP_URL": ""})
        with pytest.raises(ConfigurationError, match="APP_URL"):
            Invitations(site.auth).invite(NEW)

    @pytest.mark.parametrize(
        ("language", "subject", "greeting"),
        [
            ("en", "You are invited to Shop", "Hello Nora,"),
            ("de", "Sie sind zu Shop eingeladen", "Guten Tag Nora,"),
            ("fr", "Vous êtes invité sur Shop", "Bonjour Nora,"),
        ],
    )
    def test_the_mail_has_a_language(
        self, make_mail_site: Callable[..., Any], language: str, subject: str, greeting: str
    ) -> None:
        site = make_mail_site()
        Invitations(site.auth).invite(NEW, name="Nora", language=language)
        [mail] = site.mails()
        assert (mail.to, mail.subject) == (NEW, subject)
        assert greeting in mail.text
        assert "2023-11-21 22:13 UTC" in mail.text

    def test_a_page_of_the_app_can_invite(self, make_mail_site: Callable[..., Any]) -> None:
        site = make_mail_site()
        api = site.auth.api(AccountMethod)
        request = site.browser(locale="fr").request
        invitation = api.invite(request, NEW, roles=["editor"], lifetime=DAY)
        assert invitation.until == site.clock() + DAY
        [mail] = site.mails()
        assert mail.subject == "Vous êtes invité sur Shop"

        def reject(mail: OutgoingMail) -> None:
            raise MailPermanent("no")

        site.parts.mail.send = reject
        with pytest.raises(MailPermanent):
            api.invite(request, NEW)

    @pytest.mark.requirement("SECURITY-30")
    def test_its_link_is_stored_as_a_digest(
        self, make_mail_site: Callable[..., Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        site = make_mail_site()
        with caplog.at_level("DEBUG"):
            path = invite(site, "canary@acme.example")
            site.browser().post(path)
        secret = path.rpartition(".")[2]
        for place in (
            caplog.text,
            repr(site.parts.events),
            repr(vars(site.state)),
            repr(vars(site.credentials)),
        ):
            assert secret not in place
        assert "canary@acme.example" not in caplog.text


class Pin:
    """A second factor that everybody must set up."""

    __name__ = "pin"

    class Factor(SecondFactor):
        name, label, enrol_path = "pin", "PIN", "/pin"

        def __init__(self, auth: Auth) -> None:
            self.auth, self.users = auth, set[str]()

        def is_enrolled(self, user: User) -> bool:
            return str(user.id) in self.users

        def reset(self, user: User) -> None:
            self.users.discard(str(user.id))

        def challenge(self, request: WebRequest, user: User, problem: str | None = None) -> Any: ...

        def verify(self, request: WebRequest, user: User) -> bool:
            return True

        def routes(self) -> Iterable[PluginRoute]:
            def enrol(request: WebRequest) -> WebResponse:
                user = enrolling_user(self.auth, request)
                self.users.add(str(user.id))
                return WebResponse.see_other(complete_enrolment(self.auth, request, user, "pin"))

            return [PluginRoute("/pin", post=enrol)]

    @hookimpl
    def asok_auth_second_factors(self, auth: Auth) -> Iterable[SecondFactor]:
        return [self.Factor(auth)]


class TestPolicyContract(PolicyContract):
    @pytest.fixture(autouse=True)
    def _auth(self, tmp_path: Path) -> Iterable[None]:
        self.made = build_auth(
            tmp_path,
            plugins=(asok_auth_account,),
            settings={"ACCOUNT": {"DOMAINS": ["acme.example"]}},
            users=MemoryUsers(FakeUser("1", "ada@example.com")),
        )
        yield
        self.made.outbox.close()

    def auth(self) -> Auth:
        return self.made

    def policy(self) -> object:
        return asok_auth_account

    def admitted(self) -> list[LoginAttempt]:
        return [
            LoginAttempt(Newcomer(NEW), "magic", "192.0.2.1", 0.0),
            LoginAttempt(FakeUser("1", "ada@example.com"), "magic", "192.0.2.1", 0.0),
        ]

    def rejected(self) -> list[LoginAttempt]:
        return [LoginAttempt(Newcomer("a@other.example"), "magic", "192.0.2.1", 0.0)]


class TestCommands:
    MODELS = {
        "user.py": """
from asok import Field, Model

class User(Model):
    email = Field.String(unique=True)
    name = Field.String(nullable=True)
    role = Field.String(nullable=True)
"""
    }

    def test_invite_list_and_withdraw(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, models=self.MODELS, environ={"APP_URL": "https://app.example"}) as app:
            answer = run_command(app, "invite", NEW, "--role", "editor", "--role", "author", "--name", "Nora")
            assert answer.code == 0, answer.errors
            assert re.match(rf"Invited: {NEW} with editor, author, until \d{{4}}-", answer.output)
            assert "token=" not in answer.output
            listed = run_command(app, "account", "invitations").output
            assert listed.startswith(f"{NEW}  editor, author  invited ")
            assert len(list((tmp_path / ".asok" / "mail").glob("*.eml"))) == 1
            assert run_command(app, "account", "uninvite", NEW).output == "The invitation is void.\n"
            again = run_command(app, "account", "uninvite", NEW)
            assert (again.code, "There is no invitation" in again.errors) == (1, True)
            assert run_command(app, "account", "invitations").output == "There is no open invitation.\n"

    def test_what_is_wrong_is_said(self, tmp_path: Path) -> None:
        with asok_app(tmp_path, models=self.MODELS, environ={"APP_URL": "https://app.example"}) as app:
            MODELS_REGISTRY["User"].create(email="ada@example.org")
            for arguments, said in (
                (("x",), "email address"),
                (("ada@example.org",), "exists already"),
                ((NEW, "--name", ""), "1 to 200 characters"),
            ):
                answer = run_command(app, "invite", *arguments)
                assert (answer.code, said in answer.errors) == (1, True), answer.errors

    def test_a_mail_that_is_rejected_leaves_no_invitation(self, tmp_path: Path) -> None:
        class Rejecting(MailTransport):
            def send(self, mail: OutgoingMail) -> None:
                raise MailPermanent("The server rejected the mail.")

        class Transport:
            @hookimpl
            def asok_auth_mail_transports(self) -> dict[str, Callable[[], MailTransport]]:
                return {"rejecting": Rejecting}

        with asok_app(
            tmp_path,
            models=self.MODELS,
            environ={"APP_URL": "https://app.example"},
            auth={"MAIL_TRANSPORT": "rejecting"},
            plugins=[Transport()],
        ) as app:
            answer = run_command(app, "invite", NEW)
            assert (answer.code, "rejected the mail" in answer.errors) == (1, True)
            assert run_command(app, "account", "invitations").output == "There is no open invitation.\n"
