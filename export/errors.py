"""What ends an export."""

from __future__ import annotations


class ExportError(Exception):
    """A model cannot be exported so; the message says why, and what to do. Nothing was written."""
