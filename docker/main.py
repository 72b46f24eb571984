"""The job as the template launcher starts it in the image: it takes a file, not a module."""

from __future__ import annotations

import sys

from pipeline.job.main import main

if __name__ == "__main__":
    sys.exit(main())
