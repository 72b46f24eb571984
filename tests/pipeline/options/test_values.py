"""The messages of wrong values say which rule is broken, and where."""

from __future__ import annotations

import pytest

from pipeline.options import values

PROJECT = (
    "6 to 30 small letters, digits and dashes, beginning with a letter and ending with a letter or digit"
)
RESOURCE = "3 to 255 letters, digits and -_.~+%, beginning with a letter, and not with goog"


@pytest.mark.parametrize(
    "text",
    [
        "projects/my-project/subscriptions/sub",
        "projects/example.com:my-project/subscriptions/" + "a" * 255,
        "projects/abcdef/subscriptions/A-_.~+%1",
    ],
)
def test_a_full_name(text: str) -> None:
    assert values.resource("subscription")(text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "requests",
            "'requests' is not the full name of a subscription: projects/PROJECT/subscriptions/NAME",
        ),
        ("projects/my-project/topics/requests", "is not the full name of a subscription: projects/PROJECT/"),
        (
            "projects/my-project/subscriptions/a/b",
            "is not the full name of a subscription: projects/PROJECT/",
        ),
        ("projects/P/subscriptions/S", f"'P' in 'projects/P/subscriptions/S' is not a project id: {PROJECT}"),
        ("projects/my-project-/subscriptions/abc", f"is not a project id: {PROJECT}"),
        (
            "projects/my-project/subscriptions/S",
            "'S' in 'projects/my-project/subscriptions/S' is not the name of a subscription: " + RESOURCE,
        ),
        ("projects/my-project/subscriptions/1st", "'1st' in 'projects/my-project/subscriptions/1st' is not "),
        ("projects/my-project/subscriptions/google", f"is not the name of a subscription: {RESOURCE}"),
        ("projects/my-project/subscriptions/", f"is not the name of a subscription: {RESOURCE}"),
        ("projects/my-project/subscriptions/" + "a" * 256, f"is not the name of a subscription: {RESOURCE}"),
    ],
)
def test_what_is_no_full_name(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        values.resource("subscription")(text)
    assert problem in str(caught.value)


@pytest.mark.parametrize("text", ["my-project:d.t", "example.com:my-project:d_1.t-1"])
def test_a_table(text: str) -> None:
    assert values.table(text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("p:d.t", f"'p' in 'p:d.t' is not a project id: {PROJECT}"),
        (
            "my-project:d-1.t",
            "'d-1' in 'my-project:d-1.t' is not the name of a dataset: 1 to 1,024 letters, ",
        ),
        (
            "my-project:d.t!",
            "'t!' in 'my-project:d.t!' is not the name of a table: 1 to 1,024 letters, digits, ",
        ),
        ("my-project:d.", "'' in 'my-project:d.' is not the name of a table: "),
        ("my-project.d.t", "'my-project.d.t' is not the full name of a table: PROJECT:DATASET.TABLE"),
        ("my-project:d.t.u", "'my-project:d.t.u' is not the full name of a table: PROJECT:DATASET.TABLE"),
        ("d.t", "'d.t' is not the full name of a table: PROJECT:DATASET.TABLE"),
    ],
)
def test_what_is_no_table(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        values.table(text)
    assert str(caught.value).startswith(problem)
