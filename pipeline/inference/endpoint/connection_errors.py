"""Why there was no HTTP answer, in words, and whether another attempt may help."""

from __future__ import annotations

import errno
import re
from urllib.parse import urlsplit

import aiohttp

from pipeline.inference.endpoint.proxy import Proxy
from pipeline.inference.endpoint.responses import RetryError, printable
from pipeline.inference.endpoint.tls import tls_error, tls_failure
from pipeline.request.errors import EndpointError

_REASON_BYTES = 500

# How a server of TLS that is asked in plain HTTP begins its complaint: a record of type 21, alert.
_TLS_ALERT = re.compile(r"\\x15\\x03|\x15\x03")
_UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def failure(
    error: aiohttp.ClientError | OSError,
    url: str,
    proxy: Proxy | None,
    timeout_s: float,
    connect_timeout_s: float,
) -> RetryError | EndpointError:
    """Return what to raise for an attempt that has got no HTTP answer.

    Args:
        error: As aiohttp raised it.
        url: That was called.
        proxy: That it was called through.
        timeout_s: Of the attempt.
        connect_timeout_s: For the connection, within the attempt.
    """
    server = urlsplit(url).netloc
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused_by(proxy, error, server)
    # Through a proxy, no other name than its own is looked up here.
    lost = aiohttp.ClientProxyConnectionError, aiohttp.ClientConnectorDNSError
    if proxy is not None and isinstance(error, lost):
        return RetryError(f"{proxy} cannot be reached ({_os_error(error)}). Check that variable, or NO_PROXY")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        at = proxy or server
        return RetryError(
            f"no connection to {at} within {connect_timeout_s:.3g} s: it is overloaded, or the way there is "
            "blocked. Check the address, firewall and VPC, and whether it needs HTTPS_PROXY",
            congested=True,
        )
    if isinstance(error, TimeoutError):
        return RetryError(f"no answer within {timeout_s:.3g} s", congested=True)
    tls = tls_error(error)
    if tls is not None:
        return tls_failure(tls, url)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return RetryError(
            f"the name {error.host} is not known here ({_os_error(error)}). Check the name (--endpoint_url, "
            "--endpoint_location), and this machine's DNS"
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return _no_connection(error, server)
    if isinstance(error, aiohttp.ClientPayloadError):
        return RetryError("the connection was closed in the middle of the answer")
    if isinstance(error, aiohttp.ClientResponseError):
        # It has the form of a status of the server's, and is the parser's.
        if _TLS_ALERT.search(error.message):
            return EndpointError(f"{url}: the server speaks TLS. Give --endpoint_url with https://")
        return RetryError(f"the answer is not HTTP: {printable(error.message, _REASON_BYTES)}")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return RetryError("the server closed the connection without an answer")
    return RetryError(printable(str(error), _REASON_BYTES) or type(error).__name__)


def _refused_by(
    proxy: Proxy | None, error: aiohttp.ClientHttpProxyError, server: str
) -> RetryError | EndpointError:
    said = f"{proxy} answered {error.status} {printable(error.message, _REASON_BYTES)}".rstrip()
    if error.status == 407:
        return EndpointError(f"{said}. It wants a user and a password: http://USER:PASSWORD@HOST:PORT")
    if 400 <= error.status < 500 and error.status not in (408, 429):
        return EndpointError(
            f"{said}: it opens no way to {server}. Have it allowed there, or named by NO_PROXY"
        )
    return RetryError(f"{said}, asked for a way to {server}")


def _no_connection(error: aiohttp.ClientConnectorError, server: str) -> RetryError:
    number = error.os_error.errno
    if number == errno.ECONNREFUSED:
        return RetryError(
            f"nothing listens at {server} (connection refused). Check that it runs, and the port"
        )
    if number in _UNREACHABLE:
        return RetryError(
            f"there is no way to {server} ({_os_error(error)}). Check the address, VPC and peering"
        )
    return RetryError(f"no connection to {server} ({_os_error(error)})")


def _os_error(error: aiohttp.ClientConnectorError) -> str:
    reason = error.os_error
    return printable(reason.strerror or str(reason) or type(reason).__name__, _REASON_BYTES)
