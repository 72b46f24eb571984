"""Where an API of Google's is: at its own address, or where the environment says instead."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from pipeline.options.address import is_loopback, parse_url

MONITORING = "https://monitoring.googleapis.com"
# Named like the variables that redirect gcloud's own calls.
MONITORING_OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING"


def parse_api_url(text: str) -> str:
    """Return the URL of a server that may get an access token, without a slash at its end.

    Raises:
        ValueError: It is no URL, or one of another machine by http, which everyone on the way can read.
    """
    parse_url(text)
    if urlsplit(text).scheme.lower() == "http" and not is_loopback(text):
        raise ValueError(f"{text!r} would get your access token in clear text: use https")
    return text.rstrip("/")


def api_url(variable: str, default: str) -> str:
    """Return where an API is, without a slash at its end.

    Args:
        variable: Of the environment; counts where it is set and not empty.
        default: Google's address.

    Raises:
        ValueError: The variable holds what `parse_api_url` refuses; the message begins with its name.
    """
    try:
        return parse_api_url(os.environ.get(variable) or default)
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None
