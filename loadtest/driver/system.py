"""What a run is told of the system that it loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from loadtest.metrics.sampler import Source


def _no_sources() -> AbstractContextManager[Sequence[Source]]:
    return nullcontext(())


@dataclass(frozen=True)
class System:
    """What is loaded, beside the names of topic and subscriptions.

    Attributes:
        facts: For the raw log, such as {"kind": "local job", "flags": "--max_batch_size=32"}.
        pids: Returns the ids of its processes on this machine, by name; asked once a second, as a process
            that is started again has another id.
        sources: Opens what is sampled beside these processes, such as GPUs, for one run.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    pids: Callable[[], Mapping[str, int]] = dict
    sources: Callable[[], AbstractContextManager[Sequence[Source]]] = _no_sources
