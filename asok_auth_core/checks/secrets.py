"""Check that the secret keys are strong."""

from __future__ import annotations

from collections.abc import Iterator

from ..auth import Auth
from ..types import Finding, Severity

REMEDY = (
    "Put a random key into SECRET_KEY "
    '(python -c "import secrets; print(secrets.token_hex(32))") and the old one into SECRET_KEY_FALLBACKS '
    "until everything signed with it has expired."
)


def secrets(auth: Auth) -> Iterator[Finding]:
    """Report secrets that are too short or do not look random."""
    for index, reason in auth.keys.weak_secrets():
        name = "SECRET_KEY" if index == 0 else f"SECRET_KEY_FALLBACKS[{index - 1}]"
        severity: Severity = "warning" if auth.settings.app.debug else "error"
        remedy = REMEDY if index == 0 else f"Remove {name} from the list."
        yield Finding("secrets", severity, f"{name} {reason}.", remedy)
