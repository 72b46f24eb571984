"""`python -m local`: what `./launch.sh local` runs."""

import sys

from local.command import local_command

if __name__ == "__main__":
    sys.exit(local_command(sys.argv[1:]))
