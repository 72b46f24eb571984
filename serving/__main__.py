"""`python -m serving`: the container. Environment and flags: `--help`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.process.output import until_output_closes
from serving.flags import OptionsError
from serving.log import configure_logging
from serving.options import parse
from serving.supervisor import Supervisor, listen

_LOGGER = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after such a signal; 2 for wrong flags or variables, an address in use, or a model that cannot be
        fetched or loaded; 1 for anything else, such as a second signal.
    """
    try:
        options = parse(arguments, os.environ)
    except OptionsError as error:
        configure_logging(error.log_format)
        _LOGGER.critical("%s", error)
        return 2
    configure_logging(options.log_format)
    try:
        listener = listen(options.host, options.port)
    except OSError as error:
        _LOGGER.critical(
            "serving: cannot listen on %s port %d: %s. "
            "Choose another by --host or AIP_HTTP_PORT (0 takes any free one).",
            options.host,
            options.port,
            error.strerror,
        )
        return 2
    with listener, tempfile.TemporaryDirectory(prefix="serving-") as folder:

        async def serve() -> int:
            return await Supervisor(options, listener, Path(folder)).run()

        return asyncio.run(serve())


if __name__ == "__main__":
    sys.exit(until_output_closes(lambda: main(sys.argv[1:])))
