"""The check before each measurement: many calls at once, whose answers must be those to their own rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp

from benchmarks.serving.bodies import Form
from benchmarks.serving.served_models import ROWS, ServedModel

AT_ONCE = 64
_CALL_WITHIN_S = 60.0


class WrongError(Exception):
    """A server failed a call or gave a wrong answer: its figures are worth nothing. The message says how."""


def check(url: str, form: Form, model: ServedModel) -> None:
    """Send 256 rows, 64 at once, and compare each answer with the model's own.

    Raises:
        WrongError: An answer is none, or belongs to another row.
    """
    asyncio.run(_check(url, form, model, range(ROWS)))


def answers_right(url: str, form: Form, model: ServedModel) -> bool:
    """Return whether a server gives one right answer by now."""
    try:
        asyncio.run(_check(url, form, model, range(1)))
    except WrongError:
        return False
    return True


async def _check(url: str, form: Form, model: ServedModel, numbers: Sequence[int]) -> None:
    headers = {**form.headers(model.width), "Accept-Encoding": "identity"}
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=_CALL_WITHIN_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def call(number: int) -> None:
            body = form.encode(model.rows[number])
            try:
                async with session.post(url, data=body, headers=headers) as response:
                    content = await response.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise WrongError(f"no answer to row {number}: {type(error).__name__}: {error}") from None
            if response.status != 200:
                raise WrongError(f"row {number} was answered with {response.status}: {content[:200]!r}")
            try:
                answer = form.decode(content, response.headers)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise WrongError(f"row {number}: no such answer: {error}: {content[:200]!r}") from None
            if not model.is_right(number, answer):
                raise WrongError(f"row {number} has a wrong answer, maybe another row's")

        # All of them, so that none is in flight any more when the first error is told.
        outcomes = await asyncio.gather(*map(call, numbers), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
