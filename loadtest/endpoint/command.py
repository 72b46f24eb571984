"""`python -m loadtest endpoint`: load an endpoint or a container directly, and say what it takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from loadtest.endpoint.connections import NotServedError
from loadtest.endpoint.experiment import run_endpoint
from loadtest.endpoint.options import parse
from loadtest.endpoint.progress import shown_progress
from loadtest.endpoint.report import JSON_FILE, print_report, to_json
from loadtest.interrupt import stop_on_signals
from loadtest.run_folder import FolderError, held, replace_file
from loadtest.terminal import make_console
from pipeline.request.errors import EndpointError, TransientError


def endpoint_command(arguments: Sequence[str]) -> int:
    """Measure an endpoint and return the exit code.

    Returns:
        0; 1 if no call was served, a figure is INVALID, or it was interrupted; 2 for wrong flags.
    """
    options, problems = parse(arguments)
    if options is None:
        print("\n".join(problems), file=sys.stderr)
        return 2
    try:
        with held(options.out), stop_on_signals() as stop, shown_progress(quiet=options.quiet) as progress:
            report = run_endpoint(options, progress=progress, stop=stop)
            content = to_json(report)
            replace_file(options.out / JSON_FILE, content)
    except (FolderError, NotServedError, EndpointError, TransientError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("loadtest: ended at once by a second interrupt; no figures were written", file=sys.stderr)
        return 130
    if options.json:
        sys.stdout.write(content.decode())
    else:
        print_report(make_console(), report, options.out)
    return 1 if report.invalid or report.partial else 0
