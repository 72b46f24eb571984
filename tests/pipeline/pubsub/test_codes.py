import grpc
import pytest
from google.api_core import exceptions

from pipeline.pubsub.codes import TRANSIENT, explain, is_transient


class Failure(grpc.RpcError):
    def __init__(self, details: str | None) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.NOT_FOUND

    def details(self) -> str | None:
        return self._details


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_the_librarys_exceptions_follow_the_codes(code: grpc.StatusCode) -> None:
    assert is_transient(exceptions.from_grpc_status(code, "why")) == (code in TRANSIENT)


def test_other_exceptions_are_not_transient() -> None:
    assert not is_transient(ConnectionError())
    assert not is_transient(exceptions.GoogleAPICallError("no status"))


@pytest.mark.parametrize(
    ("details", "text"),
    [("no such\n  topic", "NOT_FOUND: no such topic"), ("", "NOT_FOUND"), (None, "NOT_FOUND")],
)
def test_an_error_in_one_line(details: str | None, text: str) -> None:
    assert explain(Failure(details)) == text
