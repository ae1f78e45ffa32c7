"""Nobody gets an account without agreeing to the terms, with any login method."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import asok_auth_account
import asok_magic_link
import pytest
import requests
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok.testing import TestResponse
from asok_auth_account.invitations import Invitations
from asok_auth_account.method import AccountMethod
from asok_auth_account.terms import AGREEMENT
from asok_auth_dev.provider import DevProvider
from asok_auth_tests.browser import FormBrowser, hidden_fields, mail_text, mails

from asok_auth_core.plugin import Auth, export_user, remove_user
from asok_auth_core.testing import SignUpStepContract, asok_app, build_auth, error_code, raises_code
from asok_auth_core.testing.races import in_threads
from asok_auth_core.testing.waiting import PATIENCE

EMAIL = "ada@example.com"
PAGE = "/auth/sign-up"
TERMS = {"TERMS": "/terms", "TERMS_VERSION": "2026-11"}
APP_URL = "http://localhost"


# -- the login methods: each prepares a login of EMAIL and returns its last step ---------------------


def by_link(app: Asok, browser: FormBrowser) -> Callable[[], TestResponse]:
    browser.send_form("/auth/magic/send", page="/auth/login", email=EMAIL)
    link = urlsplit(re.search(rf"{APP_URL}\S+", mail_text(mails(app)[-1]))[0])
    fields = hidden_fields(browser.get(f"{link.path}?{link.query}").text)
    return lambda: browser.post("/auth/magic/callback", data=fields)


def by_code(app: Asok, browser: FormBrowser) -> Callable[[], TestResponse]:
    browser.send_form("/auth/magic/send", page="/auth/login", email=EMAIL)
    code = re.search(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}\b", mail_text(mails(app)[-1]))[0]
    fields = hidden_fields(browser.get("/auth/magic/code").text)
    return lambda: browser.post("/auth/magic/code", data={**fields, "email": EMAIL, "code": code})


def by_provider(app: Asok, browser: FormBrowser) -> Callable[[], TestResponse]:
    sent = browser.send_form("/auth/google/login", page="/auth/login")
    chosen = requests.post(
        sent.headers["Location"], data={"account": "1001"}, allow_redirects=False, timeout=PATIENCE
    )
    return lambda: browser.get(chosen.headers["Location"].removeprefix(APP_URL))


def by_invitation(app: Asok, browser: FormBrowser) -> Callable[[], TestResponse]:
    Invitations(auth_of(app)).invite(EMAIL, name="Ada")
    path = re.search(rf"{APP_URL}(\S+)", mail_text(mails(app)[-1]))[1]
    fields = hidden_fields(browser.get(path).text)
    return lambda: browser.post(path, data=fields)


METHODS = {"link": by_link, "code": by_code, "provider": by_provider, "invitation": by_invitation}


def auth_of(app: Asok) -> Auth:
    auth = app.extensions["AuthExtension"].auth
    assert isinstance(auth, Auth)
    return auth


def everything(app: Asok) -> str:
    """All that the app's database holds."""
    with closing(sqlite3.connect(Path(app.root_dir, "db.sqlite3"))) as database:
        return "\n".join(database.iterdump())


def agree(browser: FormBrowser, **fields: str) -> TestResponse:
    return browser.send_form(PAGE, **{"agree": "yes", **fields})


def accounts() -> list[str]:
    return [user.email for user in MODELS_REGISTRY["User"].all()]


