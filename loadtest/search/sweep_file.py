"""The file of a sweep: rewritten after each combination, and what an interrupted sweep goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from loadtest.run_folder import replace_file
from loadtest.search.answer import Settings
from loadtest.search.objectives import ObjectiveError, Tier
from loadtest.search.outcome import Outcome, pareto
from loadtest.search.search_file import SEARCH, resume
from loadtest.search.tiers import TiersSearch

SWEEP = "sweep.json"
_VERSION = 1


class SweepFileError(Exception):
    """A file holds no sweep; the message says why, and what to do."""


@dataclass
class Sweep:
    """A sweep, as far as it has come.

    Attributes:
        values: Of each flag that is swept.
        job: The job's other flags, as one could type them.
        tier: That each search is for.
        settings: Of each search, so that all of them make the same loads.
        outcomes: So far, in the order of the combinations.
    """

    values: Mapping[str, tuple[str, ...]]
    job: str
    tier: Tier
    settings: Settings
    outcomes: list[Outcome] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write all of it, and which outcomes are in the Pareto set."""
        content = {
            "version": _VERSION,
            "values": self.values,
            "job": self.job,
            "tier": str(self.tier),
            "settings": asdict(self.settings),
            "outcomes": [
                {**asdict(outcome), "pareto": in_set}
                for outcome, in_set in zip(self.outcomes, pareto(self.outcomes), strict=True)
            ],
        }
        replace_file(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    @classmethod
    def read(cls, path: Path) -> Sweep:
        """Return what a file holds.

        Raises:
            SweepFileError: The file is missing, or is not one of ours.
        """
        try:
            content = orjson.loads(path.read_bytes())
            if content["version"] != _VERSION:
                raise ValueError(f"its version is {content['version']}, not {_VERSION}")
            return cls(
                {name: tuple(values) for name, values in content["values"].items()},
                content["job"],
                Tier.parse(content["tier"]),
                Settings(**content["settings"]),
                [
                    # What is in the set follows from the others.
                    Outcome.from_json({name: value for name, value in entry.items() if name != "pareto"})
                    for entry in content["outcomes"]
                ],
            )
        except FileNotFoundError as error:
            raise SweepFileError(f"{path} is missing: give the folder of a sweep that has begun") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ObjectiveError) as error:
            raise SweepFileError(
                f"{path} holds no sweep of this version ({error}): begin a new one"
            ) from error


def searches(folder: Path, sweep: Sweep) -> dict[str, TiersSearch]:
    """Return the search of each outcome, by its name; one that did not begin has none.

    Args:
        folder: Of the sweep.
        sweep: That the folder holds.

    Raises:
        SearchFileError: A file holds no search.
    """
    paths = {outcome.name: folder / outcome.folder / SEARCH for outcome in sweep.outcomes}
    return {name: resume(path) for name, path in paths.items() if path.is_file()}
