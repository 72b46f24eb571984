"""From the text of a flag to its value. Each function raises ValueError that says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

# https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
_RESOURCE_ID = r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}"
PROJECT_ID = r"(?:[a-z0-9.\-]+:)?[a-z][a-z0-9\-]{4,28}[a-z0-9]"
# https://cloud.google.com/bigquery/docs/datasets#dataset-naming, and of tables#table_naming the ASCII ones.
_TABLE = re.compile(rf"{PROJECT_ID}:[A-Za-z0-9_]{{1,1024}}\.[A-Za-z0-9_\-]{{1,1024}}")


def resource(kind: str) -> Callable[[str], str]:
    """Return a parser of the full name of a Pub/Sub `topic` or `subscription`."""
    pattern = re.compile(rf"projects/{PROJECT_ID}/{kind}s/{_RESOURCE_ID}")

    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not the full name of a {kind}: projects/PROJECT/{kind}s/NAME")
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
    if not _TABLE.fullmatch(text):
        raise ValueError(f"{text!r} is not the full name of a table: PROJECT:DATASET.TABLE")
    return text


def path(text: str) -> str:
    """Return the path of a file; it is not empty."""
    # Only the machine that loads the file can tell whether it is there.
    if not text:
        raise ValueError("the path of a file is missing")
    return text


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
