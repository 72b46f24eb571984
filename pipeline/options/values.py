"""From the text of a flag to its value. Each function raises ValueError that says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

# https://cloud.google.com/resource-manager/docs/creating-managing-projects, and of domain-scoped projects.
PROJECT_ID = r"(?:[a-z0-9.\-]+:)?[a-z][a-z0-9\-]{4,28}[a-z0-9]"
PROJECT_RULE = (
    "6 to 30 small letters, digits and dashes, beginning with a letter and ending with a letter or digit"
)
# https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
RESOURCE_ID = r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}"
RESOURCE_RULE = "3 to 255 letters, digits and -_.~+%, beginning with a letter, and not with goog"
# https://cloud.google.com/bigquery/docs/datasets#dataset-naming, and of tables#table_naming the ASCII ones.
_DATASET_ID = r"[A-Za-z0-9_]{1,1024}"
_DATASET_RULE = "1 to 1,024 letters, digits and underscores"
_TABLE_ID = r"[A-Za-z0-9_\-]{1,1024}"
_TABLE_RULE = "1 to 1,024 letters, digits, underscores and dashes"


def check_part(text: str, part: str, pattern: str, what: str, rule: str) -> None:
    """Check a part of a longer text.

    Args:
        text: The text, for the message.
        part: The part.
        pattern: What it must match, as a whole.
        what: What it should be, such as `a project id`.
        rule: The pattern in words.

    Raises:
        ValueError: It does not match; the message says which part of the text, and the rule.
    """
    if not re.fullmatch(pattern, part):
        where = "" if part == text else f" in {text!r}"
        raise ValueError(f"{part!r}{where} is not {what}: {rule}")


def resource(kind: str) -> Callable[[str], str]:
    """Return a parser of the full name of a Pub/Sub `topic` or `subscription`."""

    def parse(text: str) -> str:
        parts = text.split("/")
        if len(parts) != 4 or (parts[0], parts[2]) != ("projects", f"{kind}s"):
            raise ValueError(f"{text!r} is not the full name of a {kind}: projects/PROJECT/{kind}s/NAME")
        check_part(text, parts[1], PROJECT_ID, "a project id", PROJECT_RULE)
        check_part(text, parts[3], RESOURCE_ID, f"the name of a {kind}", RESOURCE_RULE)
        return text

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser of one of the choices."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of: {', '.join(choices)}")
        return text

    return parse


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of a whole number, both ends included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    """Return a number of seconds above 0."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) or float(text) <= 0:
        raise ValueError(f"{text!r} is not a number of seconds above 0")
    return float(text)


def milliseconds(text: str) -> float:
    """Return a number of milliseconds from 0."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text):
        raise ValueError(f"{text!r} is not a number of milliseconds")
    return float(text)


def boolean(text: str) -> bool:
    """Return whether the text is true; it is true or false."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def region(text: str) -> str:
    """Return the name of a region."""
    if not re.fullmatch(r"[a-z]+(-[a-z]+)*[0-9]*", text):
        raise ValueError(f"{text!r} is not a region such as us-central1")
    return text


def table(text: str) -> str:
    """Return the full name of a BigQuery table, as Beam writes it."""
    # The project may have a colon of its own: example.com:project.
    project, colon, name = text.rpartition(":")
    parts = name.split(".")
    if not colon or len(parts) != 2:
        raise ValueError(f"{text!r} is not the full name of a table: PROJECT:DATASET.TABLE")
    check_part(text, project, PROJECT_ID, "a project id", PROJECT_RULE)
    check_part(text, parts[0], _DATASET_ID, "the name of a dataset", _DATASET_RULE)
    check_part(text, parts[1], _TABLE_ID, "the name of a table", _TABLE_RULE)
    return text


def path(text: str) -> str:
    """Return the path of a file; it is not empty."""
    # Only the machine that loads the file can tell whether it is there.
    if not text:
        raise ValueError("the path of a file is missing")
    return text


def local_or_gs(text: str) -> str:
    """Return a path on the machine that opens it, or one of Cloud Storage, gs://…."""
    if "://" in text and not text.startswith("gs://"):
        raise ValueError(f"{text!r} is neither a path on the container's disk nor gs://…")
    return path(text)


def class_name(text: str) -> str:
    """Return the name of a class, module:Class."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text):
        raise ValueError(f"{text!r} is not module:Class, as in my_package.models:Classifier")
    return text


def function_name(text: str) -> str:
    """Return the name of a function, module:function."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text):
        raise ValueError(f"{text!r} is not module:function, as in my_package.hooks:decode")
    return text


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f'{text!r} is not a JSON object such as {{"hidden": 16}}')
    return value
