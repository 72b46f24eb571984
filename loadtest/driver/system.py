"""What a run is told of the system that it loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class System:
    """What is loaded, beside the names of topic and subscriptions.

    Attributes:
        facts: For the raw log, such as {"kind": "local job", "flags": "--max_batch_size=32"}.
        pids: Returns the ids of its processes on this machine, by name; asked once a second, as a process
            that is started again has another id.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    pids: Callable[[], Mapping[str, int]] = dict
