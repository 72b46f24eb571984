"""Pages of the List methods: sorted by name; the token says after which name to go on."""

from __future__ import annotations

from collections.abc import Sequence

from broker.errors import InvalidArgumentError

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_TOKEN_PREFIX = "after:"


def page_of(all_names: Sequence[str], page_size: int, page_token: str) -> tuple[list[str], str]:
    """Return one page of sorted `all_names`, and the token of the next ("" on the last).

    A token stays good when items before or after it come and go in between.

    Raises:
        InvalidArgumentError: A negative page size, or a token that this function did not make.
    """
    if page_size < 0:
        raise InvalidArgumentError(f"page_size must not be negative; it is {page_size}")
    if page_token and not page_token.startswith(_TOKEN_PREFIX):
        raise InvalidArgumentError(
            f"page_token {page_token[:80]!r} is not from this broker: pass next_page_token of the page before"
        )
    after = page_token.removeprefix(_TOKEN_PREFIX)
    size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    rest = [name for name in all_names if name > after]
    page = rest[:size]
    return page, _TOKEN_PREFIX + page[-1] if len(rest) > size else ""
