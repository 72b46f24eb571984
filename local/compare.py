"""The comparison of both inference modes: one run each on the same schedule, one after the other."""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace

import orjson
from rich.console import Console

from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.report.last_screen import print_files, print_findings
from loadtest.run_folder import replace_file
from loadtest.terminal import say
from local.job_flags import JobFlags
from local.run import Outcome, run_local
from local.side_by_side import print_areas, print_side_by_side
from local.topics import Topics
from pipeline.options.job_options import ENDPOINT, LOCAL

MODES = (LOCAL, ENDPOINT)


def compare(
    options: RunOptions, flags: JobFlags, stop: Stop, console: Console
) -> tuple[list[str], list[str]]:
    """Run both modes, each into the folder of its name under `options.out`, with everything started anew.

    However it ends, the summaries there are by then are printed and written to compare.json: an object of the
    two by mode, null for a mode without one.

    Returns:
        The failures and the warnings of both, a line each. A mode that did not run is a failure.

    Raises:
        ChildError, RunError, PubsubError, GoogleAPICallError, FolderError: As `run_local` does.
    """
    outcomes: dict[str, Outcome] = {}
    try:
        for mode in MODES:
            if stop.is_set():
                break
            out = options.out / mode
            say(console, f"{mode} mode, into {out}", whole=True)
            topics = Topics.fresh(secrets.token_hex(4))
            of_mode = replace(topics.in_options(options), out=out)
            outcomes[mode] = run_local(of_mode, topics, flags.in_mode(mode), stop, console)
    finally:
        if outcomes:
            summaries = {mode: outcomes[mode].summary if mode in outcomes else None for mode in MODES}
            written = {mode: summary and asdict(summary) for mode, summary in summaries.items()}
            content = orjson.dumps(written, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
            replace_file(options.out / "compare.json", content)
            print_side_by_side(console, summaries)
            for mode, outcome in outcomes.items():
                say(console, f"{mode} mode:", style="bold")
                print_findings(console, outcome.summary)
                print_files(console, options.out / mode)
            print_files(console, options.out)
            print_areas(console, summaries)
    failures = [f"{mode} mode: {line}" for mode, outcome in outcomes.items() for line in outcome.failures]
    failures += [f"{mode} mode: interrupted before it began" for mode in MODES if mode not in outcomes]
    warnings = [f"{mode} mode: {line}" for mode, outcome in outcomes.items() for line in outcome.warnings]
    return failures, warnings
