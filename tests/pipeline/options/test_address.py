"""Which address an endpoint's calls go to."""

from __future__ import annotations

import pytest

from pipeline.options.address import (
    Address,
    address,
    parse_endpoint,
    parse_model,
    parse_token_host,
    parse_url,
)

NAME = "projects/my-project/locations/us-central1/endpoints/123"
DEDICATED = "https://123.us-central1-456.prediction.vertexai.goog"


def of(
    endpoint: str | None = None,
    location: str | None = None,
    url: str | None = None,
    project: str | None = None,
    protocol: str = "predict",
    token_host: str | None = None,
    model: str | None = None,
) -> Address:
    return address(
        endpoint=endpoint,
        location=location,
        url=url,
        token_host=token_host,
        project=project,
        protocol=protocol,
        model=model,
    )


@pytest.mark.parametrize(
    "where",
    [
        {"endpoint": NAME},
        {"endpoint": NAME, "location": "us-central1"},
        {"endpoint": "123", "location": "us-central1", "project": "my-project"},
        {"endpoint": "123", "location": "us-central1", "project": "my-project", "token_host": "elsewhere"},
    ],
)
def test_shared_endpoint(where: dict[str, str]) -> None:
    found = of(**where)
    assert found == Address(f"https://us-central1-aiplatform.googleapis.com/v1/{NAME}:predict", True)


def test_dedicated_endpoint_by_raw_predict() -> None:
    assert of(NAME, url=f"{DEDICATED}/", protocol="raw") == Address(f"{DEDICATED}/v1/{NAME}:rawPredict", True)


@pytest.mark.parametrize(
    "server",
    ["http://127.0.0.1:8080", "http://localhost", "HTTP://LocalHost:1", "http://[::1]:8080", "https://[::1]"],
)
def test_loopback_stands_for_vertex_ai(server: str) -> None:
    scheme, _, host = server.partition("://")
    assert of(NAME, url=server) == Address(f"{scheme.lower()}://{host}/v1/{NAME}:predict", True)


@pytest.mark.parametrize(
    "server",
    [
        DEDICATED,
        "https://us-central1-aiplatform.googleapis.com",
        "https://123.us-central1-456.prediction.p.vertexai.goog:443",
        "https://us-central1-aiplatform.p.GoogleAPIs.com",
    ],
)
def test_google_gets_a_token(server: str) -> None:
    assert of(NAME, url=server).needs_token


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "10.0.0.5",
        "123.us-central1-456.prediction.vertexai.goog.evil.example",
        "evilgoogleapis.com",
        "evil-googleapis.com",
        "googleapis.com",
        "us-central1-aiplatform.googleapis.com.",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.10",
        "evil.example:443",
        "[::2]",
        "[2001:db8::1]:443",
    ],
)
def test_nobody_else_gets_one(host: str) -> None:
    with pytest.raises(ValueError, match=r"^--endpoint_url: .* not one of Google's hosts") as refused:
        of(NAME, url=f"https://{host}")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    assert f": {name} is not" in str(refused.value)
    assert f"--endpoint_token_host={name}; if" in str(refused.value)


