"""Settings for the tests of launch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launch.settings.setting import Settings
from launch.settings.table import parse

ENVIRON = {
    "LAUNCH_PROJECT": "shop-project",
    "LAUNCH_REGION": "us-central1",
    "LAUNCH_BUCKET": "gs://shop-bucket",
    "LAUNCH_IMAGE": "us-docker.pkg.dev/shop-project/inference/worker",
    "LAUNCH_TAG": "1",
}


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """`settings("run", "--gpu=nvidia-l4")`: the settings of a command, with those that it requires."""

    def make(command: str, *argv: str) -> Settings:
        return parse(command, argv, ENVIRON, tmp_path / "launch.env")

    return make
