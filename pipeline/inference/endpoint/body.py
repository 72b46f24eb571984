"""Reads the body of a response, up to a limit: whatever a server sends, no more of it is kept."""

from __future__ import annotations

from io import BytesIO

import aiohttp

# Of an answer that is served. Vertex AI's own limit is 10 MB at most, and so is that of a message of Pub/Sub:
# https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type
MAX_ANSWER_BYTES = 16 * 1024 * 1024
# Of any other answer: enough for the reason in it.
MAX_ERROR_BYTES = 64 * 1024


async def read_body(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """Return at most `limit` bytes of the body, and whether there were more.

    If there were, the connection is closed. Content-Length is not asked: a server may send something else.
    """
    # Not a list of chunks: a server may send two bytes at a time, and an object of theirs has 40.
    body = BytesIO()
    async for chunk in response.content.iter_any():
        body.write(chunk)
        if body.tell() > limit:
            response.close()
            body.truncate(limit)
            return body.getvalue(), True
    return body.getvalue(), False
