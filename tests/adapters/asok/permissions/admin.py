"""Asok's Admin in a test app."""

from __future__ import annotations

from asok import Asok
from asok.admin import Admin
from asok.orm import MODELS_REGISTRY


def add_admin(app: Asok) -> Admin:
    admin = Admin(app)
    for name in ("AdminTrash", "AdminSession"):
        MODELS_REGISTRY[name].create_table()
    # create_table() rejects the column "action" of Asok's own AdminLog.
    columns = ", ".join(MODELS_REGISTRY["AdminLog"]._fields)
    MODELS_REGISTRY["AdminLog"].get_engine().execute(
        f"CREATE TABLE admin_logs (id INTEGER PRIMARY KEY, {columns})"
    )
    return admin
