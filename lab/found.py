"""What a search came to: the runs of its probes, read when they are looked at, and what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import words
from lab.probing import Probed, probe_folder, read_probe
from loadtest.bottleneck.diagnosis import Diagnosis
from loadtest.raw_log import RUN
from loadtest.report.limit_section import LimitSection, limit_section
from loadtest.report.search_section import Searched
from loadtest.search.search_file import SEARCH, resume
from loadtest.search.tiers import TiersSearch

HOLD = "hold"  # the folder


class Probes(Mapping[int, Probed]):
    """The runs of a search's probes, by number, those of an earlier process included.

    Each is read once it is looked at: a page needs three of them, and a raw log takes up to 50 MB.
    """

    def __init__(self, search: TiersSearch, out: Path) -> None:
        self._search = search
        self._out = out
        self._read: dict[int, Probed] = {}
        self.made: dict[int, Probed] = {}
        """Those of this process."""

    def __getitem__(self, number: int) -> Probed:
        if number in self.made:
            return self.made[number]
        if number not in self._read:
            if number not in set(self):
                raise KeyError(number)
            self._read[number] = read_probe(probe_folder(self._out, number))
        return self._read[number]

    def __iter__(self) -> Iterator[int]:
        for number, (_, observations) in enumerate(self._search.history, start=1):
            if observations and (number in self.made or (probe_folder(self._out, number) / RUN).is_file()):
                yield number

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, number: object) -> bool:
        return any(number == each for each in self)


@dataclass
class Found:
    """What a search came to.

    Attributes:
        search: With its history and boundaries.
        probed: The runs of its probes.
        ended: Why it ended early; empty where it did not, or where that is not known.
        held: The run just below the edge; None where none was asked for.
    """

    search: TiersSearch
    probed: Probes
    ended: str = ""
    held: Probed | None = None

    @property
    def complete(self) -> bool:
        """Whether every tier has an answer."""
        boundaries = self.search.boundaries()
        return not self.ended and all(one.converged and one.claim is not None for one in boundaries)

    @classmethod
    def read(cls, out: Path) -> Found:
        """Return what the folder of a search holds.

        Raises:
            SearchFileError: It holds no search.
            RawLogError, SettingsError: The run that was held is damaged.
        """
        search = resume(out / SEARCH)
        found = cls(search, Probes(search, out))
        if (out / HOLD / RUN).is_file() and found.probed:
            held = read_probe(out / HOLD)
            # An earlier search into the same folder may have left one.
            if held.log.facts.started >= found.probed[max(found.probed)].log.facts.started:
                found.held = held
        return found

    def searched(self, name: str = "") -> Searched:
        """Return what a page shows of it: the answer, the most telling runs, and what limits it."""
        runs = {of_run: probed.analysis for of_run, probed in self._telling().items()}
        return Searched(self.search, name, limit_on_page(self), runs)

    def _telling(self) -> Mapping[str, Probed]:
        """Return the runs for the page, by name: the answer's, and the failure above it; else the latest."""
        numbers = words.by_rate(self.search.history)
        boundary = self.search.boundaries()[0]
        rates = {"confirmed": boundary.claim, "fails": boundary.infeasible_min}
        shown = {
            f"{rate:,.6g}/s, {what}": self.probed[numbers[rate]]
            for what, rate in rates.items()
            if rate is not None and numbers.get(rate) in self.probed
        }
        if self.held:
            shown["held"] = self.held
        if not shown and self.probed:
            number = max(self.probed)
            shown[f"probe {number}"] = self.probed[number]
        return shown


def limit_of(found: Found) -> tuple[Probed, Diagnosis] | None:
    """Return the probe that failed most clearly, and what limits it; None where none failed.

    Just above the answer hardly anything is wrong yet: what limits a system shows where it is overloaded.
    """
    failed = [
        (observations[0].margin, number)
        for number, (_, observations) in enumerate(found.search.history, start=1)
        if observations and not observations[0].passed and number in found.probed
    ]
    if not failed:
        return None
    probed = found.probed[max(failed)[1]]
    diagnosis = probed.analysis.bottleneck
    return None if diagnosis is None else (probed, diagnosis)


def where(probed: Probed) -> str:
    """Return which probe it is, by its rate."""
    return f"at {probed.analysis.rates['offered'].value or 0.0:,.6g}/s"


def limit_on_page(found: Found) -> LimitSection | None:
    """Return what limits a search, for its page."""
    limit = limit_of(found)
    return None if limit is None else limit_section(limit[1], where(limit[0]))
