"""One attempt at an endpoint: an HTTP request on a pooled connection, its answer or why there is none."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp

from pipeline.inference.endpoint.body import MAX_ANSWER_BYTES, MAX_ERROR_BYTES, read_body
from pipeline.inference.endpoint.codec import EncodedCall
from pipeline.inference.endpoint.connection_errors import failure
from pipeline.inference.endpoint.proxy import Proxy
from pipeline.inference.endpoint.responses import HttpResponse
from pipeline.inference.endpoint.tls import tls_context
from pipeline.options.address import Address

# Shorter than our container's own, so that the server does not close a connection that is just being used.
_KEEPALIVE_S = 60.0
# For the connection alone, TLS with it: the log says soon that an address leads nowhere.
CONNECT_TIMEOUT_S = 5.0
# Whom Google Cloud is to count calls for: https://cloud.google.com/docs/quotas/set-quota-project
_QUOTA_PROJECT = "x-goog-user-project"
# For how many seconds an answer is waited for: our container does not compute a call whose time is over.
# https://cloud.google.com/apis/docs/system-parameters
_SERVER_TIMEOUT = "X-Server-Timeout"


def trusted_by(address: Address) -> ssl.SSLContext | bool:
    """Return what `open_session` takes for `tls`.

    Raises:
        EndpointError: SSL_CERT_FILE cannot be read.
    """
    return tls_context() if address.url.lower().startswith("https:") else True


def open_session(
    tls: ssl.SSLContext | bool, trace: aiohttp.TraceConfig | None = None, *, keep: bool = True
) -> aiohttp.ClientSession:
    """Open a pool of connections without a limit, on the running event loop; whoever calls limits the calls.

    Args:
        tls: See `trusted_by`.
        trace: Is told what happens to each request.
        keep: Whether a connection is kept for the next request.
    """
    connector = (
        aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S, ssl=tls)
        if keep
        else aiohttp.TCPConnector(limit=0, force_close=True, ssl=tls)
    )
    # Neither are bodies decompressed, as a few bytes may become gigabytes, nor are cookies kept.
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[] if trace is None else [trace],
    )


async def post(
    session: aiohttp.ClientSession,
    url: str,
    encoded: EncodedCall,
    *,
    timeout_s: float,
    token: str | None = None,
    quota_project: str | None = None,
    proxy: Proxy | None = None,
    trace_context: Any = None,
) -> HttpResponse:
    """POST a call once and return the answer, whatever its status.

    Args:
        session: Of `open_session`.
        url: Where to.
        encoded: The call.
        timeout_s: Seconds until the whole answer must be there.
        token: Access token to send; None: none.
        quota_project: Whom Google Cloud counts the call for; sent with a token only.
        proxy: The call goes through it; None: straight to the URL.
        trace_context: Handed to the session's trace.

    Raises:
        RetryError: There is no answer; another attempt may get one.
        EndpointError: There never will be one.
    """
    # What is not compressed has the size that is counted.
    headers = {**encoded.headers, "Accept-Encoding": "identity", _SERVER_TIMEOUT: f"{timeout_s:g}"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
        if quota_project:
            headers[_QUOTA_PROJECT] = quota_project
    if proxy is not None:
        headers.update(proxy.call_headers)
    connect_timeout = min(timeout_s, CONNECT_TIMEOUT_S)
    try:
        async with session.post(
            url,
            data=encoded.body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_timeout),
            allow_redirects=False,
            proxy=None if proxy is None else proxy.url,
            proxy_headers=None if proxy is None else proxy.tunnel_headers,
            trace_request_ctx=trace_context,
        ) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            limit = MAX_ANSWER_BYTES if response.status == 200 else MAX_ERROR_BYTES
            return HttpResponse(response.status, found, *await read_body(response, limit))
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        raise failure(error, url, proxy, timeout_s, connect_timeout) from error
