"""Parse, validate, build, run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipeline import engine, graph
from pipeline.options import parser, problems, runs_in_process


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job. Returns 0 when it ended well, 1 when it failed, 2 for wrong flags, 3 for trouble
    outside that outlasted its deadline (start again: nothing was lost).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # At INFO it speaks of every bundle and every type hint.
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    if {"--help", "-h"} & set(argv):
        print(parser().format_help())
        return 0
    wrong = problems(argv)
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2
    options = PipelineOptions(argv)
    options.view_as(StandardOptions).streaming = True
    if runs_in_process(options):
        return engine.run(options)
    pipeline = beam.Pipeline(options=options)
    graph.build(pipeline, options)
    pipeline.run()
    return 0
