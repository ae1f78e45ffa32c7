"""``asok-auth keys``: a rotation logs no user out until the old key is retired."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from asok.orm import MODELS_REGISTRY
from asok.testing import TestClient
from typer.testing import CliRunner

from asok_auth_core.commands.keys import app as commands
from asok_auth_core.commands.keys import key_id
from asok_auth_core.errors import AuthError, ConfigurationError
from asok_auth_core.testing.apps import asok_app

ENTER = """
def get(request):
    from asok.orm import MODELS_REGISTRY

    request.login(MODELS_REGISTRY["User"].find(id=1))
    return request.auth.token.create(request, 1)
"""


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text('DEBUG=true\n# a comment\nSECRET_KEY="the first key; thirty-two bytes long"\nOTHER=a=b\n')
    return path


def run(env: Path, *arguments: str) -> str:
    result = CliRunner().invoke(commands, [*arguments, "--env-file", str(env)])
    if isinstance(result.exception, AuthError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def values(env: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in env.read_text().splitlines() if "=" in line)


def test_generate_rotate_and_retire_a_key(env: Path) -> None:
    first = "the first key; thirty-two bytes long"
    assert run(env, "list") == f"{key_id(first)}  signs\n"
    run(env, "generate")
    after = values(env)
    assert after["SECRET_KEY"] == first
    new = after["SECRET_KEY_FALLBACKS"]
    assert len(new) == 64
    run(env, "rotate", key_id(new))
    assert values(env)["SECRET_KEY"] == new
    assert values(env)["SECRET_KEY_FALLBACKS"] == first
    assert run(env, "list") == f"{key_id(new)}  signs\n{key_id(first)}  verifies\n"
    run(env, "retire", key_id(first), "--force")  # there is no app to ask what needs it
    assert values(env) == {"DEBUG": "true", "OTHER": "a=b", "SECRET_KEY": new}
    assert "# a comment" in env.read_text()


def test_rotate_without_a_key_generates_one(env: Path) -> None:
    run(env, "rotate")
    assert values(env)["SECRET_KEY_FALLBACKS"] == "the first key; thirty-two bytes long"
    run(env, "rotate")
    assert len(values(env)["SECRET_KEY_FALLBACKS"].split(",")[0]) == 64


def test_generate_creates_the_first_key(tmp_path: Path) -> None:
    env = tmp_path / "new.env"
    run(env, "generate")
    assert len(values(env)["SECRET_KEY"]) == 64
    assert env.stat().st_mode & 0o077 == 0


def test_the_file_keeps_its_permissions(env: Path) -> None:
    env.chmod(0o640)
    run(env, "rotate")
    assert env.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in env.parent.iterdir()] == [".env"]


@pytest.mark.parametrize(
    ("before", "after"), [(0o644, 0o600), (0o666, 0o600), (0o604, 0o600), (0o660, 0o660)]
)
def test_a_file_that_every_user_can_read_becomes_private(env: Path, before: int, after: int) -> None:
    env.chmod(before)
    shown = run(env, "rotate")
    assert env.stat().st_mode & 0o777 == after
    assert (f"was open to every user (mode {before:o})" in shown) is (before != after)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_symbolic_link_stays_one(env: Path, depth: int) -> None:
    """Deployments link .env of each release to one file."""
    shared = env.parent / "shared"
    shared.mkdir()
    target = env.rename(shared / "production.env")
    link = target
    for number in range(depth):
        link, before = env.parent / f"link{number}", link
        link.symlink_to(before)
    run(link, "rotate")
    assert link.is_symlink()
    assert len(values(target)["SECRET_KEY"]) == 64
    assert values(link) == values(target)
    assert [path.name for path in shared.iterdir()] == ["production.env"]


def test_a_link_to_nowhere_gets_its_file(env: Path) -> None:
    env.unlink()
    env.symlink_to("later.env")
    run(env, "generate")
    assert env.is_symlink()
    assert (env.parent / "later.env").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED, a file of another user: only root can make one")
def test_the_file_keeps_its_owner(env: Path) -> None:
    os.chown(env, 12345, 12346)
    run(env, "rotate")
    assert (env.stat().st_uid, env.stat().st_gid) == (12345, 12346)


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_other_lines_keep_every_character(env: Path, character: str) -> None:
    """Only a newline ends a line of the file, as when Asok reads it."""
    note = f"NOTE=one{character}SECRET_KEY=two"
    env.write_text(f"{note}\nSECRET_KEY=the first key; thirty-two bytes long\n\n# end\n", "utf-8")
    assert run(env, "list").count("\n") == 1
    run(env, "rotate")
    text = env.read_text("utf-8")
    assert text.startswith(f"{note}\n\n# end\nSECRET_KEY=")


def test_a_file_that_is_not_text_is_an_error(env: Path) -> None:
    env.write_bytes(b"SECRET_KEY=\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        run(env, "rotate")


def test_output_contains_no_key(env: Path) -> None:
    shown = run(env, "generate") + run(env, "rotate") + run(env, "list")
    for key in (values(env)["SECRET_KEY"], *values(env)["SECRET_KEY_FALLBACKS"].split(",")):
        assert key not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["retire", "00000000"], "no key"),
        (["rotate", "00000000"], "no key"),
        (["retire", key_id("the first key; thirty-two bytes long")], "signs"),
        (["rotate", key_id("the first key; thirty-two bytes long")], "already signs"),
    ],
)
def test_mistakes_change_nothing(env: Path, arguments: list[str], message: str) -> None:
    before = env.read_text()
    with pytest.raises(ConfigurationError, match=message):
        run(env, *arguments)
    assert env.read_text() == before


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for command in (["list"], ["rotate"], ["retire", "x"]):
        with pytest.raises(ConfigurationError, match="--env-file"):
            run(tmp_path / "none", *command)


def test_a_key_containing_the_separator_cannot_become_a_fallback(env: Path) -> None:
    before = 'SECRET_KEY="a, b; a key of thirty-two bytes or more"\n'
    env.write_text(before)
    with pytest.raises(ConfigurationError, match="contains a comma"):
        run(env, "rotate")
    assert env.read_text() == before


@pytest.mark.parametrize("command", ["list", "rotate"])
def test_a_file_without_a_key_is_an_error(env: Path, command: str) -> None:
    env.write_text("DEBUG=true\nSECRET_KEY=\n")
    with pytest.raises(ConfigurationError, match=r"has no SECRET_KEY\. Create one: asok-auth keys generate"):
        run(env, command)
    run(env, "generate")
    assert len(values(env)["SECRET_KEY"]) == 64


def test_a_read_only_location_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written: No such file or directory"):
        run(tmp_path / "none" / ".env", "generate")


def test_keys_that_cannot_be_saved_are_left_nowhere(env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = env.read_text()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ConfigurationError, match="cannot be written: No space left"):
        run(env, "rotate")
    assert env.read_text() == before
    assert [path.name for path in env.parent.iterdir()] == [".env"]


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run(tmp_path, "rotate")


@pytest.mark.requirement("SECURITY-29")
def test_a_rotation_keeps_sessions_until_the_old_key_is_retired(tmp_path: Path) -> None:
    """A session and an API token through all steps, with a restart after each."""
    env = tmp_path / "keys.env"
    env.write_text("SECRET_KEY=" + "o" * 40 + "\n")
    config = {"APP_URL": "https://app.example"}
    sessions = []  # of the first app: what Redis or files keep over a restart
    browser: dict[str, str] = {}
    token = ""

    def seen() -> tuple[str, str]:
        nonlocal token
        environ = {"DEBUG": "", "SECRET_KEY_FALLBACKS": "", **values(env)}
        with asok_app(tmp_path, pages={"enter.py": ENTER}, environ=environ, config=config) as app:
            sessions.append(app._session_store)
            app._session_store = sessions[0]
            client = TestClient(app)
            if not token:
                MODELS_REGISTRY["User"].create(email="ada@app.example")
                token = client.get("/enter").text
                browser.update(client.cookies)
            client.cookies.update(browser)
            by_session = client.get("/").text
            browser.update(client.cookies)
            return by_session, TestClient(app).get("/", headers={"Authorization": f"Bearer {token}"}).text

    both = ("ada@app.example", "ada@app.example")
    assert seen() == both
    run(env, "generate")
    assert seen() == both
    run(env, "rotate", key_id(values(env)["SECRET_KEY_FALLBACKS"]))
    assert seen() == both
    run(env, "retire", key_id("o" * 40), "--force")
    by_session, by_token = seen()
    assert by_token == "nobody"
    assert by_session == "ada@app.example", "its cookie was signed again with the new key"