Make = Callable[..., Asok]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A factory of real apps: ``make(SIGN_UP="invite")``; one at a time."""
    with ExitStack() as stack:

        def make(*, settings: dict[str, object] | None = None, **account: object) -> Asok:
            local = stack.enter_context(DevProvider(APP_URL, debug=True))
            auth = {"PROVIDERS": local.settings(), "ACCOUNT": {**TERMS, **account}, **(settings or {})}
            environ = {"APP_URL": APP_URL}
            return stack.enter_context(asok_app(tmp_path, auth=auth, environ=environ))

        yield make


@pytest.fixture
def app(make: Make) -> Asok:
    return make()


@pytest.fixture
def waiting(app: Asok) -> FormBrowser:
    """A browser that is asked to agree."""
    browser = FormBrowser(app)
    assert by_link(app, browser)().headers["Location"] == PAGE
    return browser


# -- with every login method -------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-36")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_asks_before_the_account_exists(app: Asok, method: str) -> None:
    browser = FormBrowser(app)
    last = METHODS[method](app, browser)
    before = everything(app)
    answer = last()
    assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
    page = browser.get(PAGE).text
    assert '<a href="/terms">' in page
    assert "2026-11" in page
    assert EMAIL in page
    assert re.search(r'<input type="checkbox" id="asok-auth-agree" name="agree" value="yes" required>', page)
    assert "<script" not in page.split("<main")[1].split("</main>")[0]
    refused = browser.send_form(PAGE)
    assert (refused.status_code, "you must agree to the terms" in refused.text) == (400, True)
    assert (accounts(), browser.user) == ([], "nobody")
    assert everything(app) == before, "nothing that lasts"
    assert agree(browser).status_code == 303
    assert (accounts(), browser.user) == ([EMAIL], EMAIL)
    auth = auth_of(app)
    agreed = auth.api(AccountMethod).agreement(None, auth.users.by_email(EMAIL))  # type: ignore[arg-type]
    assert (agreed.terms, agreed.version) == ("/terms", "2026-11")  # type: ignore[union-attr]
    assert abs(agreed.at - auth.clock()) < 600  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["link", "code", "provider"])
def test_users_who_have_an_account_are_not_asked(app: Asok, method: str) -> None:
    MODELS_REGISTRY["User"].create(email=EMAIL)
    browser = FormBrowser(app)
    last = METHODS[method](app, browser)
    assert last().headers["Location"] == "/"
    assert browser.user == EMAIL


def test_without_terms_nobody_is_asked(make: Make) -> None:
    app = make(TERMS=None)
    browser = FormBrowser(app)
    assert by_link(app, browser)().headers["Location"] == "/"
    assert accounts() == [EMAIL]
    assert auth_of(app).credentials.list("1", AGREEMENT) == []


class TestTermsStep(SignUpStepContract):
    settings: ClassVar[Mapping[str, object]] = {"ACCOUNT": TERMS}

    def plugin(self) -> object:
        return asok_auth_account

    def form(self, page: str) -> Mapping[str, str]:
        return {**hidden_fields(page), "agree": "yes"}

    def rejected(self, page: str) -> Sequence[Mapping[str, str]]:
        return [{"agree": "yes"}, {**hidden_fields(page), "agree": "no"}, hidden_fields(page)]


# -- what an attacker may try ------------------------------------------------------------------------


@pytest.mark.requirement("SECURITY-17", "SECURITY-36")
def test_a_forged_form_opens_no_account(app: Asok, waiting: FormBrowser) -> None:
    fields = {**hidden_fields(waiting.get(PAGE).text), "agree": "yes"}
    fields.pop("csrf_token")
    assert waiting.post(PAGE, data=fields).status_code == 403
    other = hidden_fields(FormBrowser(app).get("/auth/login").text)["csrf_token"]
    assert waiting.post(PAGE, data={**fields, "csrf_token": other}).status_code == 403
    assert (accounts(), waiting.user) == ([], "nobody")


@pytest.mark.requirement("SECURITY-2", "SECURITY-36")
def test_another_browser_cannot_agree(app: Asok, waiting: FormBrowser) -> None:
    fields = {**hidden_fields(waiting.get(PAGE).text), "agree": "yes"}
    other = FormBrowser(app)
    token = hidden_fields(other.get("/auth/login").text)["csrf_token"]
    answer = other.post(PAGE, data={**fields, "csrf_token": token})
    assert (answer.status_code, "login_expired" in answer.text) == (400, True)
    assert (accounts(), other.user) == ([], "nobody")


@pytest.mark.requirement("SECURITY-1", "SECURITY-36")
def test_an_agreement_counts_once(app: Asok, waiting: FormBrowser) -> None:
    fields = {**hidden_fields(waiting.get(PAGE).text), "agree": "yes"}
    cookies = dict(waiting.cookies)
    assert agree(waiting).status_code == 303
    MODELS_REGISTRY["User"].find(email=EMAIL).delete()
    thief = FormBrowser(app)
    thief.cookies.update(cookies)
    answer = thief.post(PAGE, data=fields)
    assert answer.status_code in (400, 403)
    assert (accounts(), thief.user) == ([], "nobody")


@pytest.mark.requirement("SECURITY-36")
@pytest.mark.parametrize(
    "fields",
    [
        {"agree": ""},
        {"agree": "no"},
        {"agree": "yes", "terms": ""},
        {"agree": "yes", "terms": "/terms"},
        {"agree": "yes", "step": "other"},
        {"agree": "yes", "step": ""},
    ],
)
def test_anything_else_than_agreeing_opens_no_account(waiting: FormBrowser, fields: dict[str, str]) -> None:
    assert agree(waiting, **fields).headers.get("Location", PAGE) == PAGE
    assert (accounts(), waiting.user) == ([], "nobody")
    assert agree(waiting).headers["Location"] == "/"


@pytest.mark.requirement("SECURITY-19", "SECURITY-26", "SECURITY-36")
def test_no_other_page_goes_on_with_the_login(waiting: FormBrowser) -> None:
    waiting.get(f"{PAGE}?agree=yes&step=terms")
    waiting._request("HEAD", PAGE)
    for path in ("/auth/second-factor", "/auth/second-factor/enrol", "/auth/account", "/auth/totp/enrol"):
        waiting.get(path)
        waiting.send_form(path, page=PAGE, factor="recovery", code="AAAA-AAAA")
    assert (accounts(), waiting.user) == ([], "nobody")
    assert agree(waiting).headers["Location"] == "/"


@pytest.mark.requirement("SECURITY-1", "SECURITY-36")
def test_two_browsers_that_agree_at_once_open_one_account(app: Asok) -> None:
    browsers = [FormBrowser(app) for _ in range(4)]
    for browser in browsers:
        assert by_link(app, browser)().headers["Location"] == PAGE
    forms = [{**hidden_fields(browser.get(PAGE).text), "agree": "yes"} for browser in browsers]
    numbers = iter(range(len(browsers)))

    def once() -> list[int]:
        number = next(numbers)
        return [browsers[number].post(PAGE, data=forms[number]).status_code]

    statuses = [status for part in in_threads(once, len(browsers)) for status in part]
    assert accounts() == [EMAIL]
    assert set(statuses) <= {303, 400}
    assert 303 in statuses
    rows = auth_of(app).credentials.list(str(MODELS_REGISTRY["User"].find(email=EMAIL).id), AGREEMENT)
    assert len(rows) == 1


@pytest.mark.requirement("SECURITY-36")
def test_an_invitation_that_was_withdrawn_meanwhile_opens_no_account(make: Make) -> None:
    app = make(SIGN_UP="invite")
    browser = FormBrowser(app)
    assert by_invitation(app, browser)().headers["Location"] == PAGE
    assert Invitations(auth_of(app)).withdraw(EMAIL)
    assert agree(browser).status_code == 403
    assert (accounts(), browser.user) == ([], "nobody")


def test_an_invitation_works_until_its_user_agrees(make: Make) -> None:
    app = make(SIGN_UP="invite")
    browser, later = FormBrowser(app), FormBrowser(app)
    accept = by_invitation(app, browser)
    accept()
    path = re.search(rf"{APP_URL}(\S+)", mail_text(mails(app)[-1]))[1]
    assert later.send_form(path).headers["Location"] == PAGE
    assert agree(later).status_code == 303
    assert later.user == EMAIL
    assert MODELS_REGISTRY["User"].find(email=EMAIL).name == "Ada"
    assert agree(browser).status_code == 400
    assert browser.user == "nobody"


@pytest.mark.requirement("SECURITY-36")
def test_people_who_may_not_open_an_account_are_not_asked(make: Make) -> None:
    app = make(SIGN_UP="closed")
    browser = FormBrowser(app)
    assert by_link(app, browser)().status_code == 403
    assert browser.get(PAGE).status_code == 400
    assert accounts() == []


@pytest.mark.requirement("SECURITY-36")
def test_an_account_that_was_opened_meanwhile_is_not_entered(app: Asok, waiting: FormBrowser) -> None:
    MODELS_REGISTRY["User"].create(email=EMAIL)
    answer = agree(waiting)
    assert (answer.status_code, "login_expired" in answer.text) == (400, True)
    assert waiting.user == "nobody"


@pytest.mark.requirement("SECURITY-19", "SECURITY-36")
def test_the_second_factor_is_asked_for_afterwards(make: Make) -> None:
    app = make(settings={"REQUIRE_2FA": True})
    browser = FormBrowser(app)
    assert by_link(app, browser)().headers["Location"] == PAGE
    assert agree(browser).headers["Location"] == "/auth/second-factor/enrol"
    assert (accounts(), browser.user) == ([EMAIL], "nobody")
    kinds = [row.kind for row in auth_of(app).credentials.list("1")]
    assert AGREEMENT in kinds
    assert "session" not in kinds


@pytest.mark.requirement("SECURITY-32", "SECURITY-36")
def test_an_agreement_that_cannot_be_kept_leaves_no_account(app: Asok, waiting: FormBrowser) -> None:
    with closing(sqlite3.connect(Path(app.root_dir, "db.sqlite3"))) as database:
        database.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON auth_credentials WHEN NEW.kind = '{AGREEMENT}' "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    assert agree(waiting).status_code == 503
    assert (accounts(), waiting.user) == ([], "nobody")
    with closing(sqlite3.connect(Path(app.root_dir, "db.sqlite3"))) as database:
        database.execute("DROP TRIGGER full")
    assert by_link(app, waiting)().headers["Location"] == PAGE
    assert agree(waiting).headers["Location"] == "/"
    assert (accounts(), waiting.user) == ([EMAIL], EMAIL)


# -- the record --------------------------------------------------------------------------------------


def test_the_agreement_is_exported_and_deleted(app: Asok, waiting: FormBrowser) -> None:
    agree(waiting)
    auth = auth_of(app)
    user = auth.users.by_email(EMAIL)
    assert user is not None
    own = json.loads(json.dumps(export_user(auth, user)))["account"]
    assert own["terms"] == {"terms": "/terms", "version": "2026-11", "at": own["terms"]["at"]}
    remove_user(auth, user)
    assert AGREEMENT not in everything(app)


def test_terms_that_change_while_the_page_is_open_are_shown_again(make_site: Callable[..., Any]) -> None:
    site = make_site(asok_magic_link, account=TERMS)
    browser = site.browser()
    token = site.auth.login_methods["magic"].api.create_token(browser.request, EMAIL.replace("ada", "new"))
    browser.post("/auth/magic/callback", {"token": token})
    fields = {**hidden_fields(browser.get(PAGE).text), "agree": "yes"}
    site.auth.sign_up_steps["terms"] = asok_auth_account.terms.TermsStep(site.auth, "/terms", "2026-12")
    answer = browser.post(PAGE, fields)
    assert (answer.status, "The terms have changed" in answer.text) == (400, True)
    assert len(site.users) == 1
    assert "2026-12" in answer.text
    assert browser.post(PAGE, {**hidden_fields(answer.text), "agree": "yes"}).status == 303
    [row] = site.credentials.list("2", AGREEMENT)
    assert json.loads(row.data)["version"] == "2026-12"
    assert site.events("account.terms_agreed") == [{"version": "2026-12"}]


def test_without_a_version_only_the_terms_are_kept(make_site: Callable[..., Any]) -> None:
    site = make_site(asok_magic_link, account={"TERMS": "https://acme.example/terms?a=1&b=2"})
    browser = site.browser()
    token = site.auth.login_methods["magic"].api.create_token(browser.request, "new@example.com")
    browser.post("/auth/magic/callback", {"token": token})
    page = browser.get(PAGE).text
    assert '<a href="https://acme.example/terms?a=1&amp;b=2">' in page
    assert "version:" not in page
    site.clock.advance(3600)
    assert error_code(browser.post(PAGE, {**hidden_fields(page), "agree": "yes"})) == "login_expired"
    assert len(site.users) == 1


@pytest.mark.parametrize(
    ("language", "agrees", "refused"),
    [
        ("de", "Ich stimme den Nutzungsbedingungen von", "müssen Sie den Nutzungsbedingungen"),
        ("fr", "J’accepte les conditions d’utilisation de", "vous devez accepter les conditions"),
        ("it", "I agree to the terms of", "you must agree to the terms"),
    ],
)
def test_the_page_has_a_language(
    app: Asok, waiting: FormBrowser, language: str, agrees: str, refused: str
) -> None:
    headers = {"Accept-Language": language}
    page = waiting.get(PAGE, headers=headers).text
    assert agrees in page
    assert refused in waiting.post(PAGE, data=hidden_fields(page), headers=headers).text
    assert accounts() == []


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "terms",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "https://",
        "/a b",
        "/a\nb",
        " /terms",
        True,
    ],
)
def test_terms_that_are_no_url_stop_the_start(tmp_path: Path, wrong: object) -> None:
    with raises_code("setting", match="TERMS"):
        build_auth(tmp_path, plugins=(asok_auth_account,), settings={"ACCOUNT": {"TERMS": wrong}})
