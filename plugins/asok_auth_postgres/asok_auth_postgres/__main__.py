"""Print the statements that create the tables, for a database administrator."""

from __future__ import annotations

from .schema import STATEMENTS

print(";\n".join(STATEMENTS) + ";")
