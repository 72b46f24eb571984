"""What each step of an image costs on disk: `python -m tests.images.layers` builds them and prints it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tests.images.buildah import FOLDER, buildah
from tests.images.built import build

_MB = 1_000_000


@dataclass(frozen=True)
class Layer:
    """A step of a Dockerfile that left files.

    Attributes:
        step: The instruction, without its arguments for the build.
        digest: Of what it left.
        size: Bytes of that, uncompressed.
    """

    step: str
    digest: str
    size: int


def layers(image: str) -> list[Layer]:
    """Return the layers of an image, the base's first."""
    found = json.loads(buildah("inspect", "--type=image", image))["OCIv1"]
    steps = [each["created_by"] for each in found["history"] if not each.get("empty_layer")]
    digests = found["rootfs"]["diff_ids"]
    assert len(steps) == len(digests)
    (index,) = FOLDER.glob("store/*-layers/layers.json")
    sizes = {
        each["diff-digest"]: each["diff-size"]
        for each in json.loads(index.read_text())
        if "diff-digest" in each
    }
    return [Layer(_short(step), digest, sizes[digest]) for step, digest in zip(steps, digests, strict=True)]


def _short(step: str) -> str:
    """Return a step without the shell and the build arguments before it."""
    step = re.sub(r"^/bin/sh -c (#\(nop\) )?", "", step)
    return " ".join(re.sub(r"^\|\d+ .*?/bin/sh -c ", "", step).split())


def main() -> None:
    """Print the layers of the two images, and of the worker with a compiler, in MB."""
    for stage, compile in (("serving", False), ("worker", False), ("worker", True)):
        image = build("cpu", stage, compile=compile)
        found = layers(image)
        print(f"{image}: {sum(layer.size for layer in found) / _MB:,.0f} MB")
        for layer in found:
            print(f"{layer.size / _MB:10,.1f}  {layer.step[:90]}")


if __name__ == "__main__":
    main()
