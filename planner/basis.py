"""What a prediction rests on: each figure with whether it was measured, published, estimated or assumed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from planner.draws import Draws
from planner.law import Basis, Figure
from planner.unknowns import UNKNOWNS
from planner.unknowns import Basis as Evidence

_OF_EVIDENCE: dict[Evidence, Basis] = {
    Evidence.OFFICIAL: "published",
    Evidence.STUDIED: "published",
    Evidence.ASSUMED: "assumed",
}


@dataclass(frozen=True)
class Ground:
    """One thing that a prediction rests on.

    Attributes:
        what: In a few words.
        value: With unit and range, as text.
        basis: measured, published, estimated or assumed.
        source: Where it is from, or why it is assumed.
    """

    what: str
    value: str
    basis: Basis
    source: str


def of_figure(what: str, figure: Figure) -> Ground:
    """Return the ground of a figure."""
    spread = "" if figure.low == figure.high else f" ({figure.low:.3g} to {figure.high:.3g})"
    return Ground(what, f"{figure.value:.3g}{spread} {figure.unit}".rstrip(), figure.basis, figure.source)


def assumed(what: str, value: str, why: str) -> Ground:
    """Return the ground of something that nobody measured."""
    return Ground(what, value, "assumed", why)


def of_unknowns(names: Iterable[str], draws: Draws) -> list[Ground]:
    """Return the grounds of what is not published; a value that the user gave says so."""
    found = []
    for name in names:
        unknown = UNKNOWNS[name]
        if name in draws.fixed:
            value = f"{draws[name][0]:g} {unknown.unit}"
            found.append(Ground(unknown.meaning, value, "assumed", f"given: --known={name}"))
        else:
            value = f"{unknown.default:g} ({unknown.low:g} to {unknown.high:g}) {unknown.unit}"
            found.append(Ground(unknown.meaning, value, _OF_EVIDENCE[unknown.basis], unknown.source))
    return found
