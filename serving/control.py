"""The control messages between supervisor and workers, pickled over a pipe, and the times they share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serving.options import Options

# For calls in flight when a worker is told to end: a client that never ends its body must not hold it up.
FINISH_WITHIN_S = 10

# How often a worker gives a heartbeat.
BEAT_S = 0.5


@dataclass(frozen=True)
class Begin:
    """To a worker, as its first message: which one it is.

    Attributes:
        number: Counted from 0; also that of its counter on the scoreboard.
        options: Of the container.
        alone: So many calls are to be computed each by itself first.
    """

    number: int
    options: Options
    alone: int = 0


@dataclass(frozen=True)
class Load:
    """To a worker: the model file is on this machine now."""

    model_file: Path


@dataclass(frozen=True)
class Follow:
    """To a worker: load what --model_pointer names, and follow it.

    Attributes:
        turn_file: By which workers take turns to load candidates; see `serving.turn`.
    """

    turn_file: Path


@dataclass(frozen=True)
class Up:
    """From a worker: it answers HTTP, though perhaps with 503."""


@dataclass(frozen=True)
class Ready:
    """From a worker: its model is loaded and warm."""

    model_id: str


@dataclass(frozen=True)
class Failed:
    """From a worker: the model does not load, here or anywhere."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """From a worker: it ends, for a call of its model hangs or its device is lost.

    Attributes:
        reason: In words.
        device: Whether the device is lost.
    """

    reason: str
    device: bool
