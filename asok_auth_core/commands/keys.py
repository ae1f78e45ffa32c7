"""``asok-auth keys``: the app's secrets in its ``.env`` file, and how to change them without a log-out.

``SECRET_KEY`` signs; those in ``SECRET_KEY_FALLBACKS`` still verify. With several workers a new key
is generated (all of them learn to verify it), then rotated in (they sign with it), and the old one is
retired when what it signed is over; the app is restarted after each step.
"""

from __future__ import annotations

import hashlib
import secrets
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
    """List the keys by their ids, which tell nothing about them; the first one signs."""
    for number, key in enumerate(_load(env_file)):
        note = "" if len(key.encode()) >= 32 else "  shorter than 32 bytes: replace it"
        typer.echo(f"{key_id(key)}  {'signs' if number == 0 else 'verifies'}{note}")


@app.command("generate")
def generate(env_file: Path = ENV_FILE) -> None:
    """Add a new key that verifies but does not sign yet; make the first one if there is none."""
    keys = _load(env_file, missing_ok=True)
    new = secrets.token_hex(32)
    _save(env_file, [*keys[:1], new, *keys[1:]] if keys else [new])
    if keys:
        typer.echo(f"{key_id(new)} verifies from the next start on. When all workers run with it:")
        typer.echo(f"    asok-auth keys rotate {key_id(new)}")
    else:
        typer.echo(f"{key_id(new)} signs from the next start on.")


@app.command("rotate")
def rotate(
    key: str | None = typer.Argument(None, help="The id of a key that verifies; left out: a new one."),
    env_file: Path = ENV_FILE,
) -> None:
    """Sign with another key from the next start on; what the old one signed stays good."""
    keys = _load(env_file)
    chosen = secrets.token_hex(32) if key is None else _find(keys, key)
    if chosen == keys[0]:
        raise ConfigurationError(f"{key} signs already.")
    _save(env_file, [chosen, *(other for other in keys if other != chosen)])
    typer.echo(f"{key_id(chosen)} signs from the next start on; {key_id(keys[0])} still verifies.")
    typer.echo(f"When what it signed is over: asok-auth keys retire {key_id(keys[0])}")


@app.command("retire")
def retire(
    key: str = typer.Argument(help="The id of a key that verifies."), env_file: Path = ENV_FILE
) -> None:
    """Trust a key no longer from the next start on: what it signed or sealed is void."""
    keys = _load(env_file)
    chosen = _find(keys, key)
    if chosen == keys[0]:
        raise ConfigurationError(f"{key} signs. Rotate to another key first: asok-auth keys rotate")
    _save(env_file, [other for other in keys if other != chosen])
    typer.echo(f"{key} is not trusted from the next start on.")


def key_id(key: str) -> str:
    """What a key is called here: 8 hex digits of a hash of a hash, so that it tells nothing."""
    inner = hashlib.sha256(b"asok-auth-core/1/key id/" + key.encode()).digest()
    return hashlib.sha256(inner).hexdigest()[:8]


def _find(keys: list[str], wanted: str) -> str:
    for key in keys:
        if key_id(key) == wanted:
            return key
    known = ", ".join(key_id(key) for key in keys)
    raise ConfigurationError(f"There is no key {wanted}. Known: {known}.")


def _load(path: Path, *, missing_ok: bool = False) -> list[str]:
    """The keys in ``path``, the one that signs first."""
    values: dict[str, str] = {}
    for line in _lines(path, missing_ok=missing_ok):
        name, equals, value = line.partition("=")
        if equals and name.strip() in (CURRENT, OLDER):
            text = value.strip()
            quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
            # As Asok reads it: the first line of a name counts.
            values.setdefault(name.strip(), text[1:-1] if quoted else text)
    current = values.get(CURRENT, "")
    if not current and not missing_ok:
        raise ConfigurationError(f"{path} has no {CURRENT}. Make one: asok-auth keys generate")
    older = [part.strip() for part in values.get(OLDER, "").split(",") if part.strip()]
    return [*([current] if current else []), *older]


def _save(path: Path, keys: list[str]) -> None:
    """Put ``keys`` into the file in one step, the other lines untouched, readable by its owner only."""
    for key in keys:
        if "," in key:
            raise ConfigurationError("A key holds a comma, so it cannot be listed among older keys.")
    kept = [
        line
        for line in _lines(path, missing_ok=True)
        if line.partition("=")[0].strip() not in (CURRENT, OLDER)
    ]
    lines = [*kept, f"{CURRENT}={keys[0]}"]
    if keys[1:]:
        lines.append(f"{OLDER}={','.join(keys[1:])}")
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name) as folder:
            new = Path(folder, path.name)
            new.write_text("\n".join(lines) + "\n", "utf-8")
            new.chmod(mode)
            new.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None


def _lines(path: Path, *, missing_ok: bool = False) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        if missing_ok:
            return []
        raise ConfigurationError(f"There is no {path}. Name the file with --env-file.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
