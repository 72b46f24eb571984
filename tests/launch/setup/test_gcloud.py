"""`./launch.sh setup` with the real gcloud and bq, against projects on loopback."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.cloud.shell import Shell
from launch.commands import setup_plan
from launch.commands.table import SETUP, parse
from tests.launch.cloud import PROJECT, REGION, Cloud
from tests.launch.setup.project import ACCOUNT, BUCKET, BUILD_ACCOUNT, KEY, NUMBER, REPOSITORY, Project
from tests.waiting import LIMIT_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("gcloud"), reason="needs the Google Cloud CLI (gcloud)"),
    pytest.mark.skipif(not shutil.which("bq"), reason="needs the Google Cloud CLI's bq"),
]

PUBSUB = f"/v1/projects/{PROJECT}"
DATASET = f"{PROJECT}:predictions"
FLAGS = (
    f"--project={PROJECT}",
    f"--region={REGION}",
    "--bucket=gs://shop-bucket/inference",
    f"--image={REGION}-docker.pkg.dev/{PROJECT}/inference/worker",
    f"--service-account={ACCOUNT}",
)
MORE = ("--mode=endpoint", f"--output-table={DATASET}.results", f"--kms-key={KEY}")
# What the table of docs/dataflow.md says of the workers' account, of Cloud Build's and of Google's.
ROLES = {
    (PUBSUB, "roles/cloudbuild.builds.builder"),
    (PUBSUB, "roles/dataflow.worker"),
    (PUBSUB, "roles/viewer"),
    (BUCKET, "roles/storage.objectAdmin"),
    (f"{REPOSITORY}/inference", "roles/artifactregistry.reader"),
    (f"{PUBSUB}/subscriptions/requests", "roles/pubsub.subscriber"),
    (f"{PUBSUB}/subscriptions/requests", "roles/pubsub.viewer"),
    (f"{PUBSUB}/topics/results", "roles/pubsub.publisher"),
    (f"{PUBSUB}/topics/dead-letters", "roles/pubsub.publisher"),
    (f"{PUBSUB}/topics/results", "roles/pubsub.viewer"),
    (f"{PUBSUB}/topics/dead-letters", "roles/pubsub.viewer"),
}
MORE_ROLES = {
    (PUBSUB, "roles/aiplatform.user"),
    (f"/v1/{KEY}", "roles/cloudkms.cryptoKeyEncrypterDecrypter"),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Start a project that is empty but for a topic that somebody made by hand."""
    with Cloud() as cloud:
        found = Project(cloud)
        cloud.answer("GET", f"{PUBSUB}/topics/results", {"name": f"projects/{PROJECT}/topics/results"})
        for name, value in {**cloud.environment(tmp_path), **found.environment}.items():
            monkeypatch.setenv(name, value)
        # bq has files of its own there.
        monkeypatch.setenv("HOME", str(tmp_path))
        yield found


def run(*flags: str) -> list[str]:
    """Return the lines that were printed."""
    out = io.StringIO()
    settings = parse(SETUP, [*FLAGS, *flags], {}, Path("no-launch.env"))
    SETUP.execute(settings, Shell(dry_run=settings.dry_run, out=out))
    return out.getvalue().splitlines()


def check_resources(project: Project) -> None:
    made = {path: body for _, path, body in project.changes() if not path.endswith(("Policy", "/iam"))}
    names = {"dataflow", "compute", "artifactregistry", "cloudbuild", "iam"}
    assert {f"{name}.googleapis.com" for name in names} < set(
        made[f"{PUBSUB}/services:batchEnable"]["serviceIds"]
    )
    assert made["/storage/v1/b"]["location"].lower() == REGION
    assert made["/storage/v1/b"]["name"] == "shop-bucket"
    assert made[REPOSITORY]["format"] == "DOCKER"
    channels = {path.removeprefix(PUBSUB) for path in made if "/topics/" in path or "/subscriptions/" in path}
    assert channels == {
        *(f"/topics/{name}" for name in ("requests", "dead-letters")),
        *(f"/subscriptions/{name}" for name in ("requests", "results", "dead-letters")),
    }
    assert made[f"{PUBSUB}/subscriptions/requests"]["topic"] == f"projects/{PROJECT}/topics/requests"
    assert project.members(PUBSUB, "roles/dataflow.worker") == [f"serviceAccount:{ACCOUNT}"]
    assert project.members(PUBSUB, "roles/cloudbuild.builds.builder") == [f"serviceAccount:{BUILD_ACCOUNT}"]


def test_a_second_run_makes_nothing(project: Project) -> None:
    *first, _, flags = run()
    check_resources(project)
    assert project.roles() == ROLES
    project.cloud.requests.clear()
    *second, _, _ = run()
    assert project.changes() == []
    assert [line for line in first if not line.startswith("made ")] == ["exists  topic results"]
    assert second == [line.replace("made   ", "exists ") for line in first]
    assert flags == (
        f"--input_subscription=projects/{PROJECT}/subscriptions/requests "
        f"--output_topic=projects/{PROJECT}/topics/results "
        f"--dead_letter_topic=projects/{PROJECT}/topics/dead-letters"
    )


def test_a_dry_run_pasted_into_a_shell(project: Project) -> None:
    printed = run(*MORE, "--dry-run")
    assert project.cloud.requests == []
    script = "\n".join(printed)
    subprocess.run(["bash", "-euc", script], check=True, capture_output=True, timeout=2 * LIMIT_S)
    check_resources(project)
    assert project.roles() == ROLES | MORE_ROLES
    assert set(project.members(f"/v1/{KEY}", "roles/cloudkms.cryptoKeyEncrypterDecrypter")) == {
        f"serviceAccount:service-{NUMBER}@{name}.iam.gserviceaccount.com"
        for name in ("dataflow-service-producer-prod", "compute-system", "gcp-sa-aiplatform")
    }
    check_table(project)


def check_table(project: Project) -> None:
    (table,) = project.cloud.sent("POST", ".*/tables")
    assert table.body["timePartitioning"] == {"type": "DAY", "field": "emitted"}
    assert {field["name"] for field in table.body["schema"]["fields"]} > {"prediction", "emitted"}
    (granted,) = project.cloud.sent("POST", ".*/jobs")
    assert granted.body["configuration"]["query"]["query"] == (
        f"GRANT `roles/bigquery.dataEditor` ON SCHEMA `{PROJECT}.predictions` TO 'serviceAccount:{ACCOUNT}'"
    )


def test_a_table_is_made_once(project: Project) -> None:
    settings = parse(SETUP, [*FLAGS, *MORE], {}, Path("no-launch.env"))
    shell = Shell(dry_run=False)
    dataset, table = setup_plan.resources(settings)[-2:]
    (grant,) = [each for each in setup_plan.grants(settings, "", "") if "bigquery" in each.role]
    assert not dataset.exists(shell)
    shell.run(dataset.create)
    assert dataset.exists(shell)
    assert not table.exists(shell)
    shell.run(table.create)
    assert table.exists(shell)
    assert grant.policy.members(shell) == {grant.role: set()}
    shell.run(grant.policy.grant(grant.role, grant.member))
    assert grant.policy.members(shell) == {grant.role: {grant.member}}
    check_table(project)
