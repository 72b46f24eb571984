"""`python -m export triton`, which is `./launch.sh export triton`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from export.command import export_triton
from pipeline.process.output import until_output_closes

_USAGE = """usage: ./launch.sh export triton --model-path=MODEL.pt2 --out=REPOSITORY [flags]

  triton    a model repository for NVIDIA's Triton Inference Server

./launch.sh export triton --help lists the flags."""


def main(arguments: Sequence[str]) -> int:
    """Run the command named first and return its exit code."""
    if list(arguments[:1]) == ["triton"]:
        return export_triton(arguments[1:])
    asked_for_help = list(arguments[:1]) in (["--help"], ["-h"])
    print(_USAGE, file=sys.stdout if asked_for_help else sys.stderr)
    return 0 if asked_for_help else 2


if __name__ == "__main__":
    try:
        sys.exit(until_output_closes(lambda: main(sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(130)
