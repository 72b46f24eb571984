"""Google access tokens, renewed on a thread of their own before they expire."""

from __future__ import annotations

import datetime
import logging
import threading

import google.auth
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport import Request
from google.auth.transport.requests import Request as HttpRequest

from pipeline.request.errors import EndpointError, TransientError

_LOGGER = logging.getLogger(__name__)

# The scope that aiplatform.endpoints.predict asks for.
SCOPE = "https://www.googleapis.com/auth/cloud-platform"

# A metadata server hands out its cached token until about 4 minutes before it expires; asking sooner gives
# the same one again. google.auth waits as long (REFRESH_THRESHOLD).
RENEW_BEFORE_S = 225.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


class TokenSource:
    """Keeps one current access token. `current` never waits and never fails.

    A single thread renews the token: before it expires, or when a call reports it `refused`.
    """

    def __init__(self, credentials: Credentials, request: Request | None = None) -> None:
        """Gets the first token.

        Raises:
            TransientError: the token server could not be reached.
            EndpointError: it refused the credentials.
        """
        self._credentials = credentials
        self._request = request or HttpRequest()
        self._changed = threading.Condition()
        self._wanted = False
        self._closed = False
        try:
            credentials.refresh(self._request)
        except TransportError as error:
            raise TransientError(f"no access token for the endpoint: {error}") from error
        except GoogleAuthError as error:
            raise EndpointError(f"no access token for the endpoint: {error}") from error
        self.current: str = credentials.token
        self._thread = threading.Thread(target=self._renew, name="endpoint token", daemon=True)
        self._thread.start()

    @classmethod
    def default(cls) -> TokenSource:
        """Tokens of the application default credentials.

        Raises:
            EndpointError: there are none.
        """
        try:
            credentials, _ = google.auth.default(scopes=[SCOPE])
        except DefaultCredentialsError as error:
            raise EndpointError(
                f"no Google Cloud credentials to call the endpoint with ({error}): run `gcloud auth "
                "application-default login`"
            ) from error
        return cls(credentials)

    def refused(self, token: str) -> None:
        """Tells that a server did not take `token`. If it is still the current one, it is renewed, once."""
        with self._changed:
            if token == self.current:
                self._wanted = True
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        # Not joined: a refresh may be in the middle of a call.

    def _renew(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                if pause:
                    self._changed.wait_for(lambda: self._closed, pause)
                else:
                    self._changed.wait_for(lambda: self._closed or self._wanted, self._seconds_left())
                if self._closed:
                    return
            try:
                self._credentials.refresh(self._request)
            except GoogleAuthError as error:
                pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                _LOGGER.warning(
                    "could not renew the endpoint's access token: %s; again in %g s", error, pause
                )
                continue
            pause = 0.0
            with self._changed:
                self.current = self._credentials.token
                self._wanted = False

    def _seconds_left(self) -> float | None:
        """Until the token is to be renewed; None for one that does not expire."""
        expiry = self._credentials.expiry
        if expiry is None:
            return None
        # google.auth keeps naive UTC.
        left = (expiry - datetime.datetime.now(datetime.UTC).replace(tzinfo=None)).total_seconds()
        # At half time for tokens that do not live as long; never in a tight loop.
        return max(left - RENEW_BEFORE_S, left / 2, 1.0)
