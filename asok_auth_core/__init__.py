"""Authentication for the Asok web framework in which every way to log in is a plugin."""

from __future__ import annotations

__version__ = "0.1.0"
