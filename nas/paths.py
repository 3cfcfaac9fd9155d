"""Where the package keeps what it ships."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"
TABLES = DATA / "tables"
"""The benchmark tables inside the package."""
