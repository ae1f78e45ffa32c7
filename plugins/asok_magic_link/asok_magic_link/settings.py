"""``AUTH["MAGIC_LINK"]``."""

from __future__ import annotations

import msgspec


class MagicLinkSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper
):
    """Settings of magic links; times are seconds."""

    lifetime: int = 3600
    """Lifetime of link and code. The default is what Asok documents; 600 is recommended."""
    sends_per_email: int = 5
    sends_per_client: int = 30
    code_attempts: int = 10
    code_attempts_per_client: int = 50
    window: int = 900
    """The window in which sends and attempts are counted."""
