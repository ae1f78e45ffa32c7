"""``asok-auth keys``: rotate the keys in ``.env`` without logging users out.

``SECRET_KEY`` signs; keys in ``SECRET_KEY_FALLBACKS`` still verify. With several workers, generate a
new key (they all learn to verify it), rotate to it (they sign with it), and retire the old one when
everything it signed has expired. Restart the app after each step.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

import typer

from ..errors import ConfigurationError

CURRENT = "SECRET_KEY"
OLDER = "SECRET_KEY_FALLBACKS"

app = typer.Typer(help="Generate, list, rotate and retire the app's secret keys.", no_args_is_help=True)

ENV_FILE = typer.Option(Path(".env"), "--env-file", help="The file that holds SECRET_KEY.")


@app.command("list")
def list_keys(env_file: Path = ENV_FILE) -> None:
    """List the keys by id; ids reveal nothing about the keys. The first one signs."""
    for number, key in enumerate(_load(env_file)):
        note = "" if len(key.encode()) >= 32 else "  shorter than 32 bytes: replace it"
        typer.echo(f"{key_id(key)}  {'signs' if number == 0 else 'verifies'}{note}")


@app.command("generate")
def generate(env_file: Path = ENV_FILE) -> None:
    """Add a key that verifies but does not sign yet.

    The first key of a file signs at once.
    """
    keys = _load(env_file, missing_ok=True)
    new = secrets.token_hex(32)
    _save(env_file, [*keys[:1], new, *keys[1:]] if keys else [new])
    if keys:
        typer.echo(f"{key_id(new)} verifies after the next restart. Then, when all workers have it, run:")
        typer.echo(f"    asok-auth keys rotate {key_id(new)}")
    else:
        typer.echo(f"{key_id(new)} signs after the next restart.")


@app.command("rotate")
def rotate(
    key: str | None = typer.Argument(None, help="The id of a key that verifies (default: a new key)."),
    env_file: Path = ENV_FILE,
) -> None:
    """Sign with another key after the next restart.

    What the old key signed stays valid.
    """
    keys = _load(env_file)
    chosen = secrets.token_hex(32) if key is None else _find(keys, key)
    if chosen == keys[0]:
        raise ConfigurationError(f"Key {key} already signs. Nothing was changed.")
    _save(env_file, [chosen, *(other for other in keys if other != chosen)])
    typer.echo(f"{key_id(chosen)} signs after the next restart; {key_id(keys[0])} still verifies.")
    typer.echo("When everything the old key signed has expired, run:")
    typer.echo(f"    asok-auth keys retire {key_id(keys[0])}")


@app.command("retire")
def retire(
    key: str = typer.Argument(help="The id of a key that verifies."), env_file: Path = ENV_FILE
) -> None:
    """Remove an old key.

    After the next restart, everything it signed or sealed is void.
    """
    keys = _load(env_file)
    chosen = _find(keys, key)
    if chosen == keys[0]:
        raise ConfigurationError(f"Key {key} signs. Rotate to another key first: asok-auth keys rotate")
    _save(env_file, [other for other in keys if other != chosen])
    typer.echo(f"{key} is no longer trusted after the next restart.")


def key_id(key: str) -> str:
    """The id of a key: 8 hex digits of a double hash, which reveal nothing."""
    inner = hashlib.sha256(b"asok-auth-core/1/key id/" + key.encode()).digest()
    return hashlib.sha256(inner).hexdigest()[:8]


def _find(keys: list[str], wanted: str) -> str:
    for key in keys:
        if key_id(key) == wanted:
            return key
    known = ", ".join(key_id(key) for key in keys)
    raise ConfigurationError(f"There is no key {wanted}. Known: {known}.")


def _load(path: Path, *, missing_ok: bool = False) -> list[str]:
    """The keys in ``path``, the signing key first."""
    values: dict[str, str] = {}
    for line in _lines(path, missing_ok=missing_ok):
        name, equals, value = line.partition("=")
        if equals and name.strip() in (CURRENT, OLDER):
            text = value.strip()
            quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
            # Like Asok, use the first line of each name.
            values.setdefault(name.strip(), text[1:-1] if quoted else text)
    current = values.get(CURRENT, "")
    if not current and not missing_ok:
        raise ConfigurationError(f"{path} has no {CURRENT}. Create one: asok-auth keys generate")
    older = [part.strip() for part in values.get(OLDER, "").split(",") if part.strip()]
    return [*([current] if current else []), *older]


def _save(path: Path, keys: list[str]) -> None:
    """Replace the keys in the file atomically; keep other lines, owner and mode.

    The file behind a symbolic link is replaced, not the link. A file that every user can read becomes
    private: anyone who reads it can log in as any user.
    """
    for key in keys:
        if "," in key:
            raise ConfigurationError(f"A key contains a comma, which separates the keys in {OLDER}.")
    kept = [
        line
        for line in _lines(path, missing_ok=True)
        if line.partition("=")[0].strip() not in (CURRENT, OLDER)
    ]
    lines = [*kept, f"{CURRENT}={keys[0]}"]
    if keys[1:]:
        lines.append(f"{OLDER}={','.join(keys[1:])}")
    try:
        path = path.resolve()
        old = path.stat() if path.exists() else None
        mode = stat.S_IMODE(old.st_mode) if old else 0o600
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name) as folder:
            new = Path(folder, path.name)
            new.touch(0o600)
            new.write_text("\n".join(lines) + "\n", "utf-8")
            if old is not None and (old.st_uid, old.st_gid) != (new.stat().st_uid, new.stat().st_gid):
                os.chown(new, old.st_uid, old.st_gid)
            new.chmod(0o600 if mode & 0o007 else mode)
            new.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None
    if mode & 0o007:
        typer.echo(f"{path} was open to every user (mode {mode:o}); now only its owner can read it (600).")


def _lines(path: Path, *, missing_ok: bool = False) -> list[str]:
    try:
        # Not splitlines(), which also ends a line at U+2028 and others: they may be part of a value.
        text = path.read_text("utf-8")
        return text.removesuffix("\n").split("\n") if text else []
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} cannot be read: it is not UTF-8 text.") from None
    except FileNotFoundError:
        if missing_ok:
            return []
        raise ConfigurationError(f"There is no {path}. Name the file with --env-file.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
