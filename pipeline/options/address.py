"""The address that an endpoint's calls go to, from its name and its location or from a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

PREDICT = "predict"
RAW = "raw"

# Vertex AI's method of each protocol:
# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
_METHODS = {PREDICT: "predict", RAW: "rawPredict"}
_ENDPOINT_NAME = re.compile(r"projects/([^/]+)/locations/([a-z0-9-]+)/endpoints/([A-Za-z0-9_-]+)")
_ENDPOINT_ID = re.compile(r"[A-Za-z0-9_-]+")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """The address of the calls of a job.

    Attributes:
        url: Calls are POSTed to it.
        needs_token: Whether calls carry a Google access token.
    """

    url: str
    needs_token: bool


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
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{text!r} is not a URL such as https://HOST or http://127.0.0.1:8080/predict")
    return text


def address(
    *,
    endpoint: str | None,
    location: str | None,
    url: str | None,
    project: str | None,
    protocol: str,
) -> Address:
    """Return the address that the flags name.

    Args:
        endpoint: Id or full name. Its calls go to Vertex AI's paths and carry a token.
        location: Region of the endpoint, where `endpoint` is an id.
        url: With a path, it is POSTed to as it is; without one, the server of `endpoint`.
        project: Of the endpoint, where `endpoint` is an id.
        protocol: `predict` or `raw`.

    Raises:
        ValueError: Something is missing or contradicts; the message begins with the flag.
    """
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
        return Address(url, needs_token=False)
    if has_path:
        raise ValueError(
            f"--endpoint_url: {url!r} has a path, which --endpoint fixes already: leave one of them out"
        )
    name = _full_name(endpoint, location, project)
    if parts is None:
        server = f"https://{name.split('/')[3]}-aiplatform.googleapis.com"
    elif parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError(f"--endpoint_url: {url!r} would send a Google access token in the clear: use https")
    else:
        server = f"{parts.scheme}://{parts.netloc}"
    return Address(f"{server}/v1/{name}:{_METHODS[protocol]}", needs_token=True)


def _full_name(endpoint: str, location: str | None, project: str | None) -> str:
    named = _ENDPOINT_NAME.fullmatch(endpoint)
    if named is not None:
        if location is not None and location != named.group(2):
            raise ValueError(
                f"--endpoint_location: {location!r} contradicts --endpoint, which is in {named.group(2)!r}"
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
    return f"projects/{project}/locations/{location}/endpoints/{endpoint}"
