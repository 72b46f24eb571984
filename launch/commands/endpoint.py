"""`./launch.sh endpoint deploy|update|undeploy`: what runs, in which order.

It is gcloud where that has a command for it, else the REST API (see rest.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch.cloud.gcloud import comma_list, where
from launch.cloud.rest import Rest
from launch.cloud.shell import CommandError, Shell
from launch.commands.confirm import confirmed
from launch.rules import endpoint as rules
from launch.settings.common import Location
from launch.settings.endpoint import (
    DEDICATED,
    EndpointDeploySettings,
    EndpointUndeploySettings,
    EndpointUpdateSettings,
)
from launch.settings.endpoint_values import METRICS, REQUEST_COUNT
from launch.settings.setting import SettingsError

# What serving/ listens on, by its defaults.
PORT = 8080
PREDICT_ROUTE = "/predict"
HEALTH_ROUTE = "/health"
# In a dry run, for ids that would be read from the endpoint.
_UNKNOWN_DEPLOYED_MODEL = "DEPLOYED_MODEL_ID"
_UNKNOWN_MODEL = "MODEL_ID"

_OnDeployed = EndpointUpdateSettings | EndpointUndeploySettings


def deploy(settings: EndpointDeploySettings, shell: Shell) -> None:
    """Upload a model, create an endpoint, deploy the one to the other; what exists already is used as it is.

    Raises:
        SettingsError: the settings do not go with the endpoint that they name.
        CommandError: something was refused; it says what was created before.
    """
    rest = Rest(shell, settings.project, settings.region)
    if settings.endpoint:
        found = _describe(settings, shell, settings.endpoint) or {}
        if problems := rules.deploy_problems(settings, found) if found else []:
            raise SettingsError("\n".join(problems))
    created = []
    try:
        model = settings.model or settings.model_name
        if not settings.model:
            shell.note(f"uploading the model {model}")
            shell.run(_upload(settings))
            created.append(f"--model={model}")
        endpoint = settings.endpoint or settings.endpoint_name
        if not settings.endpoint:
            shell.note(f"making the {settings.endpoint_kind} endpoint {endpoint}")
            _create_endpoint(settings, shell, rest)
            created.append(f"--endpoint={endpoint}")
        shell.note(f"deploying {model} to {endpoint}; this takes 5 to 20 minutes")
        _deploy_model(settings, shell, rest, model, endpoint)
    except CommandError as error:
        if not created:
            raise
        raise CommandError(f"{error}; what was made before stays: go on with {' '.join(created)}") from None
    _show_job_flags(settings, shell, endpoint)


def _upload(settings: EndpointDeploySettings) -> list[str]:
    argv = [
        *("gcloud", "ai", "models", "upload"),
        *where(settings),
        f"--model-id={settings.model_name}",
        f"--display-name={settings.model_name}",
        f"--container-image-uri={settings.serving_image}",
        f"--artifact-uri={settings.model_uri}",
        f"--container-predict-route={PREDICT_ROUTE}",
        f"--container-health-route={HEALTH_ROUTE}",
        f"--container-ports={PORT}",
    ]
    if settings.serving_args:
        argv.append(f"--container-args={comma_list(settings.serving_args)}")
    return argv


def _create_endpoint(settings: EndpointDeploySettings, shell: Shell, rest: Rest) -> None:
    name = settings.endpoint_name
    if settings.endpoint_kind == DEDICATED:
        body = {"displayName": name, "dedicatedEndpointEnabled": True}
        rest.change("making the endpoint", "v1", f"endpoints?endpointId={name}", body)
    else:
        argv = ("gcloud", "ai", "endpoints", "create", *where(settings))
        shell.run([*argv, f"--endpoint-id={name}", f"--display-name={name}"])


def _deploy_model(
    settings: EndpointDeploySettings, shell: Shell, rest: Rest, model: str, endpoint: str
) -> None:
    fewest, most = rules.replicas_of(settings)
    metrics = settings.scaling_metric or {}
    if settings.scale_to_zero or REQUEST_COUNT in metrics:
        deployed = {
            "model": f"{rest.location}/models/{model}",
            "displayName": endpoint,
            "dedicatedResources": _dedicated_resources(settings, fewest, most),
        }
        body = {"deployedModel": deployed, "trafficSplit": {"0": 100}}
        # Scale to zero is a Preview, which v1 does not take.
        version = "v1beta1" if settings.scale_to_zero else "v1"
        rest.change("deploying the model", version, f"endpoints/{endpoint}:deployModel", body)
        return
    argv = [
        *("gcloud", "ai", "endpoints", "deploy-model", endpoint),
        *where(settings),
        f"--model={model}",
        f"--display-name={endpoint}",
        "--traffic-split=0=100",
        f"--machine-type={rules.machine_of(settings)}",
        f"--min-replica-count={fewest}",
        f"--max-replica-count={most}",
    ]
    if settings.endpoint_gpu:
        argv.append(f"--accelerator=type={settings.endpoint_gpu.type},count={settings.endpoint_gpu.count}")
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
        resources["autoscalingMetricSpecs"] = _metric_specs(settings.scaling_metric)
    if settings.scale_to_zero:
        resources["initialReplicaCount"] = 1
        periods = {
            "minScaleupPeriod": settings.min_scaleup_s,
            "idleScaledownPeriod": settings.idle_scaledown_s,
        }
        resources["scaleToZeroSpec"] = {name: f"{value}s" for name, value in periods.items() if value}
    return resources


def _metric_specs(metrics: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"metricName": METRICS[name], "target": target} for name, target in metrics.items()]


def _show_job_flags(settings: EndpointDeploySettings, shell: Shell, endpoint: str) -> None:
    found = _describe(settings, shell, endpoint)
    flags = f"--endpoint={endpoint} --endpoint_location={settings.region}"
    if found is None:
        shell.note(f"the flags for the job, after --: {flags}")
        if settings.endpoint or settings.endpoint_kind == DEDICATED:
            shell.note(
                "and, if the command above shows a dedicatedEndpointDns: --endpoint_url=https://ITS_VALUE"
            )
        return
    if address := found.get("dedicatedEndpointDns"):
        flags += f" --endpoint_url=https://{address}"
    shell.note("deployed; the flags for the job, after --:")
    print(flags, file=shell.out)


def update(settings: EndpointUpdateSettings, shell: Shell) -> None:
    """Change the replicas and the scaling metrics of a deployed model.

    Raises:
        SettingsError: the settings do not go with what is deployed.
        CommandError: something was refused.
    """
    found = _describe(settings, shell, settings.endpoint)
    deployed: str
    if found is None:
        deployed = _shown_id(settings, shell)
    else:
        model = _model_to_update(settings, found)
        if problems := rules.update_problems(settings, model):
            raise SettingsError("\n".join(problems))
        deployed = model["id"]
    replicas = {"minReplicaCount": settings.min_replicas, "maxReplicaCount": settings.max_replicas}
    replicas = {name: count for name, count in replicas.items() if count is not None}
    rest = Rest(shell, settings.project, settings.region)
    # The API takes the counts and the metrics in one call each.
    changes: list[dict[str, Any]] = [replicas] if replicas else []
    if settings.scaling_metric:
        changes.append({"autoscalingMetricSpecs": _metric_specs(settings.scaling_metric)})
    for change in changes:
        shell.note(f"changing {', '.join(change)}")
        body = {
            "deployedModel": {"id": deployed, "dedicatedResources": change},
            "updateMask": ",".join(f"dedicatedResources.{name}" for name in change),
        }
        path = f"endpoints/{settings.endpoint}:mutateDeployedModel"
        rest.change("changing the deployed model", "v1", path, body)


def undeploy(settings: EndpointUndeploySettings, shell: Shell) -> None:
    """Take models off an endpoint, if the user confirms it; with `delete`, delete them and the endpoint.

    Raises:
        SettingsError: the settings do not go with what is deployed, or there is nobody to ask.
        CommandError: something was refused.
    """
    found = _describe(settings, shell, settings.endpoint)
    if found is None:
        shell.run(_undeploy_one(settings, _shown_id(settings, shell)))
        if settings.delete:
            shell.note(f"{_UNKNOWN_MODEL}: its model, which the first command prints")
            shell.run(_delete(settings, "endpoints", settings.endpoint))
            shell.run(_delete(settings, "models", _UNKNOWN_MODEL))
        return
    chosen = _models_to_undeploy(settings, found)
    # projects/…/models/ID@VERSION; one model may be deployed twice.
    models = list(dict.fromkeys(model["model"].rpartition("/")[2].partition("@")[0] for model in chosen))
    if not settings.yes and not confirmed(_warning(settings, chosen, models)):
        shell.note("nothing was changed")
        return
    for place, model in enumerate(chosen):
        shell.note(f"undeploying {model['id']}")
        # A model with traffic can be undeployed only if it is the last: its successor takes the traffic over.
        successor = chosen[place + 1]["id"] if place + 1 < len(chosen) and _traffic(found, model) else None
        shell.run(_undeploy_one(settings, model["id"], successor))
    if settings.delete:
        shell.note(f"deleting the endpoint {settings.endpoint} and {', '.join(models) or 'no model'}")
        shell.run(_delete(settings, "endpoints", settings.endpoint))
        for name in models:
            shell.run(_delete(settings, "models", name))


def _model_to_update(settings: EndpointUpdateSettings, found: Mapping[str, Any]) -> Mapping[str, Any]:
    models = found.get("deployedModels", [])
    chosen = _chosen(settings, models)
    if len(chosen) != 1:
        shown = ", ".join(model["id"] for model in chosen)
        raise SettingsError(f"--deployed-model: {settings.endpoint} has several, name one of {shown}")
    return chosen[0]


def _models_to_undeploy(
    settings: EndpointUndeploySettings, found: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    models = found.get("deployedModels", [])
    if settings.delete and not models:
        return []
    chosen = _chosen(settings, models)
    if len(chosen) == len(models):
        # Those without traffic first: then each successor has traffic already.
        return sorted(chosen, key=lambda model: _traffic(found, model))
    if settings.delete:
        raise SettingsError(
            f"--delete: {settings.endpoint} has {len(models)} deployed models and cannot be deleted with one "
            "of them; leave --deployed-model out to undeploy all"
        )
    if share := _traffic(found, chosen[0]):
        raise SettingsError(
            f"--deployed-model: {chosen[0]['id']} takes {share} percent of the traffic; give that to another "
            "first, with: gcloud ai endpoints update --traffic-split"
        )
    return chosen


def _chosen(settings: _OnDeployed, models: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the deployed models that --deployed-model names; all without it.

    Raises:
        SettingsError: there are none.
    """
    chosen = [model for model in models if settings.deployed_model in (None, model["id"])]
    if not models:
        raise SettingsError(f"--endpoint: nothing is deployed to {settings.endpoint}")
    if not chosen:
        shown = ", ".join(model["id"] for model in models)
        raise SettingsError(
            f"--deployed-model: {settings.deployed_model} is not on {settings.endpoint}, which has {shown}"
        )
    return chosen


