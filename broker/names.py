"""The rules of Pub/Sub for the names of projects, topics and subscriptions."""

from __future__ import annotations

import re

from broker.errors import InvalidArgumentError

DELETED_TOPIC = "_deleted-topic_"
"""What a subscription shows as its topic once that topic has been deleted."""

# An id of 6 to 30 characters, perhaps under a domain ("example.com:my-project"), or a project number.
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{6,}")
_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")


def check_project(name: str) -> None:
    """Refuse anything but `projects/PROJECT`.

    Raises:
        InvalidArgumentError: Says which part breaks which rule.
    """
    prefix, _, project = name.partition("/")
    if prefix != "projects" or not project or "/" in project:
        raise InvalidArgumentError(f"{name!r} is not a project name: write projects/PROJECT")


def check_topic(name: str) -> None:
    """Refuse anything but `projects/PROJECT/topics/TOPIC` (see `check_project`)."""
    _check_resource(name, "topic")


def check_subscription(name: str) -> None:
    """Refuse anything but `projects/PROJECT/subscriptions/SUBSCRIPTION` (see `check_project`)."""
    _check_resource(name, "subscription")


def is_project_id(project: str) -> bool:
    """Return whether the service could have a project of this id. This broker takes any."""
    return _PROJECT.fullmatch(project) is not None


def _check_resource(name: str, kind: str) -> None:
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "projects" or not parts[1] or parts[2] != f"{kind}s":
        raise InvalidArgumentError(
            f"{name!r} is not a {kind} name: write projects/PROJECT/{kind}s/{kind.upper()}"
        )
    resource = parts[3]
    if not _RESOURCE.fullmatch(resource):
        raise InvalidArgumentError(
            f"{kind} id {resource!r} in {name!r}: use 3 to 255 characters, a letter first, then letters, "
            "digits and any of - _ . ~ + %"
        )
    if resource.startswith("goog"):
        raise InvalidArgumentError(f"{kind} id {resource!r} in {name!r}: ids must not start with 'goog'")
