"""The file of a search: rewritten after every probe, and what an interrupted search goes on from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import orjson

from loadtest.run_folder import replace_file
from loadtest.search.answer import Settings
from loadtest.search.objectives import ObjectiveError, Tier
from loadtest.search.probes import Breach, Observation, Probe
from loadtest.search.tiers import TiersSearch

SEARCH = "search.json"
_VERSION = 2


class SearchFileError(Exception):
    """A file holds no search that can go on; the message says why, and what to do."""


def write(path: Path, search: TiersSearch) -> None:
    """Write settings, probes with their observations, and the boundaries so far."""
    content = {
        "version": _VERSION,
        "settings": asdict(search.settings),
        "tiers": [str(tier) for tier in search.tiers],
        "probes": [
            {"probe": asdict(probe), "observations": [asdict(one) for one in observations]}
            for probe, observations in search.history
        ],
        "boundaries": [asdict(boundary) for boundary in search.boundaries()],
    }
    replace_file(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def resume(path: Path) -> TiersSearch:
    """Return the search that a file holds, as far as it had come.

    It is led through its probes again, so that what it asks for next is what it would have asked for.

    Raises:
        SearchFileError: The file is missing, is not one of ours, or its probes are not those of this recipe.
    """
    try:
        content = orjson.loads(path.read_bytes())
        if content["version"] != _VERSION:
            raise ValueError(f"its version is {content['version']}, not {_VERSION}")
        search = TiersSearch([Tier.parse(text) for text in content["tiers"]], Settings(**content["settings"]))
        for entry in content["probes"]:
            probe, observations = Probe(**entry["probe"]), entry["observations"]
            if observations:
                search.observe(probe, [_observation(one) for one in observations])
            else:
                search.unreachable(probe)
    except FileNotFoundError as error:
        raise SearchFileError(f"{path} is missing: give the folder of a search that has begun") from error
    except (OSError, ValueError, TypeError, KeyError, ObjectiveError) as error:
        raise SearchFileError(f"{path} holds no search that can go on ({error}): begin a new one") from error
    return search


def _observation(entry: dict[str, object]) -> Observation:
    breach = entry.pop("first_breach")
    # JSON has no NaN: orjson writes null.
    values = {name: float("nan") if value is None else value for name, value in entry.items()}
    first = Breach(**breach) if isinstance(breach, dict) else None
    return Observation(**values, first_breach=first)  # type: ignore[arg-type]
