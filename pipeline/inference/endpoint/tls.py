"""TLS with an endpoint: whom it trusts, and what it means when it fails."""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit

import aiohttp

from pipeline.inference.endpoint.responses import RetryError, printable
from pipeline.request.errors import EndpointError

_REASON_BYTES = 500

# X509_V_ERR_… of OpenSSL: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
_CERTIFICATE = {
    _NOT_YET_VALID: "Check this machine's clock",
    _EXPIRED: "Have it renewed, or check this machine's clock",
    _OTHER_NAME: "Call the server by a name that its certificate holds",
    _OTHER_ADDRESS: "Call the server by a name that its certificate holds",
}
_TRUST = (
    "If it is of a certificate authority of your own, or of a proxy that opens TLS, have SSL_CERT_FILE name "
    "a file of all authorities that are trusted, that one too"
)
# OpenSSL's names for: what came back is not TLS.
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}
)
# And for what the two cannot agree on, whenever they try.
_NO_AGREEMENT = frozenset(
    {
        "UNSUPPORTED_PROTOCOL",
        "NO_PROTOCOLS_AVAILABLE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_UNRECOGNIZED_NAME",
    }
)


def tls_context() -> ssl.SSLContext:
    """Return what is trusted: the system's certificate authorities, or those of SSL_CERT_FILE, SSL_CERT_DIR.

    aiohttp's own context is made when it is imported.

    Raises:
        EndpointError: SSL_CERT_FILE cannot be read; OpenSSL would trust nobody, and say nothing.
    """
    file = os.environ.get("SSL_CERT_FILE")
    try:
        if file:
            with open(file, "rb"):
                pass
    except OSError as error:
        raise EndpointError(f"SSL_CERT_FILE: {file!r} cannot be read ({error.strerror})") from None
    return ssl.create_default_context()


def tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return the error of TLS that aiohttp has wrapped in `error`; None if that is of another kind."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        found: BaseException | None = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        found = error.os_error
    else:
        found = error.__cause__
    return found if isinstance(found, ssl.SSLError) else None


def tls_failure(error: ssl.SSLError, url: str) -> RetryError | EndpointError:
    """Return what to raise for an attempt that ended with `error`."""
    server = urlsplit(url).netloc
    if isinstance(error, ssl.SSLCertVerificationError):
        why = printable(error.verify_message, _REASON_BYTES).rstrip(".")
        advice = _CERTIFICATE.get(error.verify_code, _TRUST)
        return EndpointError(f"{url}: the certificate of {server} is not accepted ({why}). {advice}")
    if error.reason in _NO_TLS:
        return EndpointError(
            f"{url}: the server speaks no TLS ({error.reason}). Check the port, or give http://"
        )
    if error.reason in _NO_AGREEMENT:
        return EndpointError(
            f"{url}: the server refuses TLS as this job speaks it ({error.reason}). Check its versions and "
            "ciphers, and the name it is called by"
        )
    return RetryError(f"TLS with {server} failed ({error.reason or error})")
