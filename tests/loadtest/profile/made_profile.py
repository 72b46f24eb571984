"""Made profiles."""

from __future__ import annotations

from loadtest.profile.profile import (
    FORMAT,
    VERSION,
    JobProfile,
    Law,
    Level,
    Machine,
    Point,
    Profile,
    Quantity,
)


def made_law(a: float, b: float) -> Law:
    ratio = {"mean": 1.05, "p50": 1.0, "p90": 1.2, "p99": 2.0}
    points = [Point(1.0, a + b, 100), Point(32.0, a + 32 * b, 50)]
    return Law(
        Quantity(a, "ms", 0.9 * a, 1.1 * a, 150),
        Quantity(b, "ms", None, None, 150),
        1.0,
        32.0,
        0.0,
        ratio,
        points,
    )


def made_profile(*, job: bool = True) -> Profile:
    level = Level(50.0, 50.0, True, True, 1.2, {"p50": 4.0}, {"queue": 1.0}, {"job": 2.0})
    made = JobProfile(
        "local", "--device=cpu", made_law(0.5, 0.01), made_law(0.3, 0.03), None, None, None, [level],
        {"rest": "too few calls"},
    )  # fmt: skip
    machine = Machine("made", 2, {"python": "3.11.7", "torch": None})
    return Profile(
        FORMAT, VERSION, "measured", "2026-01-31T12:00:00+00:00", machine, made if job else None, None
    )
