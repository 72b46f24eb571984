"""`./launch.sh endpoint …`: what is done with what the endpoint holds.

The programs that are run here are stand-ins; tests/launch/test_gcloud_endpoint.py runs the real one.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from launch.cloud.rest import OVERRIDE
from launch.cloud.shell import CommandError
from launch.settings.setting import SettingsError
from tests.launch.endpoint.conftest import holds
from tests.launch.endpoint.test_dry_run import UPLOAD, WHERE, run


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def undeploy(gcloud: Path, flags: str) -> list[str]:
    """Return what was run, without what all commands share."""
    run("endpoint undeploy", f"--endpoint=1 {flags}", dry_run=False, out=io.StringIO())
    return [line.replace(f" {WHERE}", "") for line in (gcloud / "run").read_text().splitlines()]


def test_undeploy_takes_all_models_those_without_traffic_first(gcloud: Path) -> None:
    holds(gcloud, {"5": 60, "6": 0, "7": 40})
    assert undeploy(gcloud, "--yes") == [
        "ai endpoints undeploy-model 1 --deployed-model-id=6",
        "ai endpoints undeploy-model 1 --deployed-model-id=7 --traffic-split=5=100",
        "ai endpoints undeploy-model 1 --deployed-model-id=5",
    ]


def test_undeploy_deletes_what_served(gcloud: Path) -> None:
    holds(gcloud, {"5": 100})
    assert undeploy(gcloud, "--yes --delete") == [
        "ai endpoints undeploy-model 1 --deployed-model-id=5",
        "ai endpoints delete 1 --quiet",
        "ai models delete model-5 --quiet",
    ]


def test_undeploy_deletes_an_empty_endpoint(gcloud: Path) -> None:
    holds(gcloud, {})
    assert undeploy(gcloud, "--yes --delete") == ["ai endpoints delete 1 --quiet"]


@pytest.mark.parametrize(
    ("traffic", "flags", "said"),
    [
        ({}, "", "nothing is deployed to 1"),
        ({"5": 100}, "--deployed-model=6", "6 is not on 1, which has 5"),
        ({"5": 100, "6": 0}, "--deployed-model=5", "5 takes 100 percent of the traffic"),
        ({"5": 100, "6": 0}, "--deployed-model=6 --delete", "1 has 2 deployed models and cannot be deleted"),
    ],
)
def test_undeploy_refuses(gcloud: Path, traffic: dict[str, int], flags: str, said: str) -> None:
    holds(gcloud, traffic)
    with pytest.raises(SettingsError, match=said):
        undeploy(gcloud, f"--yes {flags}")
    assert (gcloud / "run").read_text() == ""


def test_undeploy_of_one_without_traffic(gcloud: Path) -> None:
    holds(gcloud, {"5": 100, "6": 0})
    assert undeploy(gcloud, "--yes --deployed-model=6") == [
        "ai endpoints undeploy-model 1 --deployed-model-id=6"
    ]


@pytest.mark.parametrize(("answer", "goes"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False)])
def test_undeploy_asks(
    gcloud: Path,
    answer: str,
    goes: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    holds(gcloud, {"5": 100})
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert bool(undeploy(gcloud, "--delete")) is goes
    asked = capsys.readouterr().err
    assert asked.startswith("This undeploys 5 and deletes the endpoint and 1 model(s) (model-5)")
    assert asked.endswith("[y/N] ")


def test_undeploy_without_anybody_to_ask_changes_nothing(gcloud: Path) -> None:
    holds(gcloud, {"5": 100})
    with pytest.raises(SettingsError, match="give --yes"):
        undeploy(gcloud, "")
    assert (gcloud / "run").read_text() == ""


def test_update_of_one_among_several_needs_its_id(gcloud: Path) -> None:
    holds(gcloud, {"5": 100, "6": 0})
    with pytest.raises(SettingsError, match="1 has several, name one of 5, 6"):
        run("endpoint update", "--endpoint=1 --min-replicas=2", dry_run=False, out=io.StringIO())


def test_what_was_made_before_a_failure_is_told(gcloud: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 is closed: making the endpoint fails, after the upload.
    monkeypatch.setenv(OVERRIDE, "http://127.0.0.1:9/")
    with pytest.raises(CommandError) as caught:
        run("endpoint deploy", UPLOAD, dry_run=False, out=io.StringIO())
    assert str(caught.value).startswith("making the endpoint: http://127.0.0.1:9/v1/projects/shop-project/")
    assert str(caught.value).endswith("; what was made before stays: go on with --model=streaming-inference")
