"""New accounts in an app whose user model requires more than an email address."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asok import Asok
from asok.orm import MODELS_REGISTRY
from asok_auth_tests.browser import FormBrowser

from asok_auth_core import AuthExtension
from asok_auth_core.errors import ConfigurationError
from asok_auth_core.testing.apps import asgi_call, asok_app
from asok_auth_core.testing.fakes import FakeRequest

from .apps import in_thread

OWN_PAGE = """\
from models.user import User


def get(request):
    return User.create(email=request.query["email"]).email
"""
PAGES = {
    "join.py": OWN_PAGE,
    "joined.py": OWN_PAGE.replace("def get(request):", "async def get(request):"),
    "refused.py": """\
from models.user import User


def get(request):
    user = User.create(email="eve@app.example")
    return str([user.check_password("password", guess) for guess in ("", "!", "None", user.password)])
""",
}


@pytest.fixture(scope="module")
def created(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The models of an app as ``asok create shop --admin`` writes it."""
    folder = tmp_path_factory.mktemp("created")
    command = [sys.executable, "-m", "asok", "create", "shop", "--admin"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    # Its third model, the Admin's log, has a column that only Asok's migrations accept.
    return {name: (folder / "shop/src/models" / name).read_text("utf-8") for name in ("user.py", "role.py")}


@pytest.fixture
def app(tmp_path: Path, created: dict[str, str]) -> Iterator[Asok]:
    with asok_app(tmp_path, models=created, pages=PAGES) as made:
        assert MODELS_REGISTRY["User"]._fields["password"].nullable is False
        yield made


class TestARequiredPassword:
    def test_is_unusable_in_an_account_that_our_page_creates(self, app: Asok) -> None:
        api = app.extensions["AuthExtension"].auth.login_methods["magic"].api
        token = api.create_token(FakeRequest(), "ann@app.example")
        browser = FormBrowser(app)
        answer = browser.send_form("/auth/magic/callback", page=f"/auth/magic/callback?token={token}")
        assert answer.status_code == 303
        assert browser.user == "ann@app.example"
        self.check_passwords(app)

    @pytest.mark.parametrize("page", ["/join", "/joined"])
    def test_is_unusable_in_one_that_a_page_of_the_app_creates(self, app: Asok, page: str) -> None:
        """The call that Asok documents for a new user: ``User.create(email=email)``."""
        assert FormBrowser(app).get(f"{page}?email=wsgi@app.example").status_code == 200
        assert asgi_call(app, "GET", f"{page}?email=asgi@app.example")[0] == 200
        self.check_passwords(app, accounts=2)

    def test_is_no_password_that_logs_in(self, app: Asok) -> None:
        assert FormBrowser(app).get("/refused").text.startswith("[False, False, False, False]")

    def test_is_unusable_in_one_that_a_job_creates(self, app: Asok) -> None:
        in_thread(lambda: MODELS_REGISTRY["User"].create(email="job@app.example"))
        self.check_passwords(app)

    def test_stays_what_the_app_gives(self, app: Asok) -> None:
        user = MODELS_REGISTRY["User"].create(email="ann@app.example", password="Correct-horse-1")
        assert user.check_password("password", "Correct-horse-1")
        user.name = "Ann"
        user.save()
        assert MODELS_REGISTRY["User"].find(id=user.id).check_password("password", "Correct-horse-1")

    def check_passwords(self, app: Asok, accounts: int = 1) -> None:
        users = app.extensions["AuthExtension"].auth.users
        stored = MODELS_REGISTRY["User"].all()
        assert len({user.password for user in stored}) == len(stored) == accounts
        assert not any(users.has_password(user) for user in stored)


def test_an_app_without_the_extension_still_requires_it(tmp_path: Path, created: dict[str, str]) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    with (
        asok_app(tmp_path / "with", models=created),
        asok_app(tmp_path / "without", models=created, pages=PAGES, extension=False) as other,
    ):
        assert FormBrowser(other).get("/join?email=ann@app.example").status_code == 500


FIELD = "email = Field.String(unique=True, nullable=False)"
EARLIER = {
    "a country": "country = Field.String(nullable=False)",
    "a choice": "plan = Field.Dropdown([('a', 'A')])",
    "a name": "nickname = Field.String(nullable=False)",
}


def with_field(created: dict[str, str], source: str) -> dict[str, str]:
    return {**created, "user.py": created["user.py"].replace(FIELD, f"{FIELD}\n    {source}")}


class TestAnotherRequiredField:
    @pytest.mark.parametrize("source", EARLIER.values(), ids=EARLIER)
    def test_stops_the_start_with_its_name(
        self, tmp_path: Path, created: dict[str, str], source: str
    ) -> None:
        models = with_field(created, source)
        with (
            asok_app(tmp_path, models=models, extension=False) as app,
            pytest.raises(ConfigurationError) as error,
        ):
            app.register_extension(AuthExtension())
        name = source.partition(" ")[0]
        assert f"User has required fields without a default ({name}), so no login" in error.value.message
        assert "Give each of them a default or nullable=True and migrate" in error.value.message

    @pytest.mark.parametrize(
        "source",
        [
            "country = Field.String(nullable=False, default='FR')",
            "country = Field.String()",
            "uuid = Field.UUID()",
            "slug = Field.Slug(populate_from='email')",
            "second = Field.Password()",
            "country = Field.String(nullable=False)\n\n"
            "    def before_create(self):\n        self.country = 'FR'\n",
        ],
    )
    def test_with_a_value_does_not(
        self, tmp_path: Path, created: dict[str, str], source: str, seen: Callable[[Asok], list[str]]
    ) -> None:
        with asok_app(tmp_path, models=with_field(created, source)) as app:
            app.extensions["AuthExtension"].auth.users.create("ann@app.example")
            assert seen(app) == []

    def test_is_named_by_the_doctor(
        self, tmp_path: Path, created: dict[str, str], seen: Callable[[Asok], list[str]]
    ) -> None:
        """In a model that a page's import has replaced since the start."""
        with asok_app(tmp_path, models=created) as app:
            field = MODELS_REGISTRY["User"]._fields["name"]
            field.nullable = False
            [message] = seen(app)
        assert "(name)" in message

    @pytest.fixture
    def seen(self) -> Callable[[Asok], list[str]]:
        """The doctor's errors about users."""

        def errors(app: Asok) -> list[str]:
            auth = app.extensions["AuthExtension"].auth
            found = auth.plugins.checks(auth)
            return [one.message for one in found if one.check == "users" and one.severity == "error"]

        return errors
