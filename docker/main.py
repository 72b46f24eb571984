"""What the template launcher runs in the image: it takes a file, not a module."""

import sys

from pipeline.job.main import main

if __name__ == "__main__":
    sys.exit(main())
