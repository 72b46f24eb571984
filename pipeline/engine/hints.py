"""The resource hint max_active_bundles_per_worker, on every transform alike."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.transforms.resources import MaxActiveBundlesPerWorkerHint


def limit_active_bundles(pipeline: beam.Pipeline, bundles: int) -> None:
    """Let a worker run at most `bundles` of `pipeline` at once. Call it once the graph is built.

    The hint is put on each leaf and on no composite. Beam 2.77 adds a composite's hint to that of its parts,
    as often as the graph is merged (4 on RunInference comes out as 12 and 28), and gives each value an
    environment of its own, and nothing is fused across environments. The same number on all leaves stays as
    it is, in one environment.
    """
    pipeline.visit(_OnLeaves({MaxActiveBundlesPerWorkerHint.urn: str(bundles).encode()}))


class _OnLeaves(PipelineVisitor):
    def __init__(self, hints: dict[str, bytes]) -> None:
        self._hints = hints

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        transform_node.resource_hints = {**transform_node.resource_hints, **self._hints}
