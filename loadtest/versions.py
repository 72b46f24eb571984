"""Versions of what a run's figures may depend on."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("torch", "apache-beam", "numpy", "google-cloud-pubsub")


def versions() -> dict[str, str | None]:
    """Return those of Python and of the packages that matter; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
