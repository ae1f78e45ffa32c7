"""``asok-auth keys``: rotate the keys without logging users out.

``SECRET_KEY`` signs; keys in ``SECRET_KEY_FALLBACKS`` still verify. With several workers, generate a
new key (they all learn to verify it), rotate to it (they sign with it), reseal what the old one sealed, and
retire it when everything it signed has expired. Restart the app after each change.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..auth import Auth
from ..engine.keys import key_id as key_id
from ..env_file import CURRENT, OLDER, KeySources, key_sources, keys_in, read_lines
from ..errors import AuthError, ConfigurationError
from ..flows.sealed_values import Resealed, needing, reseal, tokens_needing, waiting
from . import command_line, current_auth

NEW_KEY = 'python -c "import secrets; print(secrets.token_hex(32))"'
SHOWN = 20

app = typer.Typer(help="Generate, list, rotate and retire the app's secret keys.", no_args_is_help=True)

APP_FILE = Path(".env")
"""What Asok loads; ``asok-auth`` is run in the app's folder."""
ENV_FILE = typer.Option(APP_FILE, "--env-file", help="The file that holds SECRET_KEY.")


@app.command("list")
def list_keys(env_file: Path = ENV_FILE) -> None:
    """List the keys in force by id; ids reveal nothing. The first one signs."""
    found = _in_force(env_file)
    for number, key in enumerate(found.keys):
        note = "" if len(key.encode()) >= 32 else "  shorter than 32 bytes: replace it"
        typer.echo(f"{key_id(key)}  {'signs' if number == 0 else 'verifies'}{note}")
    if found.keys != (ignored := keys_in(env_file)).keys and ignored.keys:
        typer.echo(f"Not in force are the keys of {env_file}: {_ids(ignored.keys)}", err=True)


@app.command("generate")
def generate(context: typer.Context, env_file: Path = ENV_FILE) -> None:
    """Add a key that verifies but does not sign yet.

    The first key of a file signs at once.
    """
    found = _in_force(env_file, missing_ok=True)
    keys = found.keys
    _check_editable(context, found, env_file, [*map(_named, keys[:1]), "", *map(_named, keys[1:])])
    new = secrets.token_hex(32)
    _save(env_file, [*keys[:1], new, *keys[1:]] if keys else [new])
    if keys:
        typer.echo(f"{key_id(new)} verifies after the next restart. Then, when all workers have it, run:")
        typer.echo(f"    asok-auth keys rotate {key_id(new)}")
    else:
        typer.echo(f"{key_id(new)} signs after the next restart.")


@app.command("rotate")
def rotate(
    context: typer.Context,
    key: str | None = typer.Argument(None, help="The id of a key that verifies (default: a new key)."),
    env_file: Path = ENV_FILE,
) -> None:
    """Sign with another key after the next restart.

    What the old key signed or sealed stays valid.
    """
    found = _in_force(env_file)
    keys = found.keys
    chosen = None if key is None else _find(keys, key)
    if chosen == keys[0]:
        raise ConfigurationError(f"Key {key} already signs. Nothing was changed.")
    others = [other for other in keys if other != chosen]
    _check_editable(
        context, found, env_file, ["" if chosen is None else _named(chosen), *map(_named, others)]
    )
    chosen = secrets.token_hex(32) if chosen is None else chosen
    _save(env_file, [chosen, *others])
    typer.echo(f"{key_id(chosen)} signs after the next restart; {key_id(keys[0])} still verifies.")
    typer.echo("Restart all workers. Then seal again what the old key sealed, such as authenticator apps:")
    typer.echo("    asok-auth keys reseal")
    typer.echo("When everything the old key signed has expired, run:")
    typer.echo(f"    asok-auth keys retire {key_id(keys[0])}")


@app.command("reseal")
def reseal_values(context: typer.Context, env_file: Path = ENV_FILE) -> None:
    """Seal with the key that signs what older keys sealed.

    Run it after rotate, when all workers have been restarted. Can be interrupted and run again at any time,
    beside running workers.
    """
    found = _in_force(env_file)
    auth = current_auth(context)
    _check_app(auth, found)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Values", total=waiting(auth))
        report = reseal(auth, lambda: progress.advance(task))
    typer.echo(f"Sealed again with key {auth.keys.ids[0]}: {report.done}")
    if report.unreadable:
        typer.echo(_unreadable(report), err=True)
        raise typer.Exit(1)


@app.command("retire")
def retire(
    context: typer.Context,
    key: str = typer.Argument(help="The id of a key that verifies."),
    env_file: Path = ENV_FILE,
    force: bool = typer.Option(False, "--force", help="Retire it even if something still needs it."),
) -> None:
    """Remove an old key, unless something still needs it.

    After the next restart, everything it signed or sealed is void.
    """
    found = _in_force(env_file)
    chosen = _find(found.keys, key)
    if chosen == found.current:
        raise ConfigurationError(f"Key {key} signs. Rotate to another key first: asok-auth keys rotate")
    needed = _still_needed(context, found, key)
    if needed and not force:
        raise ConfigurationError(f"{needed} Nothing was changed. To retire it anyway: --force")
    if needed:
        typer.echo(needed, err=True)
    left = [other for other in found.keys if other != chosen]
    _check_editable(context, found, env_file, [_named(other) for other in left])
    _save(env_file, left)
    typer.echo(f"{key} is no longer trusted after the next restart.")


