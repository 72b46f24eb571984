"""Settings for the tests of launch."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from launch.commands.command import Command, S
from launch.commands.table import parse

ENVIRON = {
    "LAUNCH_PROJECT": "shop-project",
    "LAUNCH_REGION": "us-central1",
    "LAUNCH_BUCKET": "gs://shop-bucket",
    "LAUNCH_IMAGE": "us-docker.pkg.dev/shop-project/inference/worker",
    "LAUNCH_TAG": "1",
}


class Make(Protocol):
    """`make(RUN, "--gpu=nvidia-l4")`: the settings of a command, with those that it requires."""

    def __call__(self, command: Command[S], *argv: str) -> S: ...


@pytest.fixture
def settings(tmp_path: Path) -> Make:
    def make(command: Command[S], *argv: str) -> S:
        return parse(command, argv, ENVIRON, tmp_path / "launch.env")

    return make
