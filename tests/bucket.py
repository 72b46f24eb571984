"""Cloud Storage's JSON API on loopback, as far as objects are read by it."""

from __future__ import annotations

from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from tests.loopback import QuietHandler


class Bucket(ThreadingHTTPServer):
    """One bucket, named `bucket`.

    Attributes:
        objects: What it holds, by name.
        fails: Every request is refused with 403.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.fails = False


class _Handler(QuietHandler):
    server: Bucket

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix("/download")
        name = unquote(path.removeprefix("/storage/v1/b/bucket/o/"))
        data = self.server.objects.get(name)
        if self.server.fails:
            self._answer(403, orjson.dumps({"error": {"code": 403, "message": "no access"}}))
        elif data is None:
            self._answer(404, orjson.dumps({"error": {"code": 404, "message": f"No such object: {name}"}}))
        elif parse_qs(url.query).get("alt") == ["media"]:
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1] if last else data[int(first) :]
            if part:
                self._answer(206, part, f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
            else:
                self._answer(416, b"", f"bytes */{len(data)}")
        else:
            about = {"bucket": "bucket", "name": name, "size": str(len(data)), "generation": "1"}
            self._answer(200, orjson.dumps(about))

    def _answer(self, status: int, body: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)
