"""The folder for temporary files, which a container with a read-only root may lack."""

from __future__ import annotations

import tempfile


def temporary_folder_problems() -> list[str]:
    """Return what is wrong where no folder for temporary files can be written to."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return [
            "no folder for temporary files can be written to: mount one at /tmp (docker run --tmpfs /tmp), "
            "or name one by TMPDIR"
        ]
    return []
