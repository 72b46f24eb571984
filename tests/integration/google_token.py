"""Google's token service on loopback: a service account's signed assertion in, an access token out."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from functools import cache
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError

from tests.loopback import QuietHandler, serving

ACCOUNT = "tester@p-12345.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# What google.auth signs its assertions for, wherever it sends them (google.oauth2.service_account).
_AUDIENCE = "https://oauth2.googleapis.com/token"
# RFC 7523, section 2.1
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@cache
def _key() -> rsa.RSAPrivateKey:
    """Return the key of the account, the same for all servers: to make one takes up to half a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class TokenServer:
    """Exchanges assertions for tokens while the `with` block runs; each exchange gives a new token.

    An assertion must be signed by the key in the file of `write_key`, in time, and for the scope SCOPE.
    Tokens are good for `lifetime_s` by what the answer says, and at the endpoint until `revoke`.

    Attributes:
        expires_in: What the answer says: `lifetime_s`, or what a test sets.
    """

    def __init__(self, lifetime_s: int = 3600) -> None:
        self.expires_in: object = lifetime_s
        self._key = _key()
        self._lock = threading.Lock()
        self._refused: list[str] = []
        self._exchanges = 0
        self._first_good = 1
        self._running = ExitStack()

    @property
    def exchanges(self) -> int:
        """How many tokens have been given."""
        with self._lock:
            return self._exchanges

    @property
    def refused(self) -> list[str]:
        """Why assertions were refused, an entry each."""
        with self._lock:
            return list(self._refused)

    def revoke(self) -> None:
        """Make every token given so far a bad one."""
        with self._lock:
            self._first_good = self._exchanges + 1

    def accepts(self, authorization: str | None) -> bool:
        """Return whether an `Authorization` header carries a good token."""
        with self._lock:
            return authorization in {
                f"Bearer {_token(n)}" for n in range(self._first_good, self._exchanges + 1)
            }

    def write_key(self, path: Path) -> None:
        """Write a service account's key file, as GOOGLE_APPLICATION_CREDENTIALS names one."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key = {
            "type": "service_account",
            "project_id": "p-12345",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": ACCOUNT,
            "token_uri": self._url,
        }
        path.write_text(json.dumps(key))

    def __enter__(self) -> TokenServer:
        tokens = self

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                status, answer = tokens._exchange({name: values[0] for name, values in form.items()})
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._url = f"http://127.0.0.1:{server.server_address[1]}/token"
        self._running.enter_context(serving(server))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()

    def _exchange(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        why = self._why_not(form)
        with self._lock:
            if why is not None:
                self._refused.append(why)
                return 400, {"error": "invalid_grant", "error_description": why}
            self._exchanges += 1
            token = _token(self._exchanges)
        return 200, {"access_token": token, "expires_in": self.expires_in, "token_type": "Bearer"}

    def _why_not(self, form: dict[str, str]) -> str | None:
        if form.get("grant_type") != _GRANT:
            return f"grant_type {form.get('grant_type')!r}"
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        try:
            # Signature, iat, exp and aud.
            claims = jwt.decode(form.get("assertion", ""), certs=public, audience=_AUDIENCE)
        except (GoogleAuthError, ValueError) as error:
            return f"assertion: {error}"
        if claims.get("iss") != ACCOUNT or SCOPE not in str(claims.get("scope")).split():
            return f"iss {claims.get('iss')!r}, scope {claims.get('scope')!r}"
        return None


def _token(number: int) -> str:
    return f"token-{number}"
