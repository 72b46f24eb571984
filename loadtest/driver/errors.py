"""Why a run did not begin."""

from __future__ import annotations


class RunError(Exception):
    """The run could not begin; the message says what to check."""
