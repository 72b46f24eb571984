"""The repository of Artifact Registry that an image lies in."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Repository:
    """A repository of images.

    Attributes:
        location: A region, or a group of them such as us.
        project: Its project, which need not be the job's.
        name: Within the two.
    """

    location: str
    project: str
    name: str


def repository_of(image: str) -> Repository | None:
    """Return the repository of an image by its full name; None if that is not one of Artifact Registry."""
    found = re.match(r"([a-z0-9-]+)-docker\.pkg\.dev/([^/]+)/([^/]+)/", image)
    return None if found is None else Repository(*found.groups())
