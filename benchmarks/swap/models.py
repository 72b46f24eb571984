"""Two versions of the example's model whose answers differ, and their golden sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import nn

from local.run import EXAMPLE

RECORDS = EXAMPLE / "records.jsonl"
GOLDEN_ROWS = 50


class Scaled(nn.Module):
    """The example's anomaly scores, times `factor`: float32 [batch, 30] → [batch]."""

    def __init__(self, scorer: nn.Module, factor: float) -> None:
        super().__init__()
        self.scorer = scorer
        self.factor = factor

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the scaled scores."""
        return self.scorer(features) * self.factor


@dataclass(frozen=True)
class Version:
    """A model file.

    Attributes:
        predictions: Of each of the example's records, float32 [records].
    """

    file: Path
    predictions: np.ndarray

    @property
    def model_id_prefix(self) -> str:
        """What the model_id of its results begins with."""
        return f"{self.file.name}@"


def make_versions(folder: Path) -> tuple[Version, Version]:
    """Write v1.pt2 and v2.pt2 and their golden sets into `folder`, and return them."""
    bodies = [orjson.loads(line) for line in RECORDS.read_bytes().splitlines()]
    features = torch.tensor([body["features"] for body in bodies], dtype=torch.float32)
    versions = []
    for name, factor in (("v1.pt2", 1.0), ("v2.pt2", -1.0)):
        model = Scaled(torch.export.load(EXAMPLE / "model.pt2").module(), factor)
        with torch.inference_mode():
            predictions = model(features).numpy()
        program = torch.export.export(
            model, (features[:2],), dynamic_shapes={"features": {0: torch.export.Dim("batch")}}
        )
        torch.export.save(program, folder / name)
        golden = [
            orjson.dumps({"features": body["features"], "prediction": float(prediction)})
            for body, prediction in zip(bodies[:GOLDEN_ROWS], predictions, strict=False)
        ]
        (folder / f"{name}.golden.jsonl").write_bytes(b"\n".join(golden))
        versions.append(Version(folder / name, predictions))
    return versions[0], versions[1]


def is_right(result: dict[str, Any], sequence: int, versions: tuple[Version, ...]) -> bool:
    """Return whether a result's prediction is that of the version which its model_id names."""
    for version in versions:
        if result["model_id"].startswith(version.model_id_prefix):
            expected = version.predictions[sequence % len(version.predictions)]
            return bool(np.isclose(result["prediction"], expected, rtol=1e-5, atol=1e-6))
    return False


def point(pointer: Path, version: Version) -> None:
    """Write the pointer so that nobody reads half of it."""
    beside = pointer.with_name(f"{pointer.name}.new")
    beside.write_text(version.file.name)
    beside.replace(pointer)
