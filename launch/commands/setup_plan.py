"""What a project needs: its resources and its roles. docs/dataflow.md has the table of the roles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.cloud.artifact_registry import Repository, repository_of
from launch.cloud.policies import DatasetPolicy, GcloudPolicy, Policy
from launch.cloud.resources import BigQueryResource, GcloudResource, Resource
from launch.settings.setup import SetupSettings
from pipeline.options.job_options import ENDPOINT

_SCHEMA = Path(__file__).parents[2] / "pipeline/io/bigquery_schema.json"
# The most that bq lists at once.
_ALL = "--max_results=100000"
# Google's accounts that encrypt a job's state and its disks, and an endpoint:
# https://cloud.google.com/dataflow/docs/guides/customer-managed-encryption-keys,
# https://cloud.google.com/vertex-ai/docs/general/cmek
_ENCRYPTING_AGENTS = ("dataflow-service-producer-prod", "compute-system")
_ENCRYPTING_AGENT_OF_ENDPOINTS = "gcp-sa-aiplatform"


@dataclass(frozen=True)
class Grant:
    """A role that a member gets.

    Attributes:
        policy: Of the resource that the role is on.
        role: Its name, `roles/…`.
        member: Who gets it, such as `serviceAccount:EMAIL`.
    """

    policy: Policy
    role: str
    member: str


def apis(settings: SetupSettings) -> list[str]:
    """Return the APIs that have to be on."""
    names = [
        "dataflow",
        "compute",
        "storage",
        "pubsub",
        "artifactregistry",
        "cloudbuild",
        "logging",
        "monitoring",
    ]
    # For the roles and the account that setup makes.
    names += ["iam", "cloudresourcemanager"]
    if settings.mode == ENDPOINT:
        names.append("aiplatform")
    if settings.output_table:
        names.append("bigquery")
    if settings.kms_key:
        names.append("cloudkms")
    return [f"{name}.googleapis.com" for name in names]


def resources(settings: SetupSettings) -> list[Resource]:
    """Return what has to be there, in an order in which each finds what it needs."""
    project = f"--project={settings.project}"
    found: list[Resource] = []
    if new := own_account(settings):
        accounts = ("gcloud", "iam", "service-accounts")
        found.append(
            GcloudResource(
                f"service account {settings.service_account}",
                [*accounts, "create", new, project],
                [*accounts, "describe", settings.service_account, project],
            )
        )
    buckets = ("gcloud", "storage", "buckets")
    bucket = _bucket(settings)
    found.append(
        GcloudResource(
            f"bucket {bucket}",
            [
                *buckets,
                "create",
                bucket,
                project,
                f"--location={settings.region}",
                "--uniform-bucket-level-access",
            ],
            [*buckets, "describe", bucket],
        )
    )
    repository = _repository(settings)
    repositories = ("gcloud", "artifacts", "repositories")
    target = _in_repository(repository)
    found.append(
        GcloudResource(
            f"repository {repository.name}",
            [*repositories, "create", *target, "--repository-format=docker"],
            [*repositories, "describe", *target],
        )
    )
    for name in (settings.requests, settings.results, settings.dead_letters):
        for kind, flags in (("topic", []), ("subscription", [f"--topic={name}"])):
            group = ("gcloud", "pubsub", f"{kind}s")
            found.append(
                GcloudResource(
                    f"{kind} {name}",
                    [*group, "create", name, project, *flags],
                    [*group, "describe", name, project],
                )
            )
    return found + _table(settings)


def _table(settings: SetupSettings) -> list[Resource]:
    """Return the dataset and the table of the results; none if no table is wanted."""
    if settings.output_table is None:
        return []
    dataset, _, _ = settings.output_table.rpartition(".")
    project, _, _ = dataset.rpartition(":")
    # Without the project, bq asks for a default one where gcloud has none.
    bq = ("bq", f"--project_id={project}")
    return [
        BigQueryResource(
            f"dataset {dataset}",
            [*bq, f"--location={settings.region}", "mk", "--force", "--dataset", dataset],
            dataset,
            [*bq, "--format=json", "ls", "--datasets", _ALL, f"{project}:"],
        ),
        BigQueryResource(
            f"table {settings.output_table}",
            [
                *(*bq, "mk", "--force", "--table", f"--schema={_SCHEMA}"),
                *("--time_partitioning_type=DAY", "--time_partitioning_field=emitted"),
                settings.output_table,
            ],
            settings.output_table,
            [*bq, "--format=json", "ls", _ALL, dataset],
        ),
    ]


def grants(settings: SetupSettings, build_account: str, project_number: str) -> list[Grant]:
    """Return the roles that have to be given.

    Args:
        settings: Of the command.
        build_account: The email of the account that Cloud Build runs as.
        project_number: Of the project; unused without a key of Cloud KMS.
    """
    worker = f"serviceAccount:{settings.service_account}"
    project = GcloudPolicy(f"project {settings.project}", ("gcloud", "projects"), (settings.project,))
    bucket = GcloudPolicy(
        f"bucket {_bucket(settings)}", ("gcloud", "storage", "buckets"), (_bucket(settings),)
    )
    repository = GcloudPolicy(
        f"repository {_repository(settings).name}",
        ("gcloud", "artifacts", "repositories"),
        _in_repository(_repository(settings)),
    )
    subscription = _pubsub_policy(settings, "subscription", settings.requests)
    found = [
        Grant(project, "roles/cloudbuild.builds.builder", f"serviceAccount:{build_account}"),
        Grant(project, "roles/dataflow.worker", worker),
        Grant(project, "roles/viewer", worker),
        Grant(bucket, "roles/storage.objectAdmin", worker),
        Grant(repository, "roles/artifactregistry.reader", worker),
        Grant(subscription, "roles/pubsub.subscriber", worker),
        Grant(subscription, "roles/pubsub.viewer", worker),
    ]
    for name in (settings.results, settings.dead_letters):
        topic = _pubsub_policy(settings, "topic", name)
        # With pubsub.viewer the job finds at its start that a topic is missing, not at its first message.
        found += [Grant(topic, role, worker) for role in ("roles/pubsub.publisher", "roles/pubsub.viewer")]
    if settings.mode == ENDPOINT:
        found.append(Grant(project, "roles/aiplatform.user", worker))
    if settings.output_table:
        owner, _, rest = settings.output_table.rpartition(":")
        dataset = DatasetPolicy(f"dataset {owner}:{rest.partition('.')[0]}", owner, rest.partition(".")[0])
        found.append(Grant(dataset, "roles/bigquery.dataEditor", worker))
    if settings.kms_key:
        key = GcloudPolicy(
            f"key {settings.kms_key.rpartition('/')[2]}", ("gcloud", "kms", "keys"), (settings.kms_key,)
        )
        names = [
            *_ENCRYPTING_AGENTS,
            *([_ENCRYPTING_AGENT_OF_ENDPOINTS] if settings.mode == ENDPOINT else []),
        ]
        for name in names:
            agent = f"serviceAccount:service-{project_number}@{name}.iam.gserviceaccount.com"
            found.append(Grant(key, "roles/cloudkms.cryptoKeyEncrypterDecrypter", agent))
    return found


def own_account(settings: SetupSettings) -> str | None:
    """Return the id of the workers' account if it is one of the project, so that setup may make it."""
    name, _, domain = settings.service_account.partition("@")
    # A project of an organisation's domain is example.com:my-project, and its accounts end with the reverse.
    own = ".".join(reversed(settings.project.split(":")))
    return name if domain == f"{own}.iam.gserviceaccount.com" else None


def _bucket(settings: SetupSettings) -> str:
    return "/".join(settings.bucket.split("/")[:3])


def _repository(settings: SetupSettings) -> Repository:
    found = repository_of(settings.image)
    assert found is not None, "by the rules"
    return found


def _in_repository(repository: Repository) -> Sequence[str]:
    return (repository.name, f"--project={repository.project}", f"--location={repository.location}")


def _pubsub_policy(settings: SetupSettings, kind: str, name: str) -> Policy:
    return GcloudPolicy(
        f"{kind} {name}",
        ("gcloud", "pubsub", f"{kind}s"),
        (name, f"--project={settings.project}"),
        # Pub/Sub's commands have no flag for them.
        conditions=False,
    )
