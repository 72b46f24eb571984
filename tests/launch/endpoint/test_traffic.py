"""A new model beside the one that serves: their shares of the requests, and what is said of the old one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from launch.cloud.rest import OVERRIDE
from launch.cloud.shell import CommandError
from launch.commands import traffic
from launch.commands.table import ENDPOINT_DEPLOY, parse
from launch.settings.endpoint import EndpointDeploySettings
from launch.settings.setting import SettingsError
from tests.launch.endpoint.conftest import holds
from tests.launch.endpoint.test_dry_run import UPLOAD, WHERE, run


def settings(flags: str) -> EndpointDeploySettings:
    argv = [*WHERE.split(), *UPLOAD.split(), *flags.split()]
    return parse(ENDPOINT_DEPLOY, argv, {}, Path("no-launch.env"))


@pytest.mark.parametrize(
    ("percent", "before", "after"),
    [
        (100, {"5": 100}, {"0": 100}),
        (10, {"5": 100}, {"0": 10, "5": 90}),
        (0, {"5": 100}, {"0": 0, "5": 100}),
        (10, {"5": 60, "6": 0, "7": 40}, {"0": 10, "5": 54, "7": 36}),
        # Rounded, and still a whole.
        (1, {"5": 33, "6": 33, "7": 34}, {"0": 1, "5": 33, "6": 33, "7": 33}),
        (50, {"5": 99, "6": 1}, {"0": 50, "5": 49, "6": 1}),
        # Nothing has any: as the service leaves an endpoint whose split was cleared.
        (10, {"5": 0}, {"0": 10, "5": 90}),
    ],
)
def test_the_others_share_the_rest_as_they_did(
    percent: int, before: dict[str, int], after: dict[str, int]
) -> None:
    found: dict[str, Any] = {"deployedModels": [{"id": name} for name in before]}
    found["trafficSplit"] = {name: share for name, share in before.items() if share}
    split = traffic.beside(settings(f"--endpoint=1 --traffic={percent}"), found)
    assert split == after
    assert sum(split.values()) == 100


def deploy(gcloud: Path, flags: str) -> tuple[list[str], str]:
    """Return what was run, without what all commands share, and what was said."""
    out = io.StringIO()
    run("endpoint deploy", f"{UPLOAD} {flags}", dry_run=False, out=out)
    called = [line.replace(f" {WHERE}", "") for line in (gcloud / "run").read_text().splitlines()]
    return called, out.getvalue()


def test_a_second_model_says_that_the_first_is_billed(gcloud: Path) -> None:
    holds(gcloud, {"5": 100, "6": 0})
    called, said = deploy(gcloud, "--endpoint=1 --traffic=10")
    assert "--traffic-split=0=10,5=90 " in called[-1]
    undeploy = "and is billed, until: ./launch.sh endpoint undeploy --endpoint=1 --deployed-model="
    assert f"5 stays, with 90 percent of the requests, {undeploy}5\n" in said
    assert f"6 stays, with 0 percent of the requests, {undeploy}6\n" in said


def test_by_default_the_new_one_gets_all(gcloud: Path) -> None:
    holds(gcloud, {"5": 100})
    called, said = deploy(gcloud, "--endpoint=1")
    assert "--traffic-split=0=100 " in called[-1]
    assert "5 stays, with 0 percent of the requests, and is billed" in said


def test_the_first_model_of_an_endpoint_has_no_other(gcloud: Path) -> None:
    holds(gcloud, {})
    with pytest.raises(SettingsError, match="--traffic: nothing is deployed to 1 yet"):
        deploy(gcloud, "--endpoint=1 --traffic=10")
    assert (gcloud / "run").read_text() == ""
    _, said = deploy(gcloud, "--endpoint=1")
    assert "billed" not in said


def test_a_dry_run_has_the_split_and_the_command_for_later() -> None:
    out = io.StringIO()
    run("endpoint deploy", f"{UPLOAD} --endpoint=1 --traffic=10", dry_run=True, out=out)
    assert "--traffic-split=0=10,DEPLOYED_MODEL_ID=90 " in out.getvalue()
    assert (
        "# what was deployed before stays, and is billed, until: ./launch.sh endpoint undeploy "
        in out.getvalue()
    )


def update(gcloud: Path, flags: str) -> list[str]:
    run("endpoint update", f"--endpoint=1 {flags}", dry_run=False, out=io.StringIO())
    return [line.replace(f" {WHERE}", "") for line in (gcloud / "run").read_text().splitlines()]


def test_a_split_is_changed(gcloud: Path) -> None:
    holds(gcloud, {"5": 90, "6": 10})
    assert update(gcloud, "--traffic-split=5=0,6=100") == ["ai endpoints update 1 --traffic-split=5=0,6=100"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--traffic-split=5=0,7=100", "--traffic-split: 7 is not on 1, which has 5, 6"),
        ("--traffic-split=5=40,6=40", "the percentages add up to 80, not to 100"),
        ("--traffic-split=5=50,5=50", "5 is given twice"),
        ("--traffic-split=5=101", "'101' is not a whole number from 0 to 100"),
        ("--traffic-split=old=100", "'old' is not the id of a deployed model"),
        ("--traffic-split=5=0,6=100 --deployed-model=6", "--traffic-split names its models itself"),
        ("--traffic-split=5=0,6=100 --max-replicas=3", "1 has several, name one of 5, 6"),
    ],
)
def test_a_wrong_split_changes_nothing(gcloud: Path, flags: str, said: str) -> None:
    holds(gcloud, {"5": 90, "6": 10})
    with pytest.raises(SettingsError, match=said):
        update(gcloud, flags)
    assert (gcloud / "run").read_text() == ""


def test_undeploy_names_the_command_that_frees_a_model(gcloud: Path) -> None:
    holds(gcloud, {"5": 90, "6": 10})
    with pytest.raises(
        SettingsError, match=r"first: \./launch\.sh endpoint update --endpoint=1 --traffic-split="
    ):
        run("endpoint undeploy", "--endpoint=1 --deployed-model=5 --yes", dry_run=False, out=io.StringIO())


@pytest.mark.parametrize(
    ("refused", "hint"),
    [
        ("ai models upload", "--model-name=ANOTHER, or take what is there by --model=streaming-inference"),
        ("ai endpoints create", "or deploy to what is there by --endpoint=streaming-inference"),
    ],
)
def test_a_name_that_is_taken(gcloud: Path, refused: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (gcloud / "gcloud").write_text(
        f'#!/bin/sh\ncase "$*" in *"{refused}"*) echo "ERROR: ALREADY_EXISTS: there." >&2; exit 1;; esac\n'
    )
    with pytest.raises(CommandError, match=hint):
        run("endpoint deploy", f"{UPLOAD} --endpoint-kind=shared", dry_run=False, out=io.StringIO())


def test_labels_and_key_of_a_shared_endpoint_and_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OVERRIDE, raising=False)
    key = "projects/shop-keys/locations/us-central1/keyRings/ring/cryptoKeys/key"
    out = io.StringIO()
    flags = f"{UPLOAD} --endpoint-kind=shared --labels=team=fraud,env=prod"
    run("endpoint deploy", flags, dry_run=True, out=out)
    upload, create, *_ = [line for line in out.getvalue().splitlines() if not line.startswith("#")]
    assert upload.endswith(" --labels=team=fraud,env=prod")
    assert create.endswith(" --labels=team=fraud,env=prod")
    out = io.StringIO()
    run("endpoint deploy", f"{flags} --kms-key={key} --serving-args=--input_shape=4", dry_run=True, out=out)
    upload, create, *_ = [line for line in out.getvalue().splitlines() if not line.startswith("#")]
    # gcloud has no flag for a model's key.
    body = json.loads(upload.partition("--data '")[2].partition("' ")[0])
    assert "/v1/projects/shop-project/locations/us-central1/models:upload" in upload
    assert body["model"]["encryptionSpec"] == {"kmsKeyName": key}
    assert body["model"]["labels"] == {"team": "fraud", "env": "prod"}
    assert body["model"]["containerSpec"]["args"] == ["--input_shape=4"]
    assert f" --encryption-kms-key-name={key}" in create
