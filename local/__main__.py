"""`python -m local`, which is `./launch.sh local`."""

from __future__ import annotations

import sys

from local.command import local_command

if __name__ == "__main__":
    sys.exit(local_command(sys.argv[1:]))