def _still_needed(context: typer.Context, found: KeySources, key: str) -> str:
    """What needs the key ``key``, as sentences; empty if nothing does."""
    try:
        auth = current_auth(context)
        _check_app(auth, found)
        sealed, tokens = needing(auth, key), tokens_needing(auth, key)
    except AuthError as error:
        return f"What still needs key {key} could not be counted: {error.message}"
    except Exception as error:  # noqa: BLE001 - whatever stops the app; a leaked key must be retired anyway
        return (
            f"What still needs key {key} could not be counted, because the app does not start "
            f"({type(error).__name__}). Run asok-auth doctor."
        )
    parts = []
    if sealed:
        counted = ", ".join(f"{number} {label}" for label, number in sorted(sealed.items()))
        parts.append(
            f"Key {key} is still needed by {counted}, which their users could not use without it. Run: "
            "asok-auth keys reseal"
        )
    if tokens:
        parts.append(
            f"API tokens that key {key} signed, or may have signed, and that have not expired: {tokens}. "
            "Without it they are rejected; replace them first."
        )
    for info in auth.plugins.infos:
        if info.state == "quarantined" and (not info.hooks or "asok_auth_sealed_values" in info.hooks):
            parts.append(f"What plugin {info.name!r} keeps was not counted, because it is not loaded.")
    return " ".join(parts)


def _unreadable(report: Resealed) -> str:
    lines = ["Not sealed again, because the key is not in force or the data is damaged:"]
    for label, users in report.unreadable.items():
        more = f" and {len(users) - SHOWN} more" if len(users) > SHOWN else ""
        lines.append(f"    {label} of users {', '.join(users[:SHOWN])}{more}")
    lines.append(
        f"If you still have the key that they were sealed with, add it to {OLDER}, restart, and run this "
        "again. Otherwise reset them: asok-auth second-factor reset USER"
    )
    return "\n".join(lines)


# -- which keys are in force ---------------------------------------------------------------------------


def _in_force(env_file: Path, *, missing_ok: bool = False) -> KeySources:
    """The keys in force, after saying where they come from.

    A file other than the app's ``.env`` is believed to be where the workers' environment comes from, if that
    of this process has the same keys or none. Raises ConfigurationError if there is no key, unless
    ``missing_ok``.
    """
    found = key_sources(os.environ, APP_FILE)
    if env_file.resolve() != APP_FILE.resolve() and not any(found.origins.values()):
        named = keys_in(env_file)
        if not found.origins or found.keys == named.keys:
            found = named
    if not found.current and not missing_ok:
        if not found.origins and not env_file.exists():
            raise ConfigurationError(f"There is no {env_file}. Name the file with --env-file.")
        where = found.described if found.origins.get(CURRENT, env_file) is None else env_file
        raise ConfigurationError(f"{where} has no {CURRENT}. Create one: asok-auth keys generate")
    if found.origins:
        typer.echo(f"In force: {found.described}", err=True)
    return found


def _check_editable(context: typer.Context, found: KeySources, env_file: Path, wanted: Sequence[str]) -> None:
    """Raise ConfigurationError if the keys in force are not those of ``env_file``.

    The message shows ``wanted``, the keys as they should be: an id each, and "" for a new one.
    """
    elsewhere = [
        name for name, path in found.origins.items() if path is None or path.resolve() != env_file.resolve()
    ]
    if elsewhere:
        values = [f"<{one}>" if one else f"<a new key: {NEW_KEY}>" for one in wanted]
        lines = [f"{CURRENT}={values[0]}", f"{OLDER}={','.join(values[1:])}"]
        raise ConfigurationError(
            f"In force here: {found.described}. A change of {env_file} would have no effect on "
            f"{' and '.join(elsewhere)}, so nothing was changed. Set these yourself where they are set now "
            "(the shell, the systemd unit, the container), for all workers, and restart them:\n"
            + "\n".join(f"    {line}" for line in lines)
            + f"\nOr unset {CURRENT} and {OLDER} there, keep both in {env_file}, and run this again."
        )
    line = command_line(context)
    if found.keys and (line.is_chosen or Path("wsgi.py").exists()):
        try:
            auth = line.auth()
        except Exception as error:  # noqa: BLE001 - a key can be changed although the app does not start
            typer.echo(
                f"The app does not start ({type(error).__name__}), so it cannot be asked which keys it uses.",
                err=True,
            )
        else:
            _check_app(auth, found)


def _check_app(auth: Auth, found: KeySources) -> None:
    """Raise ConfigurationError if the app uses other keys than ``found``."""
    ids = tuple(map(key_id, found.keys))
    if auth.keys.ids != ids:
        raise ConfigurationError(
            f"The app uses the keys {', '.join(auth.keys.ids)}, but {found.described} has "
            f"{', '.join(ids)}: the app sets {CURRENT} or {OLDER} in its code (app.config), or loads the "
            ".env of another folder. Nothing was changed. Change the keys there, or remove them there."
        )


def _named(key: str) -> str:
    return f"the key {key_id(key)}"


def _ids(keys: Sequence[str]) -> str:
    return ", ".join(map(key_id, keys))


def _find(keys: Sequence[str], wanted: str) -> str:
    for key in keys:
        if key_id(key) == wanted:
            return key
    raise ConfigurationError(f"There is no key {wanted}. Known: {_ids(keys)}.")


def _save(path: Path, keys: Sequence[str]) -> None:
    """Replace the keys in the file atomically; keep other lines, owner and mode.

    The file behind a symbolic link is replaced, not the link. A file that every user can read becomes
    private: anyone who reads it can log in as any user.
    """
    for key in keys:
        if "," in key:
            raise ConfigurationError(f"A key contains a comma, which separates the keys in {OLDER}.")
    kept = [line for line in read_lines(path) if line.partition("=")[0].strip() not in (CURRENT, OLDER)]
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
