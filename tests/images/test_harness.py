"""Beam's SDK harness inside the worker image, given work by a runner outside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from tests.images.buildah import container
from tests.images.harness import harness_script

pytestmark = pytest.mark.image

# In the image there are no tests: a function of __main__ is pickled whole.
_WHERE = """
def where(number):
    import apache_beam, pipeline, sys
    return number, sys.version_info[:2], apache_beam.__file__, pipeline.__file__
"""


def test_the_harness_runs_in_the_image(worker: str, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(_WHERE, namespace)
    where: Callable[[int], Any] = namespace["where"]
    with container(worker) as name:
        script = harness_script(name, tmp_path / "harness")
        runner = FnApiRunner(default_environment=SubprocessSDKEnvironment(str(script)))
        with beam.Pipeline(runner=runner) as pipeline:
            found = pipeline | beam.Create([1, 2]) | beam.Map(where)
            packages = "/usr/local/lib/python3.11/dist-packages"
            at = ((3, 11), f"{packages}/apache_beam/__init__.py", f"{packages}/pipeline/__init__.py")
            assert_that(found, equal_to([(1, *at), (2, *at)]))
