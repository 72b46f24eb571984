"""The proxy that calls to an endpoint go through, by HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from pipeline.options.address import Address, is_loopback
from pipeline.request.errors import EndpointError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """A proxy.

    Attributes:
        url: Its own, without user and password.
        variable: Of the environment, that names it.
        tunnel_headers: Of a call of CONNECT: user and password, if the variable has them.
        call_headers: The same, of each call where there is no tunnel.
    """

    url: str
    variable: str
    tunnel_headers: dict[str, str] = field(repr=False)
    call_headers: dict[str, str] = field(repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.url} ({self.variable})"


def proxy_for(address: Address) -> Proxy | None:
    """Return the proxy for calls to `address`; None where they go straight there.

    Calls within this machine never go through one. Others by https pass it in a tunnel (CONNECT), so that it
    sees neither token nor body. By http it would see both, and `address` has no token there.

    It is asked once, not for each call, as aiohttp's own `trust_env` does, which would also read .netrc.

    Raises:
        EndpointError: The variable holds no proxy for HTTP.
    """
    parts = urlsplit(address.url)
    scheme, variable = parts.scheme.lower(), f"{parts.scheme.upper()}_PROXY"
    if is_loopback(address.url) or (address.needs_token and scheme != "https"):
        return None
    proxies = getproxies()
    # A host that NO_PROXY names with its port is looked for with it.
    host = f"{parts.hostname}:{parts.port or _DEFAULT_PORTS[scheme]}"
    text = proxies.get(scheme)
    if not text or proxy_bypass(host):
        return None
    try:
        proxy = urlsplit(text if "://" in text else f"http://{text}")
        if proxy.scheme not in _DEFAULT_PORTS or not proxy.hostname:
            raise ValueError
        server = f"[{proxy.hostname}]" if ":" in proxy.hostname else proxy.hostname
        url = f"{proxy.scheme}://{server}:{proxy.port or _DEFAULT_PORTS[proxy.scheme]}"
    except ValueError:
        # Its text is not told: it may hold a password.
        raise EndpointError(
            f"{variable} names no proxy for HTTP, such as http://HOST:PORT. Correct it, or have NO_PROXY "
            f"name {parts.hostname} if calls go straight there"
        ) from None
    headers = {}
    if proxy.username:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return Proxy(url, variable, headers, {}) if scheme == "https" else Proxy(url, variable, {}, headers)
