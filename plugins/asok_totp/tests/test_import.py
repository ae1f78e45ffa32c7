"""Import from Asok's Admin: a database of Asok 0.8, and no new QR codes."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pyotp
import pytest
from asok import Asok
from asok.admin import Admin
from asok.admin.models import _DEFAULT_USER_MODEL_SRC
from asok.admin.utils import _encrypt_totp_secret, _hash_backup_code
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient
from asok_totp import importing
from typer.testing import CliRunner

from asok_auth_core.adapters.asok.admin_totp import AdminTotp
from asok_auth_core.cli import build
from asok_auth_core.engine.keys import key_id
from asok_auth_core.flows.recovery_codes import RecoveryCodes
from asok_auth_core.plugin import ConfigurationError
from asok_auth_core.testing import asok_app
from asok_auth_core.testing.apps import SECRET_KEY

SECRETS = [pyotp.random_base32() for _ in range(3)]
PASSWORD = "Correct-horse1!"
LOGIN_PAGE = """\
from models.user import User


def get(request):
    request.login(User.find(email=request.query.get("email")))
    return request.redirect("/")
"""


@contextmanager
def app_of(root: Path, *, extension: bool = True, environ: dict[str, str] | None = None) -> Iterator[Asok]:
    with asok_app(
        root,
        extension=extension,
        models={"user.py": _DEFAULT_USER_MODEL_SRC},
        pages={"own.py": LOGIN_PAGE},
        auth={"PLUGINS": ["totp"]},
        environ=environ,
    ) as app:
        yield app


def start_admin(app: Asok) -> None:
    Admin(app)
    for name, model in list(MODELS_REGISTRY.items()):
        if name != "AdminLog":  # has a column name that Asok's own create_table rejects; not needed here
            model.create_table()


sealed_by_asok = functools.cache(_encrypt_totp_secret)  # 0.2 s of CPU each
hashed_by_asok = functools.cache(_hash_backup_code)


def add_user(
    email: str,
    secret: str | None = None,
    key: str = SECRET_KEY,
    codes: tuple[str, ...] = (),
    password: str = PASSWORD,
):
    User = MODELS_REGISTRY["User"]
    user = User(email=email, name=email, password=password)
    user.is_admin = True
    user.save()
    if secret is not None:
        hashed = json.dumps([hashed_by_asok(code) for code in codes])
        User.get_engine().execute(
            f"UPDATE {User._table} SET totp_secret = ?, totp_enabled = ?, backup_codes = ? WHERE id = ?",
            (sealed_by_asok(secret, key), 1, hashed, user.id),
        )
    return user


def enrol_in_the_admin(app: Asok, email: str) -> tuple[pyotp.TOTP, list[str]]:
    """Log in to Asok's Admin with a password and turn on its second factor."""
    client = TestClient(app)

    def send(path: str, **data: str):
        token = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
        assert token, path
        return client.post(path, data={"csrf_token": token[1], **data})

    assert send("/admin/login", email=email, password=PASSWORD).status_code in (302, 303)
    page = client.get("/admin/2fa-setup").text
    secret = re.search(r"\b[A-Z2-7]{32}\b", page)
    assert secret, page
    totp = pyotp.TOTP(secret[0])
    assert send("/admin/2fa-setup", code=totp.now()).headers["Location"] == "/admin/2fa-backup-codes"
    codes = re.findall(r"\b[A-HJ-NP-Z2-9]{4}-[A-HJ-NP-Z2-9]{4}\b", client.get("/admin/2fa-backup-codes").text)
    assert len(set(codes)) == 10
    return totp, list(dict.fromkeys(codes))


def rows(columns: str = "id, totp_secret, totp_enabled, backup_codes") -> list[dict]:
    User = MODELS_REGISTRY["User"]
    return [
        dict(row) for row in User.get_engine().execute(f"SELECT {columns} FROM {User._table} ORDER BY id")
    ]


def run(app: Asok, *arguments: str):
    """``asok-auth …`` in the app's folder, whose wsgi.py has the app."""
    wsgi = ModuleType("wsgi")
    wsgi.app = app
    sys.modules["wsgi"] = wsgi
    try:
        return CliRunner().invoke(build(app.extensions["AuthExtension"].auth.plugins), list(arguments))
    finally:
        del sys.modules["wsgi"]


def log_in(app: Asok, email: str, code: str, factor: str = "totp") -> str:
    client = TestClient(app)
    client.get(f"/own?email={email}")
    page = client.get("/auth/second-factor")
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    if token:
        client.post("/auth/second-factor", data={"csrf_token": token[1], "factor": factor, "code": code})
    return client.get("/").text.partition("\n")[0]


