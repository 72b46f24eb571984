"""`./launch.sh setup`: its order, and what it does about what goes wrong. gcloud and bq are stand-ins."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.cloud.policies import DatasetPolicy, GcloudPolicy
from launch.cloud.shell import CommandError, Shell
from launch.commands import setup as command
from launch.commands.setup_plan import grants, own_account
from launch.commands.table import SETUP, parse
from launch.rules.rule import problems
from launch.settings.setup import SetupSettings
from tests.launch.setup.project import ACCOUNT, KEY

FLAGS = (
    *("--project=shop-project", "--region=us-central1", "--bucket=gs://shop-bucket/inference"),
    "--image=us-docker.pkg.dev/shop-images/inference/worker",
    f"--service-account={ACCOUNT}",
)
Run = Callable[..., list[str]]


def settings(*flags: str) -> SetupSettings:
    # The last of two flags would be refused: those that are given here take the place of the common ones.
    names = {flag.partition("=")[0] for flag in flags}
    common = [flag for flag in FLAGS if flag.partition("=")[0] not in names]
    return parse(SETUP, [*common, *flags], {}, Path("no-launch.env"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run setup with a gcloud that knows nothing, or says what stands in `refusals` once per line."""
    program = tmp_path / "gcloud"
    program.write_text(
        f"""#!{sys.executable}
import sys
from pathlib import Path
words = " ".join(sys.argv[1:])
folder = Path({str(tmp_path)!r})
with open(folder / "called", "a") as called:
    called.write(words + "\\n")
refusals = (folder / "refusals").read_text().splitlines()
for place, line in enumerate(refusals):
    part, _, said = line.partition("|")
    if part in words:
        (folder / "refusals").write_text("\\n".join(refusals[:place] + refusals[place + 1:]))
        sys.exit("ERROR: (gcloud.x) " + said)
if " describe " in words and "projects" not in words:
    sys.exit("ERROR: (gcloud.x) NOT_FOUND: nothing is there")
print("{{}}" if "get-iam-policy" in words else "")
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def run(*refusals: str, flags: tuple[str, ...] = ()) -> list[str]:
        (tmp_path / "refusals").write_text("\n".join(refusals))
        (tmp_path / "called").write_text("")
        command.run(settings(*flags), Shell(dry_run=False, out=io.StringIO()), poll_s=0.0)
        return (tmp_path / "called").read_text().splitlines()

    return run


def test_each_step_finds_what_it_needs(run: Run) -> None:
    called = run()
    places = [
        next(place for place, words in enumerate(called) if words.startswith(start))
        for start in (
            "services enable",
            "iam service-accounts create inference-worker",
            "storage buckets create gs://shop-bucket ",
            "artifacts repositories create inference --project=shop-images --location=us",
            "pubsub topics create requests",
            "pubsub subscriptions create requests",
            "projects add-iam-policy-binding",
        )
    ]
    assert places == sorted(places)


def test_a_new_account_is_waited_for(run: Run) -> None:
    unknown = f"INVALID_ARGUMENT: Service account {ACCOUNT} does not exist."
    called = run(*[f"buckets add-iam-policy-binding|{unknown}"] * 3)
    assert len([words for words in called if words.startswith("storage buckets add-iam-policy-binding")]) == 4
    assert "roles/pubsub.viewer" in called[-1]  # the last of all is given, too


def test_an_api_that_was_switched_on_just_now_is_waited_for(run: Run) -> None:
    off = "PERMISSION_DENIED: Cloud Pub/Sub API has not been used in project 1 before or it is disabled."
    called = run(*[f"topics describe requests|{off}"] * 2)
    assert len([words for words in called if words.startswith("pubsub topics describe requests")]) == 3


def test_what_does_not_pass_is_not_waited_for_without_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "NEWS_TRAVEL_S", -1.0)
    with pytest.raises(CommandError, match=r"does not exist.*; what was made before stays: run setup again"):
        run(f"buckets add-iam-policy-binding|INVALID_ARGUMENT: Service account {ACCOUNT} does not exist.")


@pytest.mark.parametrize("at", ["services list", "topics describe", "topics create", "get-iam-policy"])
def test_another_refusal_ends_it(run: Run, at: str) -> None:
    with pytest.raises(
        CommandError, match="PERMISSION_DENIED: no – .*; what was made before stays: run setup"
    ):
        run(f"{at}|PERMISSION_DENIED: no")


@pytest.mark.parametrize(
    ("project", "account", "made"),
    [
        ("shop-project", "worker@shop-project.iam.gserviceaccount.com", "worker"),
        ("example.com:shop-project", "worker@shop-project.example.com.iam.gserviceaccount.com", "worker"),
        ("shop-project", "worker@other-project.iam.gserviceaccount.com", None),
        ("shop-project", "123-compute@developer.gserviceaccount.com", None),
    ],
)
def test_only_an_account_of_the_project_is_made(project: str, account: str, made: str | None) -> None:
    assert own_account(settings(f"--project={project}", f"--service-account={account}")) == made


class Printed(Shell):
    """A shell in which every command prints the same."""

    def __init__(self, value: object) -> None:
        super().__init__(dry_run=False, out=io.StringIO())
        self._value = value

    def run(self, argv: object) -> str:
        return json.dumps(self._value)


def test_a_role_on_a_condition_is_not_the_role() -> None:
    policy = GcloudPolicy("project", ("gcloud", "projects"), ("shop-project",))
    bindings = [
        {"role": "roles/viewer", "members": ["user:a@b.c", "user:d@e.f"]},
        {"role": "roles/editor", "members": ["user:a@b.c"], "condition": {"title": "until Friday"}},
    ]
    assert policy.members(Printed({"bindings": bindings})) == {"roles/viewer": {"user:a@b.c", "user:d@e.f"}}
    assert policy.members(Printed({"etag": "x"})) == {}


def test_who_edits_a_dataset() -> None:
    access = [
        {"role": "WRITER", "userByEmail": "a@b.c"},
        {"role": "OWNER", "specialGroup": "projectOwners"},
        {"role": "READER", "userByEmail": "d@e.f"},
    ]
    found = DatasetPolicy("dataset", "shop-project", "predictions").members(Printed({"access": access}))
    assert found == {"roles/bigquery.dataEditor": {"serviceAccount:a@b.c"}}


def test_only_an_endpoints_key_is_shared_with_vertex_ai() -> None:
    def agents(*flags: str) -> set[str]:
        wanted = grants(settings(f"--kms-key={KEY}", *flags), "build@x", "1")
        return {grant.member.partition("@")[2] for grant in wanted if "cloudkms" in grant.role}

    assert "gcp-sa-aiplatform.iam.gserviceaccount.com" not in agents()
    assert agents("--mode=endpoint") - agents() == {"gcp-sa-aiplatform.iam.gserviceaccount.com"}


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--image=docker.io/shop/inference/worker", "is not in Artifact Registry, where setup makes"),
        (f"--kms-key={KEY.replace('us-central1', 'global')}", "it is in global, not in --region"),
    ],
)
def test_what_is_refused(flag: str, said: str) -> None:
    (problem,) = problems(SETUP.rules, settings(flag))
    assert said in problem
    assert problems(SETUP.rules, settings(f"--kms-key={KEY}")) == []
