"""The address that an endpoint's calls go to, from its name and its location or from a URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.options.values import PROJECT_ID

PREDICT = "predict"
RAW = "raw"
TRITON = "triton"

# Vertex AI's method of each protocol:
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
_METHODS = {PREDICT: "predict", RAW: "rawPredict", TRITON: "rawPredict"}
# Names hold a project's id, or its number as the API writes it.
_ENDPOINT_NAME = re.compile(
    rf"projects/(?:{PROJECT_ID}|[0-9]{{1,20}})/locations/([a-z0-9-]+)/endpoints/([A-Za-z0-9_-]+)"
)
_ENDPOINT_ID = re.compile(r"[A-Za-z0-9_-]+")

# All of a URL in printable ASCII, so that no parser drops or reads differently what another one has checked.
_URL = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_HOST = "[A-Za-z0-9][A-Za-z0-9._-]*"
_SERVER = re.compile(rf"({_HOST}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?")

# Where KServe's protocol has a model's predictions, and Triton a version's:
# https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
_INFER_PATH = re.compile(r"/v2/models/[^/]+(?:/versions/[^/]+)?/infer$")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}")

# Where a token goes: to this machine, and to Google, whose own these domains are.
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_GOOGLE = (".googleapis.com", ".vertexai.goog")


@dataclass(frozen=True)
class Address:
    """The address of the calls of a job.

    Attributes:
        url: Calls are POSTed to it.
        needs_token: Whether calls carry a Google access token.
        model: The model that calls are for, on a Triton of several; None for its default model.
    """

    url: str
    needs_token: bool
    model: str | None = None

    @property
    def is_infer_url(self) -> bool:
        """Whether the URL is that of a model's predictions by KServe's protocol."""
        return _INFER_PATH.search(urlsplit(self.url).path) is not None


def parse_endpoint(text: str) -> str:
    """Return `text` if it is an endpoint's id or full name.

    Raises:
        ValueError: It is neither.
    """
    if not (_ENDPOINT_ID.fullmatch(text) or _ENDPOINT_NAME.fullmatch(text)):
        raise ValueError(
            f"{text!r} is neither the id of an endpoint nor projects/PROJECT/locations/REGION/endpoints/ID"
        )
    return text


def parse_url(text: str) -> str:
    """Return `text` if it is the http or https URL of a server.

    Raises:
        ValueError: It is not.
    """
    fits = _URL.fullmatch(text) is not None and not set(text) & set("?#\\")
    try:
        fits = fits and _host(text) != "" and urlsplit(text).port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{text!r} is not a URL such as https://HOST or http://127.0.0.1:8080/predict")
    return text


def parse_model(text: str) -> str:
    """Return `text` if it may be the name of a model in Triton's repository.

    Raises:
        ValueError: It may not: it goes into a path.
    """
    if not _MODEL.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a model: letters, digits, dots, hyphens, underscores")
    return text


def parse_token_host(text: str) -> str:
    """Return `text` if it is the name of a host, or an IPv4 address.

    Raises:
        ValueError: It is neither.
    """
    if not re.fullmatch(_HOST, text):
        raise ValueError(
            f"{text!r} is not a host such as vertex.example.internal, without https://, port or path"
        )
    return text


def address(
    *,
    endpoint: str | None,
    location: str | None,
    url: str | None,
    token_host: str | None,
    project: str | None,
    protocol: str,
    model: str | None = None,
) -> Address:
    """Return the address that the flags name.

    Args:
        endpoint: Id or full name. Its calls go to Vertex AI's paths and carry a token.
        location: Region of the endpoint, where `endpoint` is an id.
        url: With a path, it is POSTed to as it is; without one, the server of `endpoint`.
        token_host: Host of `url` that gets a token though it is neither Google's nor this machine.
        project: Of the endpoint, where `endpoint` is an id.
        protocol: `predict`, `raw` or `triton`.
        model: On a Triton that holds several.

    Raises:
        ValueError: Something is missing or contradicts; the message begins with the flag.
    """
    if url is not None:
        _checked("endpoint_url", parse_url, url)
    if model is not None and protocol != TRITON:
        raise ValueError(
            "--endpoint_model: needs --endpoint_protocol=triton: a Triton may hold several models"
        )
    parts = urlsplit(url) if url is not None else None
    has_path = parts is not None and parts.path not in ("", "/")
    if endpoint is None:
        if url is None:
            raise ValueError("--endpoint: missing. --inference_mode=endpoint needs it, or --endpoint_url")
        if not has_path:
            raise ValueError(
                f"--endpoint_url: {url!r} has no path. Give one, such as {url.rstrip('/')}/predict, "
                "or name the Vertex AI endpoint behind it by --endpoint"
            )
        if token_host is not None:
            raise ValueError(
                "--endpoint_token_host: needs --endpoint. Calls to --endpoint_url alone carry no access token"
            )
        found = Address(url, needs_token=False, model=model)
        if model is not None and found.is_infer_url:
            raise ValueError("--endpoint_model: --endpoint_url names a model already: leave one of them out")
        return found
    if has_path:
        raise ValueError(
            f"--endpoint_url: {url!r} has a path, which --endpoint fixes already: leave one of them out"
        )
    name = _full_name(_checked("endpoint", parse_endpoint, endpoint), location, project)
    if url is None or parts is None:
        server = f"https://{name.split('/')[3]}-aiplatform.googleapis.com"
    else:
        _check_token_host(url, token_host)
        server = f"{parts.scheme}://{parts.netloc}"
    return Address(f"{server}/v1/{name}:{_METHODS[protocol]}", needs_token=True, model=model)


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this very machine."""
    host = _host(url)
    return host in _LOOPBACK or re.fullmatch(r"127(?:\.[0-9]{1,3}){3}", host) is not None