def test_an_admin_database_is_imported_and_its_users_log_in(tmp_path: Path) -> None:
    with app_of(tmp_path, extension=False) as app:
        start_admin(app)
        add_user("ann@example.org")
        add_user("bob@example.org")
        app_ann, codes = enrol_in_the_admin(app, "ann@example.org")
        before = rows()
        assert before[0]["totp_secret"]
    (tmp_path / "src" / "models" / "admin_log.py").unlink()  # as above
    with app_of(tmp_path) as app:
        dry = run(app, "totp", "import")
        assert dry.exit_code == 0, dry.output
        assert "To import: 1" in dry.output
        assert rows() == before
        assert app.extensions["AuthExtension"].auth.credentials.list("1") == []

        done = run(app, "totp", "import", "--apply")
        assert done.exit_code == 0, done.output
        assert "Imported: 1" in done.output
        assert rows()[0] == {"id": 1, "totp_secret": None, "totp_enabled": 0, "backup_codes": None}
        assert log_in(app, "ann@example.org", "000000") == "nobody"
        assert log_in(app, "ann@example.org", app_ann.now()) == "ann@example.org"
        assert log_in(app, "ann@example.org", codes[4], "recovery") == "ann@example.org"
        assert log_in(app, "ann@example.org", codes[4], "recovery") == "nobody"
        assert log_in(app, "bob@example.org", "") == "bob@example.org"

        again = run(app, "totp", "import", "--apply")
        assert "Imported: 0" in again.output


@pytest.mark.requirement("SECURITY-19")
def test_the_admins_login_page_asks_for_our_factor_afterwards(tmp_path: Path) -> None:
    """Our second factor is the only one, on the Admin's own path too."""
    secret = pyotp.random_base32()
    with app_of(tmp_path) as app:
        start_admin(app)
        add_user("ann@example.org", secret)
        assert run(app, "totp", "import", "--apply").exit_code == 0
        client = TestClient(app)
        token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/admin/login").text)
        data = {"csrf_token": token[1], "email": "ann@example.org", "password": PASSWORD}
        answer = client.post("/admin/login", data=data)
        assert answer.status_code == 303
        assert answer.headers["Location"] == "/auth/second-factor"
        assert client.get("/").text.startswith("nobody")
        assert client.get("/admin").status_code in (302, 303, 401, 403)
        token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/auth/second-factor").text)
        data = {"csrf_token": token[1], "factor": "totp", "code": pyotp.TOTP(secret).now()}
        assert client.post("/auth/second-factor", data=data).status_code == 303
        assert client.get("/admin").status_code == 200


