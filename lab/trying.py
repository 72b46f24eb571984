"""The change that a search names, tried: what was expected of it beside what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson
from rich.console import Console

from lab import words
from lab.found import Found, limit_of
from lab.outcomes import outcome_of
from lab.search import search_job, tell
from lab.words import amount
from loadtest.bottleneck.diagnosis import Change, Expectation
from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.report.sweep_section import SweepSection, sweep_section
from loadtest.run_folder import make_private, replace_file
from loadtest.search.outcome import Outcome
from loadtest.search.search_file import SEARCH, SearchFileError, resume, write
from loadtest.search.tiers import TiersSearch
from local.job_flags import JobFlags
from local.topics import Topics
from pipeline.options.job_options import FLAGS

TRIED = "tried"  # the folder
TRIED_FILE = "tried.json"


class NothingToTryError(Exception):
    """No change can be tried; the message says why."""


@dataclass(frozen=True)
class Tried:
    """A job with a change, searched like the one without it.

    Attributes:
        expected: Of the change; None where no formula told.
        measured: The same figure, in the same unit, with the change: the sustained rate, or the mean latency
            at the rate that the expectation is about; None where it was not measured.
        before: What the search without the change came to.
        after: With it.
        search: With it.
    """

    expected: Expectation | None
    measured: float | None
    before: Outcome
    after: Outcome
    search: TiersSearch

    def sentence(self) -> str:
        """Return the expectation beside the outcome."""
        expected = "no formula told what to expect"
        missing = "no rate is confirmed"
        unit: Literal["1/s", "s"] = "1/s"
        before = self.before.boundary.claim
        if self.expected is not None:
            figure, unit = "", self.expected.unit
            if self.expected.figure == "latency":
                figure, missing, before = "mean latency ", "nothing at that rate", self.expected.now
            bound = "at most " if self.expected.at_most else ""
            expected = f"expected, extrapolated: {figure}{bound}{amount(self.expected.value, unit)}"
        measured = missing if self.measured is None else amount(self.measured, unit)
        earlier = "" if before is None else f" ({amount(before, unit)} before)"
        return f"tried {self.after.name}: {expected}; measured: {measured}{earlier}"

    def write(self, out: Path) -> None:
        """Write all but the search, which has a file of its own, into the folder of the search before."""
        content = orjson.dumps(self.to_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        replace_file(out / TRIED / TRIED_FILE, content)

    @classmethod
    def read(cls, out: Path, search: TiersSearch) -> Tried | None:
        """Return what was tried after a search; None where nothing was.

        Args:
            out: Folder of the search.
            search: That it holds.

        Raises:
            SearchFileError: A file is damaged.
        """
        path = out / TRIED / TRIED_FILE
        if not path.is_file():
            return None
        try:
            content = orjson.loads(path.read_bytes())
            before, after = (Outcome.from_json(content[name]) for name in ("before", "after"))
            expected = content["expected"]
            tried = cls(
                Expectation(**expected) if expected else None,
                content["measured"],
                before,
                after,
                resume(out / TRIED / SEARCH),
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SearchFileError(f"{path} tells of no change that was tried ({error}): remove it") from error
        # An earlier search into the same folder may have left one.
        return tried if before.boundary == search.boundaries()[0] else None

    def section(self) -> SweepSection:
        """Return both searches side by side, for a page."""
        return sweep_section(
            (self.before, self.after), str(self.search.tiers[0]), "the change to try first, tried",
            [f"{self.sentence()}."],
        )  # fmt: skip

    def to_json(self) -> dict[str, object]:
        """Return all but the search, which has a file of its own."""
        outcomes = {"before": asdict(self.before), "after": asdict(self.after)}
        expected = None if self.expected is None else asdict(self.expected)
        return {"expected": expected, "measured": self.measured, **outcomes}


def to_try(change: Change, flags: JobFlags) -> tuple[Mapping[str, str], JobFlags]:
    """Return the flags of a change with their values, and the job's flags with them.

    Args:
        change: That a diagnosis names.
        flags: Of the job so far.

    Raises:
        NothingToTryError: It is no change of the job's flags, or the job refuses them.
    """
    changed = dict(flag.removeprefix("--").split("=", 1) for flag in change.flags)
    if not changed:
        raise NothingToTryError(f"the change to try first is made by no flag: {change.text}")
    if others := sorted(changed.keys() - {flag.name for flag in FLAGS}):
        raise NothingToTryError(f"--{others[0]} is no flag of a job on this machine: {change.text}")
    new = flags.followed_by(change.flags)
    if problems := new.problems(Topics.fresh("placeholder").job_arguments(), ()):
        raise NothingToTryError(f"the job refuses the change: {'; '.join(problems)}")
    return changed, new


def try_change(
    found: Found, options: RunOptions, flags: JobFlags, stop: Stop, console: Console | None
) -> Tried:
    """Make the change that a search names in a new job, and search that with the same loads.

    Args:
        found: By the search without the change.
        options: Of its runs.
        flags: Of its job.
        stop: Once set, the search ends.
        console: Told what is done, and why; None: nobody.

    Raises:
        NothingToTryError: The search names no change of the job's flags.
        RawLogError: The raw log of a probe that was made is gone.
        PubsubError, GoogleAPICallError: The broker cannot be used.
    """
    limit = limit_of(found)
    if limit is None:
        raise NothingToTryError("no probe of this search failed, so nothing is known to limit it")
    probed, diagnosis = limit
    if diagnosis.limit == "none":
        raise NothingToTryError("nothing known limits the probe that failed most clearly")
    changed, new = to_try(diagnosis.change, flags)
    tell(console, f"trying {' '.join(diagnosis.change.flags)}: {diagnosis.change.text}")
    out = options.out / TRIED
    make_private(out)
    search = TiersSearch(found.search.tiers, found.search.settings)
    write(out / SEARCH, search)  # also of a job that does not start
    again = search_job(options, new, search, out, stop, console)
    before = outcome_of(found.search, options.out, {}, found.ended)
    after = outcome_of(search, out, changed, again.ended)
    expected = diagnosis.expected
    measured = after.boundary.claim
    if expected is not None and expected.figure == "latency":
        failed = next(number for number, each in found.probed.items() if each is probed)
        measured = _mean_latency_s(again, found.search.history[failed - 1][0].rate)
    tried = Tried(expected, measured, before, after, search)
    tried.write(options.out)
    return tried


def _mean_latency_s(found: Found, rate: float) -> float | None:
    """Return the mean latency of a search's latest probe of a rate; None where none was made."""
    number = words.by_rate(found.search.history).get(rate)
    if number is None or number not in found.probed:
        return None
    mean_ms = found.probed[number].analysis.corrected.figures["mean"].value
    return None if mean_ms is None else mean_ms / 1e3
