"""`python -m local`, which is `./launch.sh local`."""

from __future__ import annotations

import sys

from local.command import local_command
from pipeline.process.output import until_output_closes

if __name__ == "__main__":
    sys.exit(until_output_closes(lambda: local_command(sys.argv[1:])))
