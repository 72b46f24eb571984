"""docker/check_image.sh: the script against a stand-in for the docker program, its checks each by itself.

The stand-in only records how it is called; tests/images runs the script on an image, by buildah.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.process.image import HAS_COMPILER

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docker/check_image.sh"
PROGRAM = ROOT / "docker/inside_image.py"

_DOCKER = """#!/usr/bin/env bash
echo "$@" >>"$RECORD/calls"
case $* in
"image inspect"*) exit "$ABSENT" ;;
"pull"*) echo "$SAID" >&2; exit 1 ;;
*--entrypoint*) cat >"$RECORD/program"; exit "$INSIDE" ;;
*) echo "2026/11/24 00:00:00 $SAID" >&2; exit 1 ;;
esac
"""

_BUILDAH = """#!/usr/bin/env bash
echo "$@" >>"$RECORD/calls"
case $* in
"from --pull-never"*) [[ $ABSENT == 0 ]] && echo container-1 || exit 125 ;;
"from"*) echo "$SAID" >&2; exit 125 ;;
"inspect"*) printf '/opt/apache/beam/boot\\n\\n' ;;
"run container-1 -- python"*) cat >"$RECORD/program"; exit "$INSIDE" ;;
"run"*) echo "2026/11/24 00:00:00 $SAID" >&2; exit 1 ;;
esac
"""

Check = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    def run(
        *arguments: str,
        inside: int = 0,
        said: str = "No id provided.",
        absent: int = 0,
        engines: tuple[str, ...] = ("docker",),
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        programs = tmp_path / "bin"
        programs.mkdir()
        # What the script calls, and no engine of this machine.
        for name in ("bash", "cat", "dirname", "env"):
            (programs / name).symlink_to(str(shutil.which(name)))
        for name in engines:
            (programs / name).write_text(_BUILDAH if name == "buildah" else _DOCKER)
            (programs / name).chmod(0o755)
        found = subprocess.run(
            [SCRIPT, *arguments],
            env={
                "PATH": str(programs),
                "RECORD": str(tmp_path),
                "INSIDE": str(inside),
                "SAID": said,
                "ABSENT": str(absent),
            },
            capture_output=True,
            text=True,
        )
        calls = tmp_path / "calls"
        return found, calls.read_text().splitlines() if calls.exists() else []

    return run


def test_a_good_image(check: Check, tmp_path: Path) -> None:
    found, calls = check("repository/worker:1")
    assert (found.returncode, found.stdout) == (0, "ok      boot: the entrypoint is Beam's\n"), found.stderr
    assert calls == [
        "image inspect repository/worker:1",
        "run --rm repository/worker:1",
        "run --rm --interactive --entrypoint python repository/worker:1 -",
    ]
    assert (tmp_path / "program").read_text() == PROGRAM.read_text()


def test_with_a_gpu(check: Check) -> None:
    found, calls = check("--gpu", "worker:gpu")
    assert found.returncode == 0
    _, boot, inside = calls
    assert "--gpu" not in boot
    assert inside.endswith(" --entrypoint python worker:gpu - --gpu")
    assert "--gpus all" in inside or "/var/lib/nvidia/lib64:/usr/local/nvidia/lib64" in inside


def test_another_entrypoint(check: Check) -> None:
    found, calls = check("worker:1", said="usage: python_template_launcher")
    assert found.returncode == 1
    assert "FAILED  boot: the entrypoint is not Beam's boot program; it said: " in found.stdout
    assert "usage: python_template_launcher" in found.stdout
    assert len(calls) == 3


def test_an_image_that_docker_cannot_get(check: Check) -> None:
    found, calls = check("us-central1-docker.pkg.dev/p/r/worker:1", said="denied: no", absent=1)
    assert (found.returncode, found.stdout) == (2, "")
    assert "docker cannot get us-central1-docker.pkg.dev/p/r/worker:1: denied: no" in found.stderr
    assert "gcloud auth configure-docker" in found.stderr
    assert len(calls) == 2


def test_podman_is_called_as_docker_is(check: Check) -> None:
    found, calls = check("repository/worker:1", engines=("podman", "buildah"))
    assert (found.returncode, found.stdout) == (0, "ok      boot: the entrypoint is Beam's\n"), found.stderr
    assert calls[-1] == "run --rm --interactive --entrypoint python repository/worker:1 -"


def test_a_gpu_by_podman(check: Check) -> None:
    found, calls = check("--gpu", "worker:gpu", engines=("podman",))
    assert found.returncode == 0
    assert "--device=nvidia.com/gpu=all" in calls[-1] or "/var/lib/nvidia/lib64" in calls[-1]


def test_buildah_runs_the_entrypoint_and_clears_up(check: Check, tmp_path: Path) -> None:
    found, calls = check("repository/worker:1", "--engine=buildah", engines=("docker", "buildah"))
    assert (found.returncode, found.stdout) == (0, "ok      boot: the entrypoint is Beam's\n"), found.stderr
    assert calls[0] == "from --pull-never repository/worker:1"
    assert calls[1].startswith("inspect ")
    assert calls[2:] == [
        "run container-1 -- /opt/apache/beam/boot",
        "run container-1 -- python -",
        "rm container-1",
    ]
    assert (tmp_path / "program").read_text() == PROGRAM.read_text()


def test_an_image_that_buildah_cannot_get(check: Check) -> None:
    found, calls = check("worker:1", engines=("buildah",), said="denied: no", absent=1)
    assert (found.returncode, found.stdout) == (2, "")
    assert "buildah cannot get worker:1: denied: no" in found.stderr
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("flags", "engines", "reason"),
    [
        ([], (), "there is no docker, podman or buildah on this machine"),
        (["--engine=podman"], ("docker",), "there is no podman on this machine"),
        (["--engine=lxc"], ("docker",), "--engine is one of docker podman buildah"),
        (["--gpu"], ("buildah",), "buildah gives no GPU"),
    ],
)
def test_no_engine_for_it(check: Check, flags: list[str], engines: tuple[str, ...], reason: str) -> None:
    found, calls = check("worker:1", *flags, engines=engines)
    assert (found.returncode, calls) == (2, [])
    assert reason in found.stderr


def test_a_check_inside_fails(check: Check) -> None:
    found, _ = check("worker:1", inside=1)
    assert found.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "which image?"),
        (["a:1", "b:1"], "one image at a time: a:1, or b:1?"),
        (["a:1", "--cpu"], "there is no flag --cpu"),
    ],
)
def test_wrong_arguments(check: Check, arguments: list[str], reason: str) -> None:
    found, calls = check(*arguments)
    assert (found.returncode, calls) == (2, [])
    assert reason in found.stderr


def test_shellcheck() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), SCRIPT], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the program, with an empty folder in the place of the image's own."""
    spec = importlib.util.spec_from_file_location("inside_image", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "APP", tmp_path)
    monkeypatch.setattr(module, "MODELS", tmp_path / "models")
    monkeypatch.setattr(module, "LAUNCHER", tmp_path / "launcher")
    monkeypatch.setenv("FLEX_TEMPLATE_PYTHON_PY_FILE", str(ROOT / "docker/main.py"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return module


def test_packages(inside: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where setuptools was imported in this process, packages of its own lie on the path, too.
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if "_vendor" not in folder])
    with pytest.raises(inside.Failure, match="one .*/requirements-\\*.txt, found 0"):
        inside.packages()
    lock = tmp_path / "requirements-cpu.txt"
    lock.write_text((ROOT / "requirements-cpu.txt").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(inside, "NEEDED", ("apache-beam", "torch", "the-job"))
    with pytest.raises(inside.Failure, match="^the-job is not installed$"):
        inside.packages()
    own = tmp_path / "the_job-0.1.0.dist-info"
    own.mkdir()
    (own / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: the_job\nVersion: 0.1.0\n"
        "Requires-Dist: apache-beam[gcp]\nRequires-Dist: orjson\nRequires-Dist: colour; extra == 'x'\n"
    )
    assert inside.packages().endswith(", apache-beam 2.77.0, torch 2.13.0, the-job 0.1.0")
    lock.write_text(lock.read_text().replace("orjson==", "orjson==1"))
    with pytest.raises(inside.Failure, match=r"^orjson is 3\S+, not 13\S+ as in requirements-cpu.txt$"):
        inside.packages()
    # What only an extra requires is checked where that extra is asked for.
    text = lock.read_text().replace("orjson==1", "orjson==")
    lock.write_text(text.replace("google-cloud-pubsub==", "google-cloud-pubsub==1"))
    with pytest.raises(inside.Failure, match=r"^google-cloud-pubsub is 2\S+, not 12\S+ as in "):
        inside.packages()


def test_packages_that_nothing_requires(
    inside: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base image has a setuptools of its own; the lock's is what builds the wheel."""
    (tmp_path / "requirements-cpu.txt").write_text("setuptools==83.0.0\nthe-job==0.1.0\nneeded==2.0\n")
    monkeypatch.setattr(inside, "NEEDED", ("the-job",))
    monkeypatch.setattr(
        sys, "path", [str(tmp_path), *(folder for folder in sys.path if "site-packages" in folder)]
    )
    for name, version, requires in (
        ("setuptools", "65.5.1", ""),
        ("the_job", "0.1.0", "Requires-Dist: needed\n"),
        ("needed", "2.0", ""),
    ):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{requires}")
    assert inside.packages().endswith(", the-job 0.1.0")
    (tmp_path / "the_job-0.1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: the_job\nVersion: 0.1.0\nRequires-Dist: setuptools\n"
    )
    with pytest.raises(inside.Failure, match=r"^setuptools is 65\.5\.1, not 83\.0\.0 as in requirements-cpu"):
        inside.packages()


def test_compiler(inside: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(inside.Failure, match="there is no g\\+\\+"):
        inside.compiler()
    compiler = tmp_path / "g++"
    compiler.write_text(f"#!{sys.executable}\nprint('g++ (Debian) 12.2.0')\nprint('Copyright')\n")
    compiler.chmod(0o755)
    assert inside.compiler() == "g++ (Debian) 12.2.0"


def test_compiler_that_was_left_out(
    inside: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(HAS_COMPILER, "false")
    assert "--compile=true is refused at launch" in inside.compiler()
    monkeypatch.setenv(HAS_COMPILER, "true")
    with pytest.raises(inside.Failure, match="there is no g\\+\\+"):
        inside.compiler()


def test_launcher(inside: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(inside.Failure, match="there is no program"):
        inside.launcher()
    (tmp_path / "launcher").touch(mode=0o755)
    assert inside.launcher() == str(tmp_path / "launcher")


@pytest.mark.slow
def test_launched_file(inside: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert inside.launched_file() == str(ROOT / "docker/main.py")
    empty = tmp_path / "main.py"
    empty.touch()
    monkeypatch.setenv("FLEX_TEMPLATE_PYTHON_PY_FILE", str(empty))
    with pytest.raises(inside.Failure, match="does not show the flags of the job"):
        inside.launched_file()
    monkeypatch.delenv("FLEX_TEMPLATE_PYTHON_PY_FILE")
    with pytest.raises(inside.Failure, match="is not set"):
        inside.launched_file()


def test_model(inside: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(inside.Failure, match="no file in"):
        inside.model()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt2").touch()
    assert inside.model() == str(tmp_path / "models" / "model.pt2")


def test_imports_want_one_place(inside: ModuleType) -> None:
    # Here, pipeline is the checkout's.
    with pytest.raises(inside.Failure, match="installed in one place"):
        inside.imports()


def test_gpu_where_there_is_none(inside: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(inside.Failure, match="sees no GPU"):
        inside.gpu()


@pytest.mark.slow
def test_each_check_is_a_line(
    inside: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> str:
        raise OSError("libcublas.so.13 is missing")

    assert inside.passes(inside.job)
    assert not inside.passes(inside.launcher)
    assert not inside.passes(broken)
    shown = capsys.readouterr().out
    assert "ok      job: python -m pipeline --help\n" in shown
    assert "FAILED  launcher: there is no program" in shown
    assert "FAILED  broken: " in shown
    assert "libcublas.so.13 is missing" in shown


def test_a_failed_program_says_why(inside: ModuleType) -> None:
    with pytest.raises(inside.Failure, match=r"-c raise SystemExit\(7\) ended with 7"):
        inside.run(sys.executable, "-c", "raise SystemExit(7)")
