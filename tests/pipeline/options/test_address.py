"""Which address an endpoint's calls go to."""

from __future__ import annotations

import pytest

from pipeline.options.address import Address, address, parse_endpoint, parse_url

NAME = "projects/my-project/locations/us-central1/endpoints/123"
DEDICATED = "https://123.us-central1-456.prediction.vertexai.goog"


def of(
    endpoint: str | None = None,
    location: str | None = None,
    url: str | None = None,
    project: str | None = None,
    protocol: str = "predict",
) -> Address:
    return address(endpoint=endpoint, location=location, url=url, project=project, protocol=protocol)


@pytest.mark.parametrize(
    "where",
    [
        {"endpoint": NAME},
        {"endpoint": NAME, "location": "us-central1"},
        {"endpoint": "123", "location": "us-central1", "project": "my-project"},
    ],
)
def test_shared_endpoint(where: dict[str, str]) -> None:
    found = of(**where)
    assert found == Address(f"https://us-central1-aiplatform.googleapis.com/v1/{NAME}:predict", True)


def test_dedicated_endpoint_by_raw_predict() -> None:
    assert of(NAME, url=f"{DEDICATED}/", protocol="raw") == Address(f"{DEDICATED}/v1/{NAME}:rawPredict", True)


def test_loopback_stands_for_vertex_ai() -> None:
    found = of(NAME, url="http://127.0.0.1:8080")
    assert found == Address(f"http://127.0.0.1:8080/v1/{NAME}:predict", True)


@pytest.mark.parametrize("protocol", ["predict", "raw"])
def test_any_server_gets_no_token(protocol: str) -> None:
    url = "http://models.internal:8080/predict"
    assert of(url=url, protocol=protocol) == Address(url, False)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({}, "--endpoint: missing"),
        ({"url": "http://127.0.0.1:8080"}, "--endpoint_url: 'http://127.0.0.1:8080' has no path"),
        ({"url": f"{DEDICATED}/predict", "endpoint": NAME}, "--endpoint_url: .* has a path"),
        ({"url": "http://models.internal", "endpoint": NAME}, "--endpoint_url: .* in the clear"),
        ({"endpoint": NAME, "location": "europe-west4"}, "--endpoint_location: 'europe-west4' contradicts"),
        ({"endpoint": "123", "project": "my-project"}, "--endpoint_location: missing"),
        ({"endpoint": "123", "location": "us-central1"}, "--project: missing"),
    ],
)
def test_what_does_not_name_an_endpoint(where: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of(**where)


@pytest.mark.parametrize("text", ["", "a/b", "projects/p/endpoints/1", f"{NAME}/", "12 3"])
def test_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match="neither the id of an endpoint nor"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    "text",
    ["", "host/predict", "ftp://host", "http://", "http://host:port/", "http://a/b?c=d", "https://u:p@h/x"],
)
def test_no_url(text: str) -> None:
    with pytest.raises(ValueError, match="is not a URL such as"):
        parse_url(text)
