"""The Asok adapter: the only code that imports asok."""

from __future__ import annotations

from .extension import AuthExtension

__all__ = ["AuthExtension"]