def _checked(name: str, parse: Callable[[str], str], text: str) -> str:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"--{name}: {error}") from None


def _host(url: str) -> str:
    """Return the host of a URL in lower case, an IPv6 address in its brackets; empty if there is none."""
    server = _SERVER.fullmatch(urlsplit(url).netloc)
    return server.group(1).lower() if server is not None else ""


def _check_token_host(url: str, token_host: str | None) -> None:
    """Check that a Google access token may go to the server of `url`.

    Raises:
        ValueError: It may not; the message begins with the flag.
    """
    host = _host(url)
    if host in _LOOPBACK:
        return
    if urlsplit(url).scheme != "https":
        raise ValueError(f"--endpoint_url: {url!r} would send a Google access token in the clear: use https")
    if not host.endswith(_GOOGLE) and host != (token_host or "").lower():
        raise ValueError(
            f"--endpoint_url: {host} is not one of Google's hosts (*{', *'.join(_GOOGLE)}), and --endpoint "
            "has a Google access token sent there. If it leads to Vertex AI, add "
            f"--endpoint_token_host={host}; if it is a server of your own, leave out --endpoint and give the "
            "whole URL: then it gets no token"
        )


def _full_name(endpoint: str, location: str | None, project: str | None) -> str:
    named = _ENDPOINT_NAME.fullmatch(endpoint)
    if named is not None:
        if location is not None and location != named.group(1):
            raise ValueError(
                f"--endpoint_location: {location!r} contradicts --endpoint, which is in {named.group(1)!r}"
            )
        return endpoint
    if location is None:
        raise ValueError(
            f"--endpoint_location: missing. The endpoint's region, unless --endpoint is its full name "
            f"projects/PROJECT/locations/REGION/endpoints/{endpoint}"
        )
    if project is None:
        raise ValueError(
            f"--project: missing. The endpoint's project, unless --endpoint is its full name "
            f"projects/PROJECT/locations/{location}/endpoints/{endpoint}"
        )
    name = f"projects/{project}/locations/{location}/endpoints/{endpoint}"
    if _ENDPOINT_NAME.fullmatch(name) is None:
        raise ValueError(
            f"--project: {project!r} in region {location!r} does not make the name of an endpoint, "
            f"projects/PROJECT/locations/REGION/endpoints/{endpoint}"
        )
    return name
