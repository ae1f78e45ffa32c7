"""``asok-auth keys``: which of ``.env`` and the process environment is in force."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from asok import Asok

from asok_auth_core.engine.keys import key_id
from asok_auth_core.env_file import CURRENT, OLDER, OVERRIDE, key_sources
from asok_auth_core.errors import ConfigurationError

APP = """
from asok import Asok
from asok_auth_core import AuthExtension

app = Asok()
app.config.update({"APP_URL": "https://app.example", "AUTH": {"MAIL_TRANSPORT": "file", "PLUGINS": ["totp"]}})
# more
app.register_extension(AuthExtension())
"""
MODEL = """
from asok.orm import Field, Model

class User(Model):
    email = Field.String(unique=True)
"""
A, B, C = "a1" * 32, "b2" * 32, "c3" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src" / "models").mkdir(parents=True)
    (tmp_path / "src" / "pages").mkdir()
    (tmp_path / "src" / "models" / "user.py").write_text(MODEL)
    (tmp_path / "wsgi.py").write_text(APP)
    return tmp_path


def keys(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``asok-auth keys …``, which must not print a key."""
    return asok_auth(folder, "keys", *arguments, **environ)


def asok_auth(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("ASOK", "MAIL", "SECRET", "APP_", "DATA"))
    }
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "from asok_auth_core.cli import main; main()", *arguments],
        cwd=folder,
        env={**kept, "COLUMNS": "200", "NO_COLOR": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    held = (folder / ".env").read_text("utf-8") if (folder / ".env").exists() else ""
    assignments = [line.partition("=")[2] for line in held.splitlines()] + [*environ.values()]
    for key in {one for text in assignments for one in text.split(",") if len(one) >= 32} | {A, B, C}:
        assert key not in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    return run


@pytest.mark.requirement("SECURITY-29")
@pytest.mark.parametrize("exported", [B, A], ids=["another key", "the key of the file"])
@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["generate"], f"{CURRENT}=<the key {{current}}>\n    {OLDER}=<a new key: python -c"),
        (["rotate"], f"{CURRENT}=<a new key: python -c"),
        (["rotate", key_id(C)], f"{CURRENT}=<the key {key_id(C)}>\n    {OLDER}=<the key {{current}}>"),
        (["retire", key_id(C), "--force"], f"{CURRENT}=<the key {{current}}>\n    {OLDER}=\n"),
    ],
    ids=["generate", "rotate", "rotate to a key", "retire"],
)
def test_a_file_that_is_not_in_force_is_not_edited(
    folder: Path, exported: str, command: list[str], told: str
) -> None:
    """Each command said that it worked, and a leaked key stayed trusted."""
    (folder / ".env").write_text(f"{CURRENT}={A}\n{OLDER}={C}\n")
    before = (folder / ".env").read_bytes()
    run = keys(folder, *command, SECRET_KEY=exported, SECRET_KEY_FALLBACKS=C)
    assert run.returncode == 1
    assert run.stdout == ""
    assert "In force: the process environment" in run.stderr
    assert "nothing was changed" in run.stderr
    assert told.format(current=key_id(exported)) in run.stderr
    assert (folder / ".env").read_bytes() == before


def test_list_shows_the_keys_in_force(folder: Path) -> None:
    (folder / ".env").write_text(f"{CURRENT}={A}\n")
    run = keys(folder, "list")
    assert run.stdout == f"{key_id(A)}  signs\n"
    assert f"In force: {folder / '.env'}" in run.stderr
    run = keys(folder, "list", SECRET_KEY=B, SECRET_KEY_FALLBACKS=C)
    assert run.stdout == f"{key_id(B)}  signs\n{key_id(C)}  verifies\n"
    assert "In force: the process environment" in run.stderr
    assert f"Not in force are the keys of .env: {key_id(A)}" in run.stderr


def test_the_file_in_force_is_named_and_edited(folder: Path) -> None:
    (folder / ".env").write_text(f"DEBUG=true\n{CURRENT}={A}\n")
    run = keys(folder, "rotate")
    assert run.returncode == 0, run.stderr
    assert f"In force: {folder / '.env'}" in run.stderr
    assert "asok-auth keys reseal" in run.stdout
    assert f"{OLDER}={A}" in (folder / ".env").read_text()


