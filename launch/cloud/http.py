"""HTTP calls as gcloud's account, whose token goes to the address that was asked for and nowhere else."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

from launch.cloud.shell import Shell, shell_quote
from launch.settings.setting import SettingsError
from pipeline.options.address import is_loopback
from pipeline.options.google_api import api_url

TOKEN_COMMAND = ("gcloud", "auth", "print-access-token")
# The token, and whom gcloud has its calls counted for where the user has said so (its property
# billing/quota_project), separated by a tab.
_ACCOUNT_COMMAND = (
    "gcloud",
    "config",
    "config-helper",
    "--format=value(credential.access_token,configuration.properties.billing.quota_project)",
)
# What that property may hold in place of a project: the one that a command is about.
_CURRENT_PROJECT = ("CURRENT_PROJECT", "CURRENT_PROJECT_WITH_FALLBACK")
_NO_PROJECT = ("", "LEGACY")


@dataclass(frozen=True)
class Account:
    """The account that calls are made as.

    Attributes:
        token: Its access token.
        quota_project: Whom Google Cloud is to count them for; None leaves that to the API.
    """

    token: str = field(repr=False)
    quota_project: str | None

    @classmethod
    def of_gcloud(cls, shell: Shell, project: str) -> Account:
        """Return gcloud's; `project` is the one that the calls are about.

        Raises:
            CommandError: There is no token.
        """
        token, _, quota_project = shell.run(_ACCOUNT_COMMAND).strip().partition("\t")
        if quota_project in _CURRENT_PROJECT:
            return cls(token, project)
        return cls(token, None if quota_project in _NO_PROJECT else quota_project)


class RedirectError(OSError):
    """The server answered with a redirect, which was not followed; the message says where it leads."""


def base_url(variable: str, default: str) -> str:
    """Return where an API is, as `pipeline.options.google_api.api_url` does.

    Raises:
        SettingsError: The variable holds no address fit for a token.
    """
    try:
        return api_url(variable, default)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def call(method: str, url: str, account: Account, *, timeout_s: float, body: bytes | None = None) -> Any:
    """Call a REST API and return what it answers, from JSON; redirects are not followed.

    Raises:
        HTTPError: The answer is an error.
        RedirectError: The answer is a redirect.
        OSError: There is no connection, or a broken one.
        ValueError: The answer is not JSON.
    """
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    request.add_unredirected_header("Authorization", f"Bearer {account.token}")
    if account.quota_project:
        request.add_header("x-goog-user-project", account.quota_project)
    # A proxy that the environment names must not see a call within this machine, which is in clear text.
    proxies: dict[str, str] | None = {} if is_loopback(url) else None
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler(proxies))
    with opener.open(request, timeout=timeout_s) as response:
        return json.load(response)


def reason(error: urllib.error.HTTPError) -> str:
    """Return `PERMISSION_DENIED: …` of Google's error body, else the status line."""
    try:
        said = json.load(error)["error"]
        return f"{said['status']}: {said['message']}"
    except (OSError, ValueError, LookupError, TypeError):
        return f"{error.code} {error.reason}"


def curl(url: str, *words: str) -> str:
    """Return the line that makes the same call when it is pasted; `words` are curl's, quoted already.

    It names no quota project: gcloud has words for some (CURRENT_PROJECT). curl follows no redirects by
    itself.
    """
    # In double quotes: the shell gets the token when the line is run; it is never printed.
    header = f'"Authorization: Bearer $({" ".join(TOKEN_COMMAND)})"'
    fixed = "curl --fail-with-body --silent --show-error --header"
    return " ".join([fixed, header, *words, shell_quote(url)])


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        fp.close()
        parts = urlsplit(newurl)
        raise RedirectError(
            f"{urlsplit(req.full_url).netloc} answered {code}, a redirect to {parts.scheme}://"
            f"{ascii(parts.netloc)[1:-1][:100]}. It was not followed, as the call carries your access token: "
            "see whether a proxy or a CLOUDSDK_API_ENDPOINT_OVERRIDES_ variable leads there"
        )
