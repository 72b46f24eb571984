import pytest

from broker.errors import InvalidArgumentError
from broker.names import check_project, check_subscription, check_topic, is_project_id


@pytest.mark.parametrize(
    "name",
    [
        "projects/abcdef/topics/abc",
        "projects/my-project-1/topics/A-_.~+%9",
        "projects/example.com:my-project/topics/requests",
        "projects/123456789/topics/requests",
        "projects/test/topics/requests",
        "projects/my_project/topics/requests",
        "projects/abcdef/topics/" + "a" * 255,
    ],
)
def test_good_topic_names(name: str) -> None:
    check_topic(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "write projects/PROJECT/topics/TOPIC"),
        ("requests", "write projects/PROJECT/topics/TOPIC"),
        ("projects/abcdef/subscriptions/requests", "write projects/PROJECT/topics/TOPIC"),
        ("projects/abcdef/topics/requests/more", "write projects/PROJECT/topics/TOPIC"),
        ("projects//topics/requests", "write projects/PROJECT/topics/TOPIC"),
        ("projects/abcdef/topics/ab", "topic id 'ab'"),
        ("projects/abcdef/topics/" + "a" * 256, "3 to 255"),
        ("projects/abcdef/topics/1abc", "a letter first"),
        ("projects/abcdef/topics/a b c", "topic id 'a b c'"),
        ("projects/abcdef/topics/abc\n", "topic id"),
        ("projects/abcdef/topics/google-topic", "must not start with 'goog'"),
    ],
)
def test_bad_topic_names_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match="(?s)" + reason):
        check_topic(name)


def test_subscription_and_project_names() -> None:
    check_subscription("projects/abcdef/subscriptions/requests")
    check_project("projects/abcdef")
    with pytest.raises(InvalidArgumentError, match="write projects/PROJECT/subscriptions/SUBSCRIPTION"):
        check_subscription("projects/abcdef/topics/requests")
    with pytest.raises(InvalidArgumentError, match="write projects/PROJECT"):
        check_project("abcdef")
    with pytest.raises(InvalidArgumentError, match="write projects/PROJECT"):
        check_project("projects/abcdef/topics")
    with pytest.raises(InvalidArgumentError, match="write projects/PROJECT"):
        check_project("projects/")


@pytest.mark.parametrize(
    ("project", "right"),
    [
        ("abcdef", True),
        ("my-project-1", True),
        ("example.com:my-project", True),
        ("123456789", True),
        ("abcde", False),
        ("Abcdef", False),
        ("1abcdef", False),
        ("abcdef-", False),
        ("my_project", False),
        ("a" * 31, False),
    ],
)
def test_project_ids_of_the_service(project: str, right: bool) -> None:
    assert is_project_id(project) is right
