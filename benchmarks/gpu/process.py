"""`python -m benchmarks.gpu.process`: one part in a process of its own, which may lose the GPU or hang."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
import torch

from benchmarks.gpu.child import exit_on_sigterm
from benchmarks.gpu.context import Context, NotAvailableError
from benchmarks.gpu.plan import PARTS
from benchmarks.gpu.status import NOT_AVAILABLE_CODE
from benchmarks.gpu.workload import FULL, REHEARSAL


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a part, and append each row to a file, a line of JSON.

    Returns:
        0, or NOT_AVAILABLE_CODE where the part is not available here; the file --why-not then has the reason.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.process", allow_abbrev=False)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--why-not", type=Path, required=True)
    parser.add_argument("--rehearse", action="store_true")
    flags = parser.parse_args(arguments)
    context = Context(
        REHEARSAL if flags.rehearse else FULL,
        importlib.util.find_spec("apache_beam") is not None,
        flags.folder,
        time.monotonic() + flags.seconds,
    )
    if flags.rehearse:
        torch.set_num_threads(1)
    with flags.rows.open("ab", buffering=0) as rows:
        try:
            for row in PARTS[flags.part].measure(context):
                rows.write(orjson.dumps(row) + b"\n")
        except NotAvailableError as error:
            flags.why_not.write_text(str(error))
            return NOT_AVAILABLE_CODE
    return 0


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
