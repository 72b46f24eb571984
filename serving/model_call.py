"""One call on its way through the model."""

from __future__ import annotations

from dataclasses import dataclass

from serving.exchange import Answer, Exchange


@dataclass(slots=True, eq=False)
class ModelCall:
    """A call that waits for the model, or is being computed.

    Attributes:
        exchange: Carries the answer; read on the model's thread only for `gone` and the headers.
        body: As it came.
        arrived: Monotonic seconds at which it was queued.
        deadline: Monotonic seconds after which nobody waits for the answer; None: not known.
        size: What it counts in a batch: calls, as the rows of a body are not known before it is parsed.
        done: Whether it is answered.
    """

    exchange: Exchange
    body: bytes
    arrived: float
    deadline: float | None = None
    size: int = 1
    done: bool = False

    def is_wanted(self, now: float) -> bool:
        """Return whether somebody still waits for the answer."""
        return not self.exchange.gone and (self.deadline is None or now < self.deadline)

    def finish(self, answer: Answer) -> None:
        """Answer the call, on the event loop; later answers are dropped."""
        if self.done:
            return
        self.done = True
        self.exchange.answer(answer)
