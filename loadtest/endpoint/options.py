"""What `loadtest endpoint` is to measure, out of its flags; all that is wrong with them is said at once."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.endpoint.bodies import decode_records
from loadtest.endpoint.caller import Target
from loadtest.endpoint.flags import DEFAULT_OBJECTIVE, FLAGS, NAMES, OF_A_SCHEDULE, make_parser
from loadtest.records import Records, RecordsError
from loadtest.schedule.shapes import Schedule
from loadtest.schedule.trace import NO_TRACE, TraceError
from loadtest.search.objectives import Tier
from pipeline.options.address import RAW, address
from pipeline.options.spelling import unknown_flags, with_underscores
from pipeline.request.input_spec import Inputs, InputSpec

# A probe of 1 s is the shortest that the slope of a backlog can be told of, with some room.
LEAST_PROBE_S = 4.0


@dataclass(frozen=True)
class EndpointOptions:
    """What is measured, without problems.

    Attributes:
        target: What is called.
        inputs: Of the calls' rows, over and over.
        out: Folder for the figures and the raw logs.
        rows: Batch sizes, ascending.
        connections: Numbers of connections, ascending.
        max_connections: Most calls in flight of a schedule.
        tier: Objectives, all to be met.
        schedule: That is sent in place of the search; None for the search.
        seconds: Of each measurement of a size or a number of connections.
        start: First rate of the search; None for a quarter of what was possible.
        probe_s: See `search.answer.Settings`; so are the next three.
        probe_max_s: As above.
        budget_s: As above.
        seed: As above; of the arrivals, too.
        ready_timeout: Seconds to wait for the first call that is served.
        json: Whether JSON is printed.
        quiet: Whether no progress is shown.
    """

    target: Target
    inputs: Sequence[Inputs]
    out: Path
    rows: tuple[int, ...]
    connections: tuple[int, ...]
    max_connections: int
    tier: Tier
    schedule: Schedule | None
    seconds: float
    start: float | None
    probe_s: float
    probe_max_s: float
    budget_s: float
    seed: int
    ready_timeout: float
    json: bool
    quiet: bool


def parse(
    arguments: Sequence[str], parser: argparse.ArgumentParser | None = None, records: Records | None = None
) -> tuple[EndpointOptions | None, list[str]]:
    """Return the options, or None and every problem with them.

    Args:
        arguments: The flags.
        parser: From `make_parser`.
        records: In place of those of --input.
    """
    named, unknown = (parser or make_parser()).parse_known_args(with_underscores(arguments, NAMES))
    texts: dict[str, Any] = vars(named)
    found = unknown_flags(unknown, NAMES)
    parsed: dict[str, Any] = {}
    for flag in FLAGS:
        # Empty is how workflow tools write what is not given.
        text = texts[flag.name] or flag.default
        parsed[flag.name] = None
        if text is None:
            if flag.required:
                found.append(f"--{flag.name} is missing: give {flag.help}")
            continue
        try:
            parsed[flag.name] = flag.parse(text)
        except (RecordsError, TraceError) as error:
            found += [f"--{flag.name}: {problem}" for problem in error.problems]
        except ValueError as error:
            found.append(f"--{flag.name}: {error}")
    tier, problems = _tier(texts["objective"] or [DEFAULT_OBJECTIVE])
    found += problems
    schedule, problems = _schedule(parsed)
    found += problems
    if not found and not LEAST_PROBE_S <= parsed["probe_s"] <= parsed["probe_max_s"]:
        found.append(
            f"--probe_s={parsed['probe_s']:g} must be from {LEAST_PROBE_S:g}, as the first probes last a "
            f"quarter of it, to --probe_max_s ({parsed['probe_max_s']:g})"
        )
    if found:
        return None, found
    target, problems = _target(parsed)
    inputs, more = _inputs(parsed if records is None else {**parsed, "input": records})
    problems += more
    if target is None or tier is None or problems:
        return None, problems
    rows = parsed["rows"] or ((1, 8, 32, 128) if schedule is None else (1,))
    options = EndpointOptions(
        target, inputs, parsed["out"], rows, parsed["connections"], parsed["max_connections"], tier,
        schedule, parsed["seconds"], parsed["start"], parsed["probe_s"], parsed["probe_max_s"],
        parsed["budget"], _or(parsed["seed"], 1), _or(parsed["ready_timeout"], 120.0), texts["json"],
        texts["quiet"],
    )  # fmt: skip
    return options, []


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _tier(objectives: Sequence[str]) -> tuple[Tier | None, list[str]]:
    try:
        tier = Tier.parse(",".join(objectives))
    except ValueError as error:
        return None, [f"--objective: {error}"]
    strange = [one for one in tier.objectives if one.metric in ("dead_letters", "duplicates")]
    return tier, [f"--objective: {one}: a call to an endpoint has no {one.metric}; choose errors or lost"
                  for one in strange]  # fmt: skip


def _schedule(parsed: Mapping[str, Any]) -> tuple[Schedule | None, list[str]]:
    """Return the schedule that the flags ask for; None where they ask for the search."""
    given = [name for name in OF_A_SCHEDULE if parsed[name] is not None]
    if parsed["rate"] is None and parsed["trace"] is None:
        return None, [f"--{name} belongs to a schedule: give --rate or --trace with it" for name in given]
    shape = _or(parsed["schedule"], "constant" if parsed["trace"] is None else "trace")
    rate, duration = parsed["rate"], _or(parsed["duration"], 30.0)
    if parsed["trace"] is not None:
        if rate is not None or parsed["duration"] is not None:
            return None, ["--rate and --duration have no part in --trace: leave them out"]
        rate, duration = parsed["trace"].rate, parsed["trace"].duration
    found = [
        f"--{name}={number:g} must be a number above 0"
        for name, number in (("rate", rate), ("duration", duration))
        if not 0 < number < float("inf")
    ]
    if found:
        return None, found
    schedule = Schedule(
        shape, rate, duration, _or(parsed["warmup"], 0.0), _or(parsed["seed"], 1), parsed["to_rate"],
        parsed["steps"], parsed["period"], parsed["width"], _or(parsed["trace"], NO_TRACE),
    )  # fmt: skip
    return schedule, schedule.problems()


def _target(parsed: Mapping[str, Any]) -> tuple[Target | None, list[str]]:
    protocol: str = parsed["endpoint_protocol"]
    try:
        where = address(
            endpoint=parsed["endpoint"],
            location=parsed["endpoint_location"],
            url=parsed["endpoint_url"],
            token_host=parsed["endpoint_token_host"],
            project=parsed["project"],
            protocol=protocol,
            model=parsed["endpoint_model"],
        )
    except ValueError as error:
        if parsed["endpoint"] is None and parsed["endpoint_url"] is None:
            return None, [
                "--endpoint_url is missing: give the URL of a container, or --endpoint of Vertex AI"
            ]
        return None, [str(error)]
    spec: InputSpec = parsed["input_shape"]
    if protocol == RAW and len(spec.tensors) != 1:
        return None, ["--endpoint_protocol=raw: takes one input, and --input_shape names several"]
    return Target(where, protocol, parsed["endpoint_timeout_s"]), []


def _inputs(parsed: Mapping[str, Any]) -> tuple[list[Inputs], list[str]]:
    records: Records = parsed["input"]
    if parsed["payload_seed"] is not None:
        records = records.shuffled(parsed["payload_seed"])
    return decode_records(records.bodies, parsed["input_shape"])
