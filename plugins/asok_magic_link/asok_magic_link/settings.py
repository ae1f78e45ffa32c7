"""``AUTH["MAGIC_LINK"]``."""

from __future__ import annotations

import msgspec


class MagicLinkSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper
):
    """Settings of magic links; times are seconds."""

    lifetime: int = 3600
    """How long link and code are good. The framework documents 1 hour; 600 is recommended."""
    signup: bool = True
    """Whether an unknown address gets an account when it proves itself."""
    sends_per_email: int = 5
    sends_per_client: int = 30
    code_attempts: int = 10
    code_attempts_per_client: int = 50
    window: int = 900
    """The window in which sends and attempts are counted."""
