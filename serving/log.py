"""How the container's processes log: to stderr, where Vertex AI collects it."""

from __future__ import annotations

import logging


def configure_logging(level: int) -> None:
    """Log from this level on, each line with the time, the process, the level and the module."""
    logging.basicConfig(level=level, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
