"""An endpoint whose gcloud is a stand-in."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tests.launch.endpoint.test_dry_run import LOCATION


@pytest.fixture
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for gcloud on PATH; `describe` prints the file `endpoint`, `run` notes all else."""
    program = tmp_path / "gcloud"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *describe*) cat "{tmp_path}/endpoint";; '
        f'*) echo "$*" >>"{tmp_path}/run";; esac\n'
    )
    program.chmod(0o755)
    (tmp_path / "run").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path


def holds(gcloud: Path, traffic: dict[str, int]) -> None:
    """Have models deployed, by their share of the traffic; each is of a model of its own, model-ID."""
    models = [
        {
            "id": name,
            "model": f"{LOCATION}/models/model-{name}@1",
            "dedicatedResources": {"minReplicaCount": 1},
        }
        for name in traffic
    ]
    split = {name: share for name, share in traffic.items() if share}
    (gcloud / "endpoint").write_text(json.dumps({"deployedModels": models, "trafficSplit": split}))
