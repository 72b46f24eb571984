"""`python -m pipeline`: the job."""

from __future__ import annotations

from pipeline.job.main import main
from pipeline.process.exit import leave
from pipeline.process.output import until_output_closes

if __name__ == "__main__":
    leave(until_output_closes(main))
