"""Write every event to a file, as one line of JSON.

A thread writes, so that no user waits for the disk; ``asok_auth_stop`` waits until it has written what was queued. ``AUTH["JOURNAL"]["FILE"]`` is
relative to the app.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from queue import SimpleQueue

import msgspec
from asok_auth_core.plugin import Auth, Event, PluginManifest, hookimpl

PATIENCE = 10.0
"""Seconds that the end of the app waits for the disk."""


class JournalSettings(msgspec.Struct, frozen=True, rename=str.upper):
    file: str = "journal.jsonl"


class Journal:
    """The plugin. Required: without it, nobody would know what happened."""

    asok_auth_plugin = PluginManifest(
        api=">=1.0,<2", section="JOURNAL", settings=JournalSettings, required=True
    )

    def __init__(self) -> None:
        self._path = Path("journal.jsonl")
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        """None ends the writer."""
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None

    @hookimpl
    def asok_auth_start(self, auth: Auth) -> None:
        self._path = auth.settings.app.root / auth.settings.section(JournalSettings).file
        # A file that cannot be written stops the start; later, it would only be logged.
        with self._path.open("a", encoding="utf-8"):
            pass

    @hookimpl
    def asok_auth_event(self, event: Event) -> None:
        line = {"event": event.name, "at": event.at, "user": event.user_id, "client": event.client_ip}
        text = json.dumps({**line, "method": event.method, "detail": dict(event.detail)})
        with self._lock:
            self._lines.put(text)
            # Not in asok_auth_start: a server may fork after it, and threads do not survive that.
            if self._writer is None or not self._writer.is_alive():
                self._writer = threading.Thread(target=self._write, daemon=True)
                self._writer.start()

    @hookimpl
    def asok_auth_stop(self) -> None:
        self.flush()

    def flush(self) -> None:
        """Wait until what was queued is written; the next event starts a writer again."""
        with self._lock:
            if self._writer is not None and self._writer.is_alive():
                self._lines.put(None)
                self._writer.join(PATIENCE)

    def _write(self) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            for text in iter(self._lines.get, None):
                file.write(text + "\n")
                if self._lines.empty():
                    file.flush()


plugin = Journal()
