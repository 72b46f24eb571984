"""How long one call is tried: the policy, and the state of a call under it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.inference.endpoint.responses import RetryError
from pipeline.request.errors import EndpointError, TransientError

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
# When a second token is refused, too, expiry is not the reason.
_TOKENS_TRIED = 2
# This much of the deadline is kept for an attempt after the last pause; of a short deadline, a quarter.
_LAST_ATTEMPT_S = 1.0


@dataclass(frozen=True)
class RetryPolicy:
    """How long a call is tried.

    Attributes:
        timeout_s: Seconds for one attempt.
        deadline_s: Seconds for all attempts, from the moment the first has a slot, without the scale-up.
        scale_up_wait_s: Seconds to wait for an endpoint without a replica.
    """

    timeout_s: float
    deadline_s: float
    scale_up_wait_s: float


class RetryState:
    """The state of one call: how many attempts failed, and how much time is left."""

    def __init__(self, url: str, retry_policy: RetryPolicy, clock: Callable[[], float]) -> None:
        self._url = url
        self._retry_policy = retry_policy
        self._clock = clock
        self._last_attempt_s = min(_LAST_ATTEMPT_S, retry_policy.deadline_s / 4)
        self.failed = 0
        self._deadline = float("inf")
        self._scaling_s = 0.0
        self._tokens: set[str] = set()
        self.start = 0.0  # epoch seconds of the first attempt

    def begin(self, now: float) -> None:
        """Begin an attempt. Only the first one, when it has its slot, starts the deadline."""
        if not self.start:
            self.start = now
            self._deadline = self._clock() + self._retry_policy.deadline_s

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; always above 0."""
        return max(0.001, self._deadline - self._clock())

    @property
    def scale_up_left_s(self) -> float:
        """Seconds that may still be spent on the scale-up.

        Raises:
            TransientError: No time is left.
        """
        left = self._retry_policy.scale_up_wait_s - self._scaling_s
        if left <= 0:
            raise TransientError(
                f"{self._url} was not ready for inference within {self._retry_policy.scale_up_wait_s:g} s "
                "(--endpoint_scale_up_wait_s)"
            )
        return left

    def exclude_scale_up(self, seconds: float) -> None:
        """Count these seconds as scale-up, and move the deadline by them."""
        self._scaling_s += seconds
        self._deadline += seconds

    def pause(self, failure: RetryError, random_: random.Random) -> float:
        """Return the seconds to wait before the next attempt.

        The pause is exponential with jitter, and at least what the server asked for. The last pause is cut
        short, so that there is one more attempt just before the deadline.

        Raises:
            TransientError: No time is left.
        """
        self.check_deadline(failure)
        longest = min(_FIRST_PAUSE_S * 2 ** min(self.failed - 1, 10), _LONGEST_PAUSE_S)
        pause = max(longest * random_.uniform(0.5, 1.0), failure.after_s)
        return min(pause, max(0.0, self._deadline - self._clock() - self._last_attempt_s))

    def check_deadline(self, failure: RetryError) -> None:
        """Check that there is time for another attempt.

        Raises:
            TransientError: There is not.
        """
        if self._deadline - self._clock() <= self._last_attempt_s:
            raise TransientError(
                f"{self._url} failed for {self._retry_policy.deadline_s:g} s (--endpoint_deadline_s), "
                f"{self.failed} times; at last: {failure}"
            ) from failure

    def count_refused(self, token: str) -> None:
        """Count a refused token.

        Raises:
            EndpointError: Renewing the token has not helped.
        """
        self._tokens.add(token)
        if len(self._tokens) >= _TOKENS_TRIED:
            raise EndpointError(
                f"{self._url} refuses the access tokens of these credentials (401), a new one too: "
                "check whose they are, and that the endpoint is Vertex AI's"
            )