def test_a_file_that_overrides_the_environment_is_edited(folder: Path) -> None:
    (folder / ".env").write_text(f"{CURRENT}={A}\n")
    run = keys(folder, "rotate", SECRET_KEY=B, ASOK_ENV_OVERRIDE="true", DEBUG="true")
    assert run.returncode == 0, run.stderr
    assert f"{OLDER}={A}" in (folder / ".env").read_text()


@pytest.mark.parametrize("value", [C, ""])
def test_fallbacks_that_are_exported_alone_are_not_edited_either(folder: Path, value: str) -> None:
    """Even empty ones: the old key would not verify after a rotation."""
    (folder / ".env").write_text(f"{CURRENT}={A}\n")
    run = keys(folder, "rotate", SECRET_KEY_FALLBACKS=value)
    assert run.returncode == 1
    assert "the process environment for SECRET_KEY_FALLBACKS" in run.stderr
    assert (folder / ".env").read_text() == f"{CURRENT}={A}\n"


def test_a_key_that_is_set_in_code_is_not_overlooked(folder: Path) -> None:
    (folder / "wsgi.py").write_text(APP.replace("# more", f"app.config['SECRET_KEY'] = {B!r}"))
    (folder / ".env").write_text(f"DEBUG=true\n{CURRENT}={A}\n")
    for command in (["generate"], ["rotate"], ["reseal"]):
        run = keys(folder, *command)
        assert run.returncode == 1
        assert f"The app uses the keys {key_id(B)}" in run.stderr
    assert (folder / ".env").read_text() == f"DEBUG=true\n{CURRENT}={A}\n"


def test_another_file_is_edited_only_if_nothing_else_is_in_force(folder: Path) -> None:
    other = folder / "service.env"
    other.write_text(f"{CURRENT}={B}\n")
    (folder / "wsgi.py").unlink()  # its environment is not here
    run = keys(folder, "rotate", "--env-file", "service.env")
    assert run.returncode == 0, run.stderr
    assert "In force: " in run.stderr
    assert "service.env" in run.stderr
    assert f"{OLDER}={B}" in other.read_text()
    (folder / ".env").write_text(f"{CURRENT}={A}\n")
    before = other.read_text()
    run = keys(folder, "rotate", "--env-file", "service.env")
    assert run.returncode == 1
    assert f"In force: {folder / '.env'}" in run.stderr
    assert other.read_text() == before


def test_a_file_that_the_environment_comes_from_is_edited(folder: Path) -> None:
    """As systemd's EnvironmentFile, and a shell that has read the same file."""
    other = folder / "service.env"
    other.write_text(f"{CURRENT}={B}\n{OLDER}={A}\n")
    run = keys(folder, "retire", key_id(A), "--env-file", "service.env", SECRET_KEY=B, SECRET_KEY_FALLBACKS=A)
    assert run.returncode == 0, run.stderr
    assert other.read_text() == f"{CURRENT}={B}\n"
    run = keys(folder, "rotate", "--env-file", "service.env", SECRET_KEY=B, SECRET_KEY_FALLBACKS=A)
    assert run.returncode == 1, "the environment has the retired key still"
    assert other.read_text() == f"{CURRENT}={B}\n"


def test_an_app_that_does_not_start_can_get_another_key(folder: Path) -> None:
    (folder / "wsgi.py").write_text("raise RuntimeError('broken')")
    (folder / ".env").write_text(f"{CURRENT}={A}\n{OLDER}={C}\n")
    run = keys(folder, "rotate", key_id(C))
    assert run.returncode == 0, run.stderr
    assert "does not start" in run.stderr
    run = keys(folder, "retire", key_id(A))
    assert run.returncode == 1
    assert "could not be counted" in run.stderr
    assert A in (folder / ".env").read_text()
    run = keys(folder, "retire", key_id(A), "--force")
    assert run.returncode == 0, run.stderr
    assert A not in (folder / ".env").read_text()


# -- the doctor ----------------------------------------------------------------------------------------


