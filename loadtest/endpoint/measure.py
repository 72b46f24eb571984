"""Load an endpoint or a container directly, and say what it takes: one measurement from end to end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from loadtest.endpoint.connections import NotServedError
from loadtest.endpoint.experiment import run_endpoint
from loadtest.endpoint.options import EndpointOptions
from loadtest.endpoint.progress import shown_progress
from loadtest.endpoint.report import JSON_FILE, print_report, to_json
from loadtest.interrupt import Stop, stop_on_signals
from loadtest.run_folder import FolderError, held, replace_file
from loadtest.terminal import complain, make_console
from pipeline.options.address import Address
from pipeline.request.errors import EndpointError, TransientError


@dataclass(frozen=True)
class Endpoint:
    """What is called.

    Attributes:
        address: Of it.
        healthy_after_s: Seconds that it took to start; None where it was there before.
    """

    address: Address
    healthy_after_s: float | None = None


Serving = Callable[[EndpointOptions, Stop], AbstractContextManager[Endpoint]]
"""Serves for as long as it is measured."""


def already_there(options: EndpointOptions, stop: Stop) -> AbstractContextManager[Endpoint]:
    """Serve nothing: the options name what is there."""
    return nullcontext(Endpoint(options.target.address))


def measure(options: EndpointOptions, serving: Serving) -> int:
    """Measure an endpoint, print what was found, and return the exit code.

    Args:
        options: Of a command line without problems.
        serving: Serves it meanwhile. Its own errors come through.

    Returns:
        0; 1 if no call was served, a figure is INVALID, or it was interrupted.
    """
    try:
        with held(options.out), stop_on_signals() as stop, serving(options, stop) as endpoint:
            target = replace(options.target, address=endpoint.address)
            with shown_progress(quiet=options.quiet) as progress:
                report = run_endpoint(replace(options, target=target), progress=progress, stop=stop)
            report.healthy_after_s = endpoint.healthy_after_s
            content = to_json(report)
            replace_file(options.out / JSON_FILE, content)
    except (FolderError, NotServedError, EndpointError, TransientError) as error:
        complain(f"loadtest: {error}")
        return 1
    except KeyboardInterrupt:
        complain("loadtest: ended at once by a second interrupt; no figures were written")
        return 130
    if options.json:
        sys.stdout.write(content.decode())
    else:
        print_report(make_console(), report, options.out)
    return 1 if report.invalid or report.partial else 0