@pytest.mark.requirement("SECURITY-29")
def test_a_rotation_locks_out_no_user_of_the_admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``keys reseal`` imports what an older key encrypted; the Admin cannot."""
    old, new = "o1" * 32, "n2" * 32
    monkeypatch.chdir(tmp_path)
    with app_of(tmp_path, environ={"SECRET_KEY": old}):
        for email in ("ann@example.org", "bob@example.org"):
            add_user(email, SECRETS[0], key=old, codes=("ABCD-EFGH",))
    (tmp_path / ".env").write_text(f"SECRET_KEY={new}\nSECRET_KEY_FALLBACKS={old}\n")
    environ = {"SECRET_KEY": new, "SECRET_KEY_FALLBACKS": old, "ASOK_ENV_OVERRIDE": "1"}
    with app_of(tmp_path, environ=environ) as app:
        assert log_in(app, "ann@example.org", pyotp.TOTP(SECRETS[0]).now()) == "ann@example.org"
        refused = run(app, "keys", "retire", key_id(old))
        assert "1 authenticator apps of Asok's Admin" in str(refused.exception)
        done = run(app, "keys", "reseal")
        assert done.exit_code == 0, done.output
        assert rows()[1]["totp_secret"] is None
        assert run(app, "keys", "retire", key_id(old)).exit_code == 0
    with app_of(tmp_path, environ={"SECRET_KEY": new}) as app:
        assert log_in(app, "bob@example.org", pyotp.TOTP(SECRETS[0]).now()) == "bob@example.org"
        assert log_in(app, "bob@example.org", "ABCD-EFGH", "recovery") == "bob@example.org"


@pytest.fixture
def people(tmp_path: Path) -> Iterator[tuple[Asok, list[str]]]:
    """Five users: three enrolled, one under another key, one with half an enrolment."""
    secrets = SECRETS
    with app_of(tmp_path) as app:
        for number, secret in enumerate(secrets):
            add_user(f"u{number}@example.org", secret, codes=("ABCD-EFGH",) if number == 0 else ())
        add_user("other-key@example.org", SECRETS[0], key="another key")
        add_user("off@example.org", SECRETS[0])
        User = MODELS_REGISTRY["User"]
        User.get_engine().execute(f"UPDATE {User._table} SET totp_enabled = 0 WHERE id = 5")
        yield app, secrets


def test_unreadable_entries_are_named_and_skipped(people) -> None:
    app, secrets = people
    result = run(app, "totp", "import", "--apply")
    assert result.exit_code == 1
    assert "Imported: 3" in result.output
    assert "users 4." in result.output
    assert "TOTP_ENCRYPTION_KEY" in result.output
    kept = [row["id"] for row in rows() if row["totp_secret"]]
    assert kept == [4, 5]  # the one that cannot be read, and the one that was never turned on
    for number, secret in enumerate(secrets):
        assert log_in(app, f"u{number}@example.org", pyotp.TOTP(secret).now()) == f"u{number}@example.org"
    assert log_in(app, "off@example.org", "") == "off@example.org"


@pytest.mark.slow
def test_secrets_are_opened_with_the_admins_own_key(tmp_path: Path) -> None:
    """Asok prefers TOTP_ENCRYPTION_KEY to SECRET_KEY, which opens older secrets."""
    with app_of(tmp_path, environ={"TOTP_ENCRYPTION_KEY": "its own key"}) as app:
        add_user("new@example.org", pyotp.random_base32(), key="its own key")
        add_user("old@example.org", pyotp.random_base32())
        result = run(app, "totp", "import", "--apply")
        assert result.exit_code == 0, result.output
        assert "Imported: 2" in result.output


@pytest.mark.slow
def test_it_can_be_interrupted_and_repeated(people, monkeypatch) -> None:
    app, secrets = people
    auth = app.extensions["AuthExtension"].auth
    factor = auth.second_factors["totp"]
    for stop in (("adopt", RecoveryCodes), ("store", factor.authenticators), ("clear", AdminTotp)):
        name, where = stop
        owner = where if isinstance(where, type) else type(where)

        def stopped(*arguments, **named):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stopped)
            with pytest.raises(KeyboardInterrupt):
                importing.move(
                    auth,
                    auth.users.framework_factors(),
                    factor.authenticators,
                    apply=True,
                    keep=False,
                    advance=lambda: None,
                )
        # Half done, the user is asked by one of the two, never by neither.
        assert factor.authenticators.is_enrolled("1") or rows()[0]["totp_secret"]
    result = run(app, "totp", "import", "--apply")
    assert "Imported: 2" in result.output
    assert "here: 1" in result.output
    assert [row["id"] for row in rows() if row["totp_secret"]] == [4, 5]
    assert log_in(app, "u0@example.org", pyotp.TOTP(secrets[0]).now()) == "u0@example.org"
    assert log_in(app, "u0@example.org", "abcd efgh", "recovery") == "u0@example.org"


@pytest.mark.slow
def test_users_enrolled_with_us_keep_their_app(people) -> None:
    app, secrets = people
    auth = app.extensions["AuthExtension"].auth
    own = pyotp.random_base32()
    from asok_totp.totp import Parameters

    auth.second_factors["totp"].authenticators.store("1", own, Parameters())
    codes = auth.second_factors["recovery"].codes.issue("1")
    result = run(app, "totp", "import", "--apply")
    assert "here: 1" in result.output
    assert log_in(app, "u0@example.org", pyotp.TOTP(secrets[0]).now()) == "nobody"
    assert log_in(app, "u0@example.org", pyotp.TOTP(own).now()) == "u0@example.org"
    assert log_in(app, "u0@example.org", codes[0], "recovery") == "u0@example.org"


@pytest.mark.slow
def test_the_admins_copies_can_be_kept(people) -> None:
    app, _ = people
    before = rows()
    assert "Imported: 3" in run(app, "totp", "import", "--apply", "--keep").output
    assert rows() == before


@pytest.mark.requirement("SECURITY-30")
@pytest.mark.slow
def test_output_and_database_hold_no_secret(people) -> None:
    app, secrets = people
    output = run(app, "totp", "import", "--apply").output
    database = b"".join(path.read_bytes() for path in Path(app.root_dir).glob("db.sqlite3*"))
    for secret in (*secrets, "ABCD-EFGH", "ABCDEFGH"):
        assert secret not in output
        assert secret.encode() not in database


def test_an_app_without_the_columns_is_told_so(tmp_path: Path) -> None:
    with asok_app(tmp_path, auth={"PLUGINS": ["totp"]}) as app:
        result = run(app, "totp", "import")
    assert isinstance(result.exception, ConfigurationError)
    assert "totp_secret" in str(result.exception)


@pytest.mark.slow
def test_a_user_who_lost_everything_is_reset(people) -> None:
    app, _ = people
    run(app, "totp", "import", "--apply")
    assert "Removed: totp." in run(app, "second-factor", "reset", "1").output
    assert log_in(app, "u0@example.org", "") == "u0@example.org"
    assert "no second factor" in run(app, "second-factor", "reset", "1").output
    assert isinstance(run(app, "second-factor", "reset", "99").exception, ConfigurationError)


def test_the_installed_command_has_it(tmp_path: Path) -> None:
    import subprocess

    command = [
        sys.executable,
        "-c",
        "from asok_auth_core.cli import main; main(['totp', 'import', '--help'])",
    ]
    shown = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert shown.returncode == 0, shown.stderr
    assert "--apply" in re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout)


@pytest.mark.requirement("SECURITY-40")
def test_a_factor_of_the_admin_is_asked_for_at_every_login_and_imported_at_the_first(tmp_path: Path) -> None:
    """Nobody has to run the command first."""
    secret = pyotp.random_base32()
    totp = pyotp.TOTP(secret)
    with app_of(tmp_path) as app:
        start_admin(app)
        add_user("ann@example.org", secret, codes=("ABCD-EFGH",))
        add_user("bob@example.org")
        assert log_in(app, "bob@example.org", "") == "bob@example.org"
        client = TestClient(app)
        client.get("/own?email=ann@example.org")
        assert 'name="code"' in client.get("/auth/second-factor").text
        assert rows()[0]["totp_enabled"], "looking at the challenge imports nothing"
        assert log_in(app, "ann@example.org", "") == "nobody"
        assert log_in(app, "ann@example.org", totp.now()) == "ann@example.org"
        assert rows()[0] == {"id": 1, "totp_secret": None, "totp_enabled": 0, "backup_codes": None}
        assert log_in(app, "ann@example.org", totp.now()) == "nobody", "each code counts once"
        assert log_in(app, "ann@example.org", "ABCD-EFGH", "recovery") == "ann@example.org"
        assert log_in(app, "ann@example.org", "ABCD-EFGH", "recovery") == "nobody"


def test_a_backup_code_of_the_admin_completes_the_first_login_too(tmp_path: Path) -> None:
    with app_of(tmp_path) as app:
        start_admin(app)
        add_user("ann@example.org", pyotp.random_base32(), codes=("ABCD-EFGH",))
        assert log_in(app, "ann@example.org", "ABCD-EFGH", "recovery") == "ann@example.org"
        assert (
            app.extensions["AuthExtension"]
            .auth.second_factors["totp"]
            .is_enrolled(user_of("ann@example.org"))
        )


def test_a_factor_of_the_admin_that_cannot_be_read_keeps_the_user_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = pyotp.random_base32()
    with app_of(tmp_path) as app:
        start_admin(app)
        add_user("ann@example.org", secret, key="another key, which is not this app's")
        assert log_in(app, "ann@example.org", pyotp.TOTP(secret).now()) == "nobody"
        assert "asok-auth second-factor reset 1" in caplog.text
        assert rows()[0]["totp_enabled"]
        assert run(app, "second-factor", "reset", "1").exit_code == 0
        assert log_in(app, "ann@example.org", "") == "ann@example.org"


def test_the_admins_pages_lead_to_ours(tmp_path: Path) -> None:
    """Two authenticator apps for one account would be one too many."""
    with app_of(tmp_path) as app:
        start_admin(app)
        add_user("ann@example.org")
        client = TestClient(app)
        client.get("/own?email=ann@example.org")
        assert client.get("/admin/2fa-setup").headers["Location"] == "/auth/totp"


@pytest.mark.requirement("SECURITY-19", "SECURITY-40")
@pytest.mark.parametrize("imported", [False, True])
def test_a_session_that_never_gave_the_admins_factor_does_not_open_it_after_the_import(
    tmp_path: Path, imported: bool
) -> None:
    """A session from before asok-totp was installed, when the Admin asked."""
    with app_of(tmp_path) as app:
        start_admin(app)
        user = add_user("ann@example.org")
        client = TestClient(app)
        client.get("/own?email=ann@example.org")
        assert client.get("/admin/users").status_code == 200
        user.get_engine().execute(
            f"UPDATE {user._table} SET totp_secret = ?, totp_enabled = ? WHERE id = ?",
            (sealed_by_asok(pyotp.random_base32(), SECRET_KEY), 1, user.id),
        )
        if imported:
            assert run(app, "totp", "import", "--apply").exit_code == 0
            assert not rows()[0]["totp_enabled"]
        assert client.get("/admin/users").status_code == 403


def user_of(email: str):
    return MODELS_REGISTRY["User"].find(email=email)