def _warning(
    settings: EndpointUndeploySettings, chosen: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> str:
    ids = ", ".join(model["id"] for model in chosen)
    parts = [f"undeploys {ids}"] if chosen else []
    if settings.delete:
        parts.append(f"deletes the endpoint and {len(models)} model(s) ({', '.join(models)})")
    return f"This {' and '.join(parts)} of the endpoint {settings.endpoint}; requests to it then fail."


def _traffic(found: Mapping[str, Any], model: Mapping[str, Any]) -> int:
    return found.get("trafficSplit", {}).get(model["id"], 0)


def _shown_id(settings: _OnDeployed, shell: Shell) -> str:
    """Return the deployed model's id for what a dry run prints."""
    if settings.deployed_model:
        return settings.deployed_model
    shell.note(f"{_UNKNOWN_DEPLOYED_MODEL}: its id, which the command above prints")
    return _UNKNOWN_DEPLOYED_MODEL


def _undeploy_one(
    settings: EndpointUndeploySettings, deployed: str, successor: str | None = None
) -> list[str]:
    argv = ["gcloud", "ai", "endpoints", "undeploy-model", settings.endpoint, *where(settings)]
    argv.append(f"--deployed-model-id={deployed}")
    return [*argv, f"--traffic-split={successor}=100"] if successor else argv


def _delete(settings: Location, kind: str, name: str) -> list[str]:
    # gcloud would ask, and has nobody to ask.
    return ["gcloud", "ai", kind, "delete", name, *where(settings), "--quiet"]


def _describe(settings: Location, shell: Shell, endpoint: str) -> Mapping[str, Any] | None:
    """Return what the API says of an endpoint; None under dry_run."""
    return shell.read(["gcloud", "ai", "endpoints", "describe", endpoint, *where(settings), "--format=json"])
