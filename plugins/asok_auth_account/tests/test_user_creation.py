"""``asok-auth doctor`` names the app's own code that creates users."""

from __future__ import annotations

from pathlib import Path

import pytest
from asok_auth_account.user_creation import files_creating_users

from asok_auth_core.testing import asok_app, run_command

IMPORT = "from models.user import User\n"


@pytest.mark.parametrize(
    "code",
    [
        "User.create(email='a@b.example')",
        "def post(request):\n    user = User.create(email=request.form['email'])",
        "async def post(request):\n    await User.create_async(email='a@b.example')",
        "User.first_or_create(email='a@b.example')",
        "User.query().first_or_create(email='a@b.example')",
        "User.where('id', 1).update_or_create(email='a@b.example')",
        "User(email='a@b.example').save()",
        "user = User(email='a@b.example')\nuser.name = 'Ada'\nuser.save()",
        "user: object = User()\nuser.save()",
        "if user := User():\n    user.save()",
        "async def post(request):\n    user = User()\n    await user.save_async()",
        "import models.user\nmodels.user.User.create(email='a@b.example')",
        "from models.user import User as Member\nMember.create(email='a@b.example')",
        "from asok.orm import MODELS_REGISTRY\nMODELS_REGISTRY['User'].create(email='a@b.example')",
        "class Page:\n    def post(self):\n        return [User.create(email=e) for e in self.emails]",
    ],
)
def test_what_creates_a_user_is_found(tmp_path: Path, code: str) -> None:
    (tmp_path / "page.py").write_text(IMPORT + code)
    assert files_creating_users(tmp_path, "User") == [tmp_path / "page.py"]


@pytest.mark.parametrize(
    "code",
    [
        "User.find(email='a@b.example')",
        "user = User.find(id=1)\nuser.save()",
        "def post(request):\n    request.user.save()",
        "Post.create(title='User')",
        "User.find(id=1).posts.create(title='x')",
        "create('User')",
        "user = User()\nother.save()",
        "# User.create(email='a@b.example')",
        "text = \"User.create(email='a@b.example')\"",
        "UserProfile.create(name='x')",
        "User.create",
    ],
)
def test_nothing_else_is_found(tmp_path: Path, code: str) -> None:
    (tmp_path / "page.py").write_text(IMPORT + code)
    assert files_creating_users(tmp_path, "User") == []


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    for name, content in {
        "syntax.py": b"User.create(",
        "null.py": b"User.create()\0",
        "deep.py": b"(" * 1000 + b")" * 1000,
        "escape.py": b"x = '\\d'\nUser.create()",
        "template.html": b"User.create()",
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    assert files_creating_users(tmp_path, "User") == [tmp_path / "escape.py"]
    assert files_creating_users(tmp_path / "nowhere", "User") == []


REGISTER = """\
from models.user import User


def post(request):
    User.create(email=request.form.get("email"))
"""
MEMBER = """\
from asok import Field, Model


class Member(Model):
    email = Field.String(unique=True)
"""


class TestDoctor:
    PAGES = {"register/page.py": REGISTER, "hello/page.py": "def get(request):\n    return 'hello'\n"}

    @pytest.mark.parametrize(
        ("account", "named"),
        [
            ({"SIGN_UP": "invite"}, "SIGN_UP"),
            ({"SIGN_UP": "closed", "DOMAINS": ["acme.example"]}, "SIGN_UP, DOMAINS"),
            ({"TERMS": "/terms"}, "TERMS"),
        ],
    )
    def test_it_names_files_that_the_rules_do_not_cover(
        self, tmp_path: Path, account: dict[str, object], named: str
    ) -> None:
        (tmp_path / "src" / "jobs").mkdir(parents=True)
        (tmp_path / "src" / "jobs" / "import.py").write_text("User(email='a@b.example').save()\n")
        with asok_app(tmp_path, pages=self.PAGES, auth={"ACCOUNT": account}) as app:
            answer = run_command(app, "doctor", "--strict")
        found = [line for line in answer.output.splitlines() if "creates users" in line]
        assert found == [
            f"info     account: The app's own code creates users without asking {named}: src/jobs/import.py, "
            "src/pages/register/page.py."
        ]
        assert "check in these files who may open an account" in answer.output

    @pytest.mark.parametrize("pages", [PAGES, {"hello/page.py": PAGES["hello/page.py"]}])
    def test_it_says_nothing_without_rules_or_without_such_files(
        self, tmp_path: Path, pages: dict[str, str]
    ) -> None:
        account = {} if "register/page.py" in pages else {"SIGN_UP": "closed", "TERMS": "/terms"}
        with asok_app(tmp_path, pages=pages, auth={"ACCOUNT": account}) as app:
            assert "creates users" not in run_command(app, "doctor").output

    def test_it_knows_the_name_of_the_apps_model(self, tmp_path: Path) -> None:
        with asok_app(
            tmp_path,
            pages={
                "join/page.py": "from models.member import Member\n\nMember.create(email='a@b.example')\n",
                **self.PAGES,
            },
            models={"member.py": MEMBER},
            config={"AUTH_MODEL": "Member"},
            auth={"ACCOUNT": {"TERMS": "/terms"}},
        ) as app:
            output = run_command(app, "doctor").output
        assert "TERMS: src/pages/join/page.py." in output
        assert "src/pages/register/page.py" not in output

    def test_of_many_files_some_are_named(self, tmp_path: Path) -> None:
        pages = {f"{number}/page.py": REGISTER for number in range(1, 8)}
        with asok_app(tmp_path, pages=pages, auth={"ACCOUNT": {"TERMS": "/terms"}}) as app:
            output = run_command(app, "doctor").output
        assert "src/pages/5/page.py and 2 more." in output
        assert "src/pages/6/page.py" not in output
