"""The models of a Triton that the job is tested against; `code` is what Triton's Python backend runs."""

from __future__ import annotations

from pathlib import Path

from export.model_config import Tensor
from local.triton.repository import EXPORTED_MODEL, add_model
from tests.integration.conftest import MODEL

CODE = Path(__file__).with_name("triton_code")


def make_repository(folder: Path) -> Path:
    """Write all of them.

    - `autoencoder`: the example's model, with a scalar output. Version 3.
    - `named`: of `ids` and `scale`, `sums` ([2] for each row, float64) and `count` (int64).
    - `picky`: sums of three numbers; a 13 among them fails the whole batch that Triton formed.
    - `polite`: the same, and a 13 gets an answer of its own: 400.
    - `narrow`: the same as `polite`, one row at a time, with one waiting at most.
    """
    add_model(
        folder,
        "autoencoder",
        EXPORTED_MODEL,
        [Tensor("INPUT__0", "FP32", (30,))],
        [Tensor("OUTPUT__0", "FP32", ())],
        version=3,
        files={"model.pt2": MODEL},
    )
    add_model(
        folder,
        "named",
        CODE / "named.py",
        [Tensor("ids", "INT64", (3,)), Tensor("scale", "FP32", (1,))],
        [Tensor("sums", "FP64", (2,)), Tensor("count", "INT64", ())],
    )
    for name in ("picky", "polite"):
        add_model(
            folder,
            name,
            CODE / f"{name}.py",
            [Tensor("INPUT__0", "FP32", (3,))],
            [Tensor("OUTPUT__0", "FP32", ())],
            max_batch_size=8,
        )
    add_model(
        folder,
        "narrow",
        CODE / "polite.py",
        [Tensor("INPUT__0", "FP32", (3,))],
        [Tensor("OUTPUT__0", "FP32", ())],
        max_batch_size=1,
        settings="dynamic_batching { default_queue_policy { max_queue_size: 1 } }",
    )
    return folder
