"""Check that the secret keys are strong, and those in ``.env``."""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..engine.keys import key_id
from ..env_file import CURRENT, OLDER, keys_in
from ..types import Finding, Severity

REMEDY = (
    "Put a random key into SECRET_KEY "
    '(python -c "import secrets; print(secrets.token_hex(32))") and the old one into SECRET_KEY_FALLBACKS '
    "until everything signed with it has expired."
)


def secrets(auth: Auth) -> Iterator[Finding]:
    """Report weak secrets, and keys in force that are not those of ``.env``."""
    severity: Severity = "warning" if auth.settings.app.debug else "error"
    for index, reason in auth.keys.weak_secrets():
        name = "SECRET_KEY" if index == 0 else f"SECRET_KEY_FALLBACKS[{index - 1}]"
        remedy = REMEDY if index == 0 else f"Remove {name} from the list."
        yield Finding("secrets", severity, f"{name} {reason}.", remedy)
    path = auth.settings.app.root / ".env"
    found = keys_in(path)
    used = {CURRENT: auth.keys.ids[:1], OLDER: auth.keys.ids[1:]}
    for name, keys in ((CURRENT, found.keys[: bool(found.current)]), (OLDER, found.older)):
        in_file = tuple(map(key_id, keys))
        # A file without a SECRET_KEY does not claim to hold the keys.
        if (found.current or name in found.origins) and in_file != used[name]:
            yield Finding(
                "secrets",
                severity,
                f"{name} in force is {_listed(used[name])}, but {path} says {_listed(in_file)}: the process "
                "environment or the app's code wins, so changes of the file have no effect.",
                f"Keep {name} in one place: remove it from {path}, or from the environment (the shell, the "
                "systemd unit, the container) and the code. Then restart all workers.",
            )


def _listed(ids: tuple[str, ...]) -> str:
    return "key " + ", ".join(ids) if ids else "empty"
