"""`python -m pipeline`: the job."""

from __future__ import annotations

from pipeline.job.main import main
from pipeline.process.exit import leave

if __name__ == "__main__":
    leave(main())
