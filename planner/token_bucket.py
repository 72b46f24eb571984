"""A quota as a token bucket: a rate that is granted, and what was saved up while less was taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quota:
    """A limit on messages.

    Attributes:
        name: What is limited, such as "publish".
        rate: Messages a second.
        burst: Messages that may be taken at once after a pause.
    """

    name: str
    rate: float
    burst: float

    @classmethod
    def of_bytes(cls, name: str, bytes_per_s: float, message_bytes: float, burst_s: float = 60.0) -> Quota:
        """Return the limit on messages of a size that a limit on bytes is.

        A minute of it may be taken at once, as Google counts its quotas by the minute.
        """
        rate = bytes_per_s / message_bytes
        return cls(name, rate, rate * burst_s)


class TokenBucket:
    """A quota in use, in all draws at once."""

    def __init__(self, quota: Quota, draws: int) -> None:
        """Begin full."""
        self._quota = quota
        self._tokens = np.full(draws, quota.burst)

    def take(self, messages: Floats, step_s: float) -> Floats:
        """Return how many of [draws] messages are granted in a step."""
        self._tokens += self._quota.rate * step_s
        granted = np.minimum(messages, self._tokens)
        self._tokens = np.minimum(self._tokens - granted, self._quota.burst)
        return granted