def test_a_host_of_ones_own_by_its_flag() -> None:
    url = "https://Vertex.example.internal:8443"
    for host in ("vertex.example.internal", "Vertex.Example.INTERNAL"):
        assert of(NAME, url=url, token_host=host) == Address(f"{url}/v1/{NAME}:predict", True)
    for host in ("example.internal", "internal", "x.vertex.example.internal"):
        with pytest.raises(ValueError, match=r"--endpoint_token_host=vertex\.example\.internal"):
            of(NAME, url=url, token_host=host)
    with pytest.raises(ValueError, match="in the clear"):
        of(NAME, url="http://vertex.example.internal", token_host="vertex.example.internal")


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
        ({"endpoint": "123", "location": "us-central1", "project": "a?x="}, "--project: 'a\\?x='"),
        (
            {"url": "http://127.0.0.1:1/predict", "token_host": "127.0.0.1"},
            "--endpoint_token_host: needs --endp",
        ),
        ({"url": "http://[::1].evil.example", "endpoint": NAME}, "--endpoint_url: .* is not a URL"),
        ({"url": "http://local\thost", "endpoint": NAME}, "--endpoint_url: .* is not a URL"),
        ({"endpoint": "projects/my-project/locations/a?b/endpoints/1"}, "--endpoint: .* is neither"),
    ],
)
def test_what_does_not_name_an_endpoint(where: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of(**where)


@pytest.mark.parametrize(
    "name",
    [
        "projects/123456789/locations/us-central1/endpoints/1",
        "projects/example.com:my-project/locations/us-central1/endpoints/my-endpoint",
    ],
)
def test_endpoint(name: str) -> None:
    assert parse_endpoint(name) == name


@pytest.mark.parametrize(
    "text",
    ["", "a/b", "projects/p/endpoints/1", f"{NAME}/", f"{NAME}\n", "12 3", "12\n"]
    + [
        NAME.replace("my-project", project)
        for project in ("a?x=", "a#x", "my-project?x=", "my-project#", "my\nproject", "my project", "..", "")
    ],
)
def test_no_endpoint(text: str) -> None:
    with pytest.raises(ValueError, match="neither the id of an endpoint nor"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "host/predict", "ftp://host", "http://", "http://host:port/", "http://a/b?c=d", "https://u:p@h/x",
        "https://u@h/x", "http://a/b?", "http://a/b#", "http://a:0/", "http://a:65536/", "http://a:/",
        "http://local\thost", "http://host\n", "\nhttp://host", " http://host", "http://host/a b",
        "http://host\r\nX: y", "http://ho\x00st", "http://host/\x7f", "http://ho\u00adst", "http://h\u00f6st",
        "http://[::1].evil.example", "http://[::1]evil", "http://evil[::1]", "http://[::1", "http://::1",
        "http://127.0.0.1\\@evil.example/", "http://127.0.0.1%2eevil.example", "http:///x", "http://-host",
    ],
)  # fmt: skip
def test_no_url(text: str) -> None:
    with pytest.raises(ValueError, match="is not a URL such as"):
        parse_url(text)


@pytest.mark.parametrize(
    "text", ["http://host", "HTTPS://HOST:8443/a/b", "http://my_service.:80/x", "http://[fd00::1]:80/x"]
)
def test_url(text: str) -> None:
    assert parse_url(text) == text


@pytest.mark.parametrize(
    "text", ["", "https://host", "host:1", "host/x", "u@host", "a b", "host\n", "*.host", "[::1]"]
)
def test_no_token_host(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host such as"):
        parse_token_host(text)


class TestTriton:
    def test_vertex_ai_passes_it_on_by_raw_predict(self) -> None:
        found = of(NAME, protocol="triton", model="m")
        assert found.url.endswith(f"/v1/{NAME}:rawPredict")
        assert (found.needs_token, found.model, found.is_infer_url) == (True, "m", False)

    @pytest.mark.parametrize(
        ("path", "direct"),
        [
            ("/v2/models/m/infer", True),
            ("/behind/a/proxy/v2/models/m/versions/3/infer", True),
            ("/v2/models/m/infer/more", False),
            ("/v2/models/a/b/infer", False),
            ("/predict", False),
        ],
    )
    def test_a_url_of_predictions(self, path: str, direct: bool) -> None:
        assert of(url=f"http://127.0.0.1:8000{path}", protocol="triton").is_infer_url is direct

    def test_the_model_is_named_once(self) -> None:
        with pytest.raises(ValueError, match=r"^--endpoint_model: --endpoint_url names a model already"):
            of(url="http://127.0.0.1:8000/v2/models/m/infer", protocol="triton", model="m")

    def test_other_protocols_have_no_model(self) -> None:
        with pytest.raises(ValueError, match=r"^--endpoint_model: needs --endpoint_protocol=triton"):
            of(NAME, model="m")

    @pytest.mark.parametrize("text", ["", "a/b", "a b", "..", "m\r\nHost: x", "ü", "m" * 257])
    def test_what_is_no_model(self, text: str) -> None:
        with pytest.raises(ValueError, match="not the name of a model"):
            parse_model(text)
