"""`./launch.sh loadtest endpoint`: an endpoint, or the container started here, without the pipeline."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rich.console import Console

from lab.config_file import FLAG as CONFIG
from lab.config_file import ConfigError, with_config
from lab.container import container_flags, container_here
from loadtest.driver.errors import RunError
from loadtest.endpoint.flags import NAMES, make_parser
from loadtest.endpoint.measure import Endpoint, already_there, measure
from loadtest.endpoint.options import EndpointOptions, parse
from loadtest.interrupt import Stop
from loadtest.run_folder import FolderError, make_fresh
from loadtest.terminal import complain, say
from local.children import ChildError
from local.job_flags import JobFlags
from local.made_requests import made_requests
from local.run import EXAMPLE
from pipeline.options.address import TRITON, Address
from pipeline.options.spelling import with_underscores

PROGRAM = "./launch.sh loadtest endpoint"
# In place of that of a container that has not been started.
_A_URL = "http://127.0.0.1:1/predict"
# They say where the endpoint is, and what its model takes.
_ADDRESS = frozenset({"endpoint", "endpoint_url"})
_OF_THE_MODEL = frozenset({"input_shape"})


@dataclass(frozen=True)
class EndpointLine:
    """What a command line says.

    Attributes:
        options: None where something is wrong. Those of a container that is to run here have an address in
            place of its own.
        flags: Of the container that is to run here; None for an endpoint that is there already.
        problems: What is wrong, a line each.
        given: Names of the flags that the user wrote.
    """

    options: EndpointOptions | None
    flags: JobFlags | None
    problems: list[str]
    given: frozenset[str]

    @property
    def names_out(self) -> bool:
        """Whether the folder is the user's choice."""
        return "out" in self.given


def endpoint_command(arguments: Sequence[str]) -> int:
    """Measure an endpoint, or the container that is started here, and return the exit code.

    Returns:
        0; 1 if no call was served, a figure is INVALID, or it was interrupted; 2 for wrong flags.
    """
    line = parse_endpoint(arguments)
    options, flags = line.options, line.flags
    if options is None:
        print("\n".join(line.problems), file=sys.stderr)
        return 2

    @contextmanager
    def started(options: EndpointOptions, stop: Stop) -> Iterator[Endpoint]:
        assert flags is not None
        console = Console(stderr=True, quiet=options.quiet)
        with container_here(flags, options.out, stop, lambda text: say(console, text)) as served:
            yield Endpoint(Address(served.url, needs_token=False), served.healthy_after_s)

    try:
        if not line.names_out:
            options = replace(options, out=make_fresh(options.out))
        return measure(options, already_there if flags is None else started)
    except (ChildError, FolderError, RunError) as error:
        complain(f"loadtest: {error}")
        return 1


def parse_endpoint(arguments: Sequence[str], defaults: Sequence[str] = ()) -> EndpointLine:
    """Return what a command line says, and every problem with it.

    Args:
        arguments: The command line.
        defaults: Flags that hold where the user writes none.
    """
    problems: list[str] = []
    try:
        arguments = with_config(arguments, NAMES)
    except ConfigError as error:
        problems.append(str(error))
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    own, of_job = with_underscores(arguments[:split], NAMES), list(arguments[split + 1 :])
    given = frozenset(text.partition("=")[0].removeprefix("--") for text in own if text.startswith("--"))
    own = [*defaults, *own]  # the last of several counts
    parser = make_parser(
        PROGRAM,
        "By default the endpoint container is started here, with the bundled model, and what follows -- is "
        "for it, as in a local run; --endpoint or --endpoint_url names another.",
    )
    parser.add_argument(f"--{CONFIG}", metavar="FILE", help="TOML file that holds any of the flags")
    flags, records = None, None
    if given & _ADDRESS:
        if of_job:
            problems.append("flags after -- are for a container that is started here: leave out the address")
    else:
        problems += [
            f"--{name}: the container is started here: give it after --" for name in given & _OF_THE_MODEL
        ]
        flags = container_flags(of_job, problems)
        own.append(f"--endpoint_url={_A_URL}")
        try:
            own.append(f"--input_shape={flags.input_shape()}")
            if flags.own_model and "input" not in given:
                records = made_requests(flags.input_spec())
        except ValueError as error:
            problems.append(f"--input_shape: {error}")
    if "out" not in given:
        own.append(f"--out=runs/{time.strftime('%Y%m%d-%H%M%S')}")
    if "input" not in given:
        own.append(f"--input={EXAMPLE / 'records.jsonl'}")
    options, found = parse(own, parser, records)
    problems += found
    if flags is not None and options is not None and options.target.protocol == TRITON:
        problems.append(
            "--endpoint_protocol: the endpoint container that is started here does not speak triton: name a "
            "Triton by --endpoint_url"
        )
    return EndpointLine(None if problems else options, flags, list(dict.fromkeys(problems)), given)