def differences(folder: Path, **environ: str) -> list[dict[str, str]]:
    run = asok_auth(folder, "doctor", "--json", **environ)
    found = json.loads(run.stdout)
    return [one for one in found if one["check"] == "secrets" and "in force" in one["message"]]


@pytest.mark.requirement("SECURITY-29")
def test_doctor_reports_keys_that_differ_from_the_file(folder: Path) -> None:
    (folder / ".env").write_text(f"{CURRENT}={A}\n{OLDER}={C}\n")
    assert differences(folder) == []
    assert differences(folder, SECRET_KEY=A, SECRET_KEY_FALLBACKS=C) == []
    [current, older] = differences(folder, SECRET_KEY=B, SECRET_KEY_FALLBACKS=f"{A},{C}")
    assert current["severity"] == older["severity"] == "error"
    assert f"SECRET_KEY in force is key {key_id(B)}" in current["message"]
    assert f"{folder / '.env'} says key {key_id(A)}" in current["message"]
    assert f"SECRET_KEY_FALLBACKS in force is key {key_id(A)}, {key_id(C)}" in older["message"]
    [retired] = differences(folder, SECRET_KEY=A, SECRET_KEY_FALLBACKS=f"{C},{B}")
    assert f"{key_id(C)}, {key_id(B)}" in retired["message"]


def test_doctor_finds_nothing_to_compare_without_keys_in_the_file(folder: Path) -> None:
    (folder / ".env").write_text("DEBUG=true\n")
    assert differences(folder, SECRET_KEY=A, SECRET_KEY_FALLBACKS=C) == []
    (folder / ".env").unlink()
    assert differences(folder, SECRET_KEY=A) == []


# -- as Asok loads the file -----------------------------------------------------------------------------

FILES = (
    "",
    "# SECRET_KEY=no\nSECRET_KEY=one\nSECRET_KEY=two",
    " SECRET_KEY = 'quoted' \r\nSECRET_KEY_FALLBACKS=\"x, y\"",
    "SECRET_KEY=\nSECRET_KEY_FALLBACKS=,a,,b,",
    "ASOK_ENV_OVERRIDE=1\nSECRET_KEY=one\nSECRET_KEY=two",
    "SECRET_KEY=one\nASOK_ENV_OVERRIDE=True\nSECRET_KEY_FALLBACKS=x\nSECRET_KEY=two\n",
    "ASOK_ENV_OVERRIDE=false\nSECRET_KEY=a=b\nexport SECRET_KEY=c\nSECRET_KEY_FALLBACKS=#x",
)
ENVIRONMENTS: tuple[Mapping[str, str], ...] = tuple(
    {name: value for name, value in zip((CURRENT, OLDER, OVERRIDE), values, strict=True) if value is not None}
    for values in itertools.product((None, "", "outside"), (None, "", "p,q"), (None, "false", "TRUE"))
)


@pytest.mark.parametrize("text", FILES)
def test_the_file_is_read_as_asok_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / ".env").write_text(text, newline="")
    for environ in ENVIRONMENTS:
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in (CURRENT, OLDER, OVERRIDE):
                patch.delenv(name, raising=False)
            for name, value in environ.items():
                patch.setenv(name, value)
            found = key_sources(os.environ, tmp_path / ".env")
            loader = SimpleNamespace(root_dir=str(tmp_path), _apply_env_line=Asok._apply_env_line)
            before = dict(os.environ)
            try:
                Asok._load_env_file(loader)
                loaded = {name: os.environ.get(name) for name in (CURRENT, OLDER)}
            finally:
                os.environ.clear()
                os.environ.update(before)
        case = (text, environ)
        assert found.current == (loaded[CURRENT] or ""), case
        older = [part.strip() for part in (loaded[OLDER] or "").split(",") if part.strip()]
        assert list(found.older) == older, case
        assert set(found.origins) == {name for name, value in loaded.items() if value is not None}, case
        for name, origin in found.origins.items():
            if origin is None:
                assert loaded[name] == environ[name], case


def test_a_repr_shows_no_key(tmp_path: Path) -> None:
    found = key_sources({CURRENT: A, OLDER: B}, tmp_path / ".env")
    assert A not in repr(found)
    assert B not in repr(found)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SECRET_KEY=\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        key_sources({}, tmp_path / ".env")
