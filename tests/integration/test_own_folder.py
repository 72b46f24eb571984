"""launch.sh in a user's folder: files there that are called as modules of ours or of Python's are not run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import ROOT
from tests.waiting import LIMIT_S

OURS = ("broker", "examples", "export", "lab", "launch", "loadtest", "local", "pipeline", "serving")
PYTHONS = ("json", "logging", "queue", "socket", "types")


@pytest.fixture
def launch_sh(tmp_path: Path) -> Path:
    """Copy the checkout, which takes this environment for its .venv, with everything installed."""
    checkout = tmp_path / "checkout"
    venv = checkout / ".venv"
    venv.mkdir(parents=True)
    for name in ("launch.sh", "requirements-cpu.txt"):
        shutil.copy(ROOT / name, checkout)
    shutil.copy(ROOT / "requirements-cpu.txt", venv / ".installed-cpu")
    for package in OURS:
        (checkout / package).symlink_to(ROOT / package)
    for thing in Path(sys.prefix).iterdir():
        if not thing.name.startswith("."):
            (venv / thing.name).symlink_to(thing)
    return checkout / "launch.sh"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder whose files have names of ours and of Python's; each ends the process that runs it."""
    own = tmp_path / "own"
    own.mkdir()
    for name in (*OURS, *PYTHONS):
        (own / f"{name}.py").write_text(f"raise SystemExit('the {name}.py of the user was run')\n")
    return own


def run(
    launch_sh: Path, folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: text for name, text in os.environ.items() if name not in ("PUBSUB_EMULATOR_HOST", "PYTHONPATH")
    }
    return subprocess.run(
        [launch_sh, *arguments],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
    )


def test_both_modes_run_ours_and_find_the_users_hooks_and_model_class(
    launch_sh: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "my_hooks.py").write_text(
        "from beside import numbers\n"
        "from in_my_library import doubled\n\n"
        "def decode(body, attributes):\n    return numbers(body.pop('text'))\n\n"
        "def encode(prediction):\n    return {'doubled': doubled(float(prediction))}\n"
    )
    (folder / "beside.py").write_text(
        "def numbers(text):\n    return [float(part) for part in text.split()]\n"
    )
    (folder / "my_models.py").write_text(
        "import torch\n\nclass Scaled(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.factor = torch.nn.Parameter(torch.zeros(1))\n\n"
        "    def forward(self, features):\n        return features.sum(dim=1) * self.factor\n"
    )
    torch.save({"factor": torch.tensor([3.0])}, folder / "weights.pt")
    (folder / "requests.jsonl").write_text('{"text": "1 2 4"}\n')
    library = tmp_path / "library"
    library.mkdir()
    (library / "in_my_library.py").write_text("def doubled(number):\n    return 2 * number\n")

    ran = run(
        launch_sh,
        folder,
        *("local", "--compare", "--out=out", "--input=requests.jsonl", "--rate=50", "--duration=1", "--"),
        *("--decode_hook=my_hooks:decode", "--encode_hook=my_hooks:encode", "--input_shape=3"),
        *("--model_path=weights.pt", "--model_class=my_models:Scaled"),
        # The empty entry stands for the folder itself.
        PYTHONPATH=f":{library}",
    )
    assert ran.returncode == 0, ran.stderr
    for mode in ("local", "endpoint"):
        lines = (folder / "out" / mode / "results.jsonl").read_text().splitlines()
        assert len(lines) == 50
        assert {json.loads(line)["result"]["prediction"]["doubled"] for line in lines} == {42.0}


def test_a_hook_that_a_module_of_ours_hides_is_refused_with_the_reason(launch_sh: Path, folder: Path) -> None:
    (folder / "pipeline.py").write_text("def decode(body, attributes):\n    return body\n")
    ran = run(launch_sh, folder, "local", "--out=out", "--", "--decode_hook=pipeline:decode")
    assert ran.returncode == 2
    ours = launch_sh.parent / "pipeline/__init__.py"
    assert (
        "--decode_hook=pipeline:decode: the module pipeline has nothing called decode; "
        f"the module pipeline that is found is {ours}, not {folder / 'pipeline.py'}: give yours another name"
        in ran.stderr
    )


@pytest.mark.parametrize("command", ["build", "endpoint deploy", "run", "smoke", "status"])
def test_the_commands_in_the_cloud_run_ours(launch_sh: Path, folder: Path, command: str) -> None:
    ran = run(launch_sh, folder, *command.split(), "--help", PYTHONPATH="")
    assert ran.returncode == 0, ran.stderr
    assert f"launch.sh {command}" in ran.stdout
