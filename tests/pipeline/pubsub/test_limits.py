import subprocess
import sys
from pathlib import Path

from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[3]


def test_the_wire_format_needs_no_grpc() -> None:
    """The endpoint container imports it, and has none of it."""
    code = (
        "import sys, pipeline.request.messages, pipeline.request.wire_format\n"
        "print(*sorted({'pipeline.pubsub.limits', 'grpc', 'apache_beam', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    assert done.stdout.split() == ["pipeline.pubsub.limits"]
