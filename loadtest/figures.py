"""Figures and their names, for people."""

from __future__ import annotations


def stage_label(stage: str) -> str:
    """Return a stage's name for people; the server's time is indented, as a part of inference above it."""
    return "  of it server" if stage == "server" else stage.replace("_", " ")


def figure(value: float | None) -> str:
    """Return a number for people, "-" for none."""
    if value is None:
        return "-"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def milliseconds(value: float | None) -> str:
    """Return a duration for people, "-" for none."""
    return "-" if value is None else f"{figure(value)} ms"


def rate(value: float | None) -> str:
    """Return a rate for people, "-" for none."""
    return "-" if value is None else f"{value:,.1f}/s"
