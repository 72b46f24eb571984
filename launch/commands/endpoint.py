"""`./launch.sh endpoint deploy|update`: what runs, in which order.

Each step is a gcloud command if gcloud has one for it, else a call of the REST API (see rest.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.cloud.gcloud import label_list, where
from launch.cloud.rest import Rest
from launch.cloud.shell import CommandError, Shell, shell_quote
from launch.commands import traffic
from launch.commands.deployed import chosen_models, describe, shown_id
from launch.commands.upload import hinted, marks, upload
from launch.rules import endpoint as rules
from launch.settings.endpoint import (
    DEDICATED,
    TRITON,
    EndpointDeploySettings,
    EndpointUpdateSettings,
)
from launch.settings.endpoint_parsers import METRICS, PUBSUB_UNDELIVERED, REQUEST_COUNT
from launch.settings.setting import SettingsError


def deploy(settings: EndpointDeploySettings, shell: Shell) -> None:
    """Upload a model, create an endpoint, deploy the one to the other; what exists already is used as it is.

    Raises:
        SettingsError: The settings do not go with the endpoint that they name.
        CommandError: Something was refused; it says what was created before.
    """
    rest = Rest(shell, settings.project, settings.region)
    found = describe(settings, shell, settings.endpoint) if settings.endpoint else None
    if found is not None and (problems := rules.deploy_problems(settings, found)):
        raise SettingsError("\n".join(problems))
    split = traffic.beside(settings, found)
    created = []
    try:
        model = settings.model or settings.model_name
        if not settings.model:
            shell.note(f"uploading the model {model}")
            upload(settings, shell, rest)
            created.append(f"--model={model}")
        endpoint = settings.endpoint or settings.endpoint_name
        if not settings.endpoint:
            shell.note(f"making the {settings.endpoint_kind} endpoint {endpoint}")
            _create_endpoint(settings, shell, rest)
            created.append(f"--endpoint={endpoint}")
        shell.note(f"deploying {model} to {endpoint}; this takes 5 to 20 minutes")
        _deploy_model(settings, shell, rest, model, endpoint, split)
    except CommandError as error:
        if not created:
            raise
        raise CommandError(f"{error}; what was made before stays: go on with {' '.join(created)}") from None
    traffic.show_others(settings, shell, found, split)
    _show_job_flags(settings, shell, endpoint)


def _create_endpoint(settings: EndpointDeploySettings, shell: Shell, rest: Rest) -> None:
    name = settings.endpoint_name
    try:
        if settings.endpoint_kind == DEDICATED:
            body = {"displayName": name, "dedicatedEndpointEnabled": True, **marks(settings)}
            rest.change("making the endpoint", "v1", f"endpoints?endpointId={name}", body)
            return
        argv = ["gcloud", "ai", "endpoints", "create", *where(settings)]
        argv += [f"--endpoint-id={name}", f"--display-name={name}"]
        if settings.labels:
            argv.append(f"--labels={label_list(settings.labels)}")
        if settings.kms_key:
            argv.append(f"--encryption-kms-key-name={settings.kms_key}")
        shell.run(argv)
    except CommandError as error:
        fix = f"--endpoint-name=ANOTHER, or deploy to what is there by --endpoint={name}"
        raise hinted(error, fix) from None


def _deploy_model(
    settings: EndpointDeploySettings,
    shell: Shell,
    rest: Rest,
    model: str,
    endpoint: str,
    split: Mapping[str, int],
) -> None:
    fewest, most = rules.replicas_of(settings)
    metrics = settings.scaling_metric or {}
    if settings.scale_to_zero or REQUEST_COUNT in metrics or PUBSUB_UNDELIVERED in metrics:
        deployed = {
            "model": f"{rest.location}/models/{model}",
            "displayName": model,
            "dedicatedResources": _dedicated_resources(settings, fewest, most),
        }
        if settings.endpoint_service_account:
            deployed["serviceAccount"] = settings.endpoint_service_account
        body = {"deployedModel": deployed, "trafficSplit": split}
        # Previews, which v1 does not take.
        preview = settings.scale_to_zero or PUBSUB_UNDELIVERED in metrics
        version = "v1beta1" if preview else "v1"
        _note_preview(settings, shell)
        rest.change("deploying the model", version, f"endpoints/{endpoint}:deployModel", body)
        return
    argv = [
        *("gcloud", "ai", "endpoints", "deploy-model", endpoint),
        *where(settings),
        f"--model={model}",
        f"--display-name={model}",
        f"--traffic-split={traffic.as_text(split)}",
        f"--machine-type={rules.machine_of(settings)}",
        f"--min-replica-count={fewest}",
        f"--max-replica-count={most}",
    ]
    if settings.endpoint_gpu:
        argv.append(f"--accelerator=type={settings.endpoint_gpu.type},count={settings.endpoint_gpu.count}")
    if settings.endpoint_service_account:
        argv.append(f"--service-account={settings.endpoint_service_account}")
    if metrics:
        targets = ",".join(f"{name}={target}" for name, target in metrics.items())
        argv.append(f"--autoscaling-metric-specs={targets}")
    shell.run(argv)


def _dedicated_resources(settings: EndpointDeploySettings, fewest: int, most: int) -> dict[str, Any]:
    """Return the `DedicatedResources` of the API."""
    machine: dict[str, Any] = {"machineType": rules.machine_of(settings)}
    if settings.endpoint_gpu:
        machine["acceleratorType"] = settings.endpoint_gpu.type.upper().replace("-", "_")
        machine["acceleratorCount"] = settings.endpoint_gpu.count
    resources: dict[str, Any] = {"machineSpec": machine, "minReplicaCount": fewest, "maxReplicaCount": most}
    if settings.scaling_metric:
        resources["autoscalingMetricSpecs"] = _metric_specs(settings)
    if settings.scale_to_zero:
        resources["initialReplicaCount"] = settings.initial_replicas or 1
        periods = {
            "minScaleupPeriod": settings.min_scaleup_s,
            "idleScaledownPeriod": settings.idle_scaledown_s,
        }
        resources["scaleToZeroSpec"] = {name: f"{value}s" for name, value in periods.items() if value}
    return resources


def _metric_specs(settings: EndpointDeploySettings | EndpointUpdateSettings) -> list[dict[str, Any]]:
    specs: list[dict[str, Any]] = []
    for name, target in (settings.scaling_metric or {}).items():
        specs.append({"metricName": METRICS[name], "target": target})
        if name == PUBSUB_UNDELIVERED and settings.scaling_subscription:
            _, project, _, subscription = settings.scaling_subscription.split("/")
            labels = {"project_id": project, "subscription_id": subscription}
            specs[-1]["monitoredResourceLabels"] = labels
    return specs


def _note_preview(settings: EndpointDeploySettings | EndpointUpdateSettings, shell: Shell) -> None:
    if PUBSUB_UNDELIVERED in (settings.scaling_metric or {}):
        shell.note(
            f"{PUBSUB_UNDELIVERED} is a Preview of Vertex AI; its fields are those of the service's page on "
            "autoscaling, and not verified against the service"
        )


def _show_job_flags(settings: EndpointDeploySettings, shell: Shell, endpoint: str) -> None:
    found = describe(settings, shell, endpoint)
    flags = f"--endpoint={endpoint} --endpoint_location={settings.region}"
    if settings.server == TRITON:
        flags += " --endpoint_protocol=triton"
    if found is None:
        shell.note(f"the flags for the job, after --: {flags}")
        if settings.endpoint or settings.endpoint_kind == DEDICATED:
            shell.note(
                "and, if the command above shows a dedicatedEndpointDns: --endpoint_url=https://ITS_VALUE"
            )
        return
    if address := found.get("dedicatedEndpointDns"):
        flags += f" {shell_quote(f'--endpoint_url=https://{address}')}"
    shell.note("deployed; the flags for the job, after --:")
    print(flags, file=shell.out)


def update(settings: EndpointUpdateSettings, shell: Shell) -> None:
    """Change the split of the traffic, then the replicas and the scaling metrics of a deployed model.

    Raises:
        SettingsError: The settings do not go with what is deployed.
        CommandError: Something was refused.
    """
    found = describe(settings, shell, settings.endpoint)
    if found is not None and (problems := rules.split_problems(settings, found)):
        raise SettingsError("\n".join(problems))
    deployed = _deployed_to_update(settings, shell, found) if rules.changes_replicas(settings) else None
    if settings.traffic_split is not None:
        traffic.change(settings, shell, settings.traffic_split)
    if deployed is not None:
        _change_replicas(settings, shell, deployed)


def _deployed_to_update(
    settings: EndpointUpdateSettings, shell: Shell, found: Mapping[str, Any] | None
) -> str:
    """Return the id of the deployed model to change."""
    if found is None:
        return shown_id(settings, shell)
    model = _model_to_update(settings, found)
    if problems := rules.update_problems(settings, model):
        raise SettingsError("\n".join(problems))
    deployed: str = model["id"]
    return deployed


def _change_replicas(settings: EndpointUpdateSettings, shell: Shell, deployed: str) -> None:
    replicas = {"minReplicaCount": settings.min_replicas, "maxReplicaCount": settings.max_replicas}
    replicas = {name: count for name, count in replicas.items() if count is not None}
    rest = Rest(shell, settings.project, settings.region)
    # The API takes the counts and the metrics in one call each; v1 takes no Preview.
    changes: list[tuple[str, dict[str, Any]]] = [("v1", replicas)] if replicas else []
    if settings.scaling_metric:
        version = "v1beta1" if PUBSUB_UNDELIVERED in settings.scaling_metric else "v1"
        changes.append((version, {"autoscalingMetricSpecs": _metric_specs(settings)}))
        _note_preview(settings, shell)
    for version, change in changes:
        shell.note(f"changing {', '.join(change)}")
        body = {
            "deployedModel": {"id": deployed, "dedicatedResources": change},
            "updateMask": ",".join(f"dedicatedResources.{name}" for name in change),
        }
        path = f"endpoints/{settings.endpoint}:mutateDeployedModel"
        rest.change("changing the deployed model", version, path, body)


def _model_to_update(settings: EndpointUpdateSettings, found: Mapping[str, Any]) -> Mapping[str, Any]:
    models = found.get("deployedModels", [])
    chosen = chosen_models(settings, models)
    if len(chosen) != 1:
        shown = ", ".join(model["id"] for model in chosen)
        raise SettingsError(f"--deployed-model: {settings.endpoint} has several, name one of {shown}")
    return chosen[0]
