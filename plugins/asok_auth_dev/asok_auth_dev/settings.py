"""``AUTH["DEV"]``."""

from __future__ import annotations

import msgspec


class DevSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str.upper):
    """Settings of the development tools."""

    smtp_port: int = 0
    """The port of the mail server on 127.0.0.1; 0 picks a free one."""
