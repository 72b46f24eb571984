"""Keeps a Google access token, and renews it on a thread of its own before it expires."""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Mapping
from typing import Any

import google.auth
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport import Request
from google.auth.transport.requests import Request as HttpRequest
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter

from pipeline.request.errors import EndpointError, TransientError

_LOGGER = logging.getLogger(__name__)

# The scope that aiplatform.endpoints.predict requires.
SCOPE = "https://www.googleapis.com/auth/cloud-platform"

# A metadata server hands out its cached token until about 4 minutes before it expires; asking sooner returns
# the same token. google.auth waits as long (REFRESH_THRESHOLD).
RENEW_BEFORE_S = 225.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
# However long a token is good for: a lock waits for no more than 292 years.
_LONGEST_WAIT_S = 86_400.0


class TokenSource:
    """A source of one current access token. `current` never waits and never fails.

    A single thread renews the token: before it expires, or when a call reports it `refused`.

    Attributes:
        current: The token.
        quota_project: Whom Google Cloud is to count the calls for, if the credentials or
            GOOGLE_CLOUD_QUOTA_PROJECT say so.
    """

    def __init__(self, credentials: Credentials, request: Request | None = None) -> None:
        """Get the first token.

        Raises:
            TransientError: The token server could not be reached.
            EndpointError: It refused the credentials, or its certificate is not accepted.
        """
        self._credentials = credentials
        self._request = request or HttpRequest(_session())
        self.quota_project: str | None = credentials.quota_project_id
        self._changed = threading.Condition()
        self._renewal_wanted = False
        self._closed = False
        try:
            credentials.refresh(self._request)
        except TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise EndpointError(
                    f"no Google access token: {error}. If a proxy opens TLS, let "
                    "REQUESTS_CA_BUNDLE name a file of all authorities that are trusted, its own too"
                ) from error
            raise TransientError(f"no Google access token: {error}") from error
        except GoogleAuthError as error:
            raise EndpointError(f"no Google access token: {error}") from error
        self.current: str = credentials.token
        self._thread = threading.Thread(target=self._renew, name="access token", daemon=True)
        self._thread.start()

    @classmethod
    def default(cls) -> TokenSource:
        """Return a source of tokens for the application default credentials.

        Raises:
            TransientError: The token server could not be reached.
            EndpointError: There are no such credentials, or they were refused.
        """
        try:
            credentials, _ = google.auth.default(scopes=[SCOPE])
        except DefaultCredentialsError as error:
            raise EndpointError(
                f"no Google Cloud credentials ({error}): run `gcloud auth application-default login`"
            ) from error
        return cls(credentials)

    def refused(self, token: str) -> None:
        """Record that a server did not accept `token`. If it is still current, it is renewed, once."""
        with self._changed:
            if token == self.current:
                self._renewal_wanted = True
                self._changed.notify()

    def close(self) -> None:
        """Stop renewing."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        # The thread is not joined: a refresh may be in the middle of a call.

    def _renew(self) -> None:
        pause = 0.0
        failed = 0
        while True:
            with self._changed:
                if pause:
                    self._changed.wait_for(lambda: self._closed, pause)
                else:
                    self._changed.wait_for(lambda: self._closed or self._renewal_wanted, self._seconds_left())
                if self._closed:
                    return
            try:
                self._credentials.refresh(self._request)
            except Exception as error:
                # Whatever it is, such as the KeyError of an odd answer: nobody else renews the token.
                pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                if not failed:
                    _LOGGER.warning(
                        "could not renew the access token (%s: %s); trying on, every %g s at least",
                        type(error).__name__,
                        error,
                        _LONGEST_PAUSE_S,
                    )
                failed += 1
                continue
            if failed:
                _LOGGER.info("renewed the access token after %d failures", failed)
            pause, failed = 0.0, 0
            with self._changed:
                self.current = self._credentials.token
                self._renewal_wanted = False

    def _seconds_left(self) -> float | None:
        """Return the seconds until the token is to be renewed; None if it does not expire."""
        expiry = self._credentials.expiry
        if expiry is None:
            return None
        # google.auth keeps naive UTC.
        left = (expiry - datetime.datetime.now(datetime.UTC).replace(tzinfo=None)).total_seconds()
        # Tokens with a shorter life are renewed after half of it; never in a tight loop.
        return min(max(left - RENEW_BEFORE_S, left / 2, 1.0), _LONGEST_WAIT_S)


class _Direct(HTTPAdapter):
    """Calls a server itself, whatever proxy the environment names."""

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        return super().send(request, stream, timeout, verify, cert, proxies=None)


def _session() -> Session:
    """Return a session that gets tokens, of which no proxy sees one in clear text.

    By http it asks the metadata server of Google Cloud's machines, which no proxy reaches, and loopback.
    """
    session = Session()
    session.mount("http://", _Direct())
    return session
