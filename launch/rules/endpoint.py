"""What Vertex AI refuses, or ignores in silence, of an endpoint's settings; each with its reason.

Sources: `DedicatedResources` and `AutoscalingMetricSpec` of the API (v1beta1), and
https://cloud.google.com/vertex-ai/docs/predictions/autoscaling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from launch.rules.rule import Rule
from launch.settings import endpoint, machines
from launch.settings.endpoint import DEPLOY, UPDATE
from launch.settings.setting import Settings

DEFAULT_MACHINE = "n1-standard-4"
# DedicatedResources.ScaleToZeroSpec of the API: 5 minutes to 8 hours.
SHORTEST_PERIOD_S = 300
LONGEST_PERIOD_S = 28_800


def problems(settings: Settings) -> list[str]:
    """What is wrong with the settings of an endpoint command, one problem each, before anything runs."""
    found = (rule.problem(settings) for rule in RULES if settings.command in rule.commands)
    return [problem for problem in found if problem]


def machine_of(settings: Settings) -> str:
    """The machine type of a replica, given or by default."""
    if settings.endpoint_machine_type:
        return settings.endpoint_machine_type
    return machines.default_machine(settings.endpoint_gpu) if settings.endpoint_gpu else DEFAULT_MACHINE


def replicas_of(settings: Settings) -> tuple[int, int]:
    """Fewest and most replicas of a deployment, given or by default."""
    fewest = settings.min_replicas
    if fewest is None:
        fewest = 0 if settings.scale_to_zero else 1
    return fewest, settings.max_replicas or max(1, fewest)


def deploy_problems(settings: Settings, found: Mapping[str, Any]) -> list[str]:
    """What is wrong with deploying to an endpoint that exists; `found`: what the API says of it."""
    deployed = found.get("deployedModels", [])
    if settings.scale_to_zero and deployed:
        return [
            f"--scale-to-zero: {settings.endpoint} has {len(deployed)} deployed model(s) already, and "
            "only an endpoint with a single one goes to zero; leave --endpoint out to make another"
        ]
    if settings.scale_to_zero and not found.get("dedicatedEndpointEnabled"):
        return [
            f"--scale-to-zero: the endpoint {settings.endpoint} is a shared one, which never goes to zero; "
            "leave --endpoint out to make a dedicated one"
        ]
    if any(_goes_to_zero(model) for model in deployed):
        return [
            f"--endpoint: what is deployed to {settings.endpoint} scales to zero, which allows no second "
            "model; undeploy it first, or leave --endpoint out to make another"
        ]
    return []


def update_problems(settings: Settings, model: Mapping[str, Any]) -> list[str]:
    """What is wrong with changing this deployed model; `model`: what the API says of it."""
    resources = model.get("dedicatedResources")
    if resources is None:
        return [f"--deployed-model: {model['id']} has no machines of its own, so its replicas cannot be set"]
    found = []
    fewest = resources.get("minReplicaCount", 0) if settings.min_replicas is None else settings.min_replicas
    # The API's own default.
    most = settings.max_replicas or resources.get("maxReplicaCount", max(1, fewest))
    if fewest > most:
        found.append(f"min-replicas would be {fewest} and max-replicas {most}: give both")
    if settings.min_replicas == 0 and not _goes_to_zero(model):
        found.append(
            "--min-replicas: 0 needs a model that was deployed with --scale-to-zero; undeploy it, then "
            "deploy it so"
        )
    has_gpu = bool(resources.get("machineSpec", {}).get("acceleratorCount"))
    if endpoint.GPU_DUTY_CYCLE in (settings.scaling_metric or {}) and not has_gpu:
        found.append(f"--scaling-metric: {endpoint.GPU_DUTY_CYCLE} needs GPUs, {model['id']} has none")
    return found


def _goes_to_zero(model: Mapping[str, Any]) -> bool:
    resources = model.get("dedicatedResources", {})
    # v1 does not show scaleToZeroSpec; without it the API takes no 0, which it leaves out of its JSON.
    return "scaleToZeroSpec" in resources or (bool(resources) and not resources.get("minReplicaCount"))


def _nothing_to_deploy(settings: Settings) -> str | None:
    missing = [
        name for name in ("model-uri", "serving-image") if getattr(settings, name.replace("-", "_")) is None
    ]
    if settings.model or not missing:
        return None
    return f"--{' and --'.join(missing)}: missing; or name a model that is in the registry already by --model"


def _upload_beside_model(settings: Settings) -> str | None:
    given = [
        f"--{name}"
        for name in ("model-uri", "serving-image", "serving-args")
        if getattr(settings, name.replace("-", "_"))
    ]
    if not settings.model or not given:
        return None
    return (
        f"--model: with it nothing is uploaded, so {', '.join(given)} would be ignored; "
        "leave out the one or the other"
    )


def _min_above_max(settings: Settings) -> str | None:
    if settings.min_replicas is None or settings.max_replicas is None:
        return None
    if settings.min_replicas <= settings.max_replicas:
        return None
    return f"--min-replicas: {settings.min_replicas} is above --max-replicas, {settings.max_replicas}"


def _zero_without_scale_to_zero(settings: Settings) -> str | None:
    if settings.min_replicas != 0 or settings.scale_to_zero:
        return None
    return "--min-replicas: 0 needs --scale-to-zero; without, an endpoint keeps at least 1 replica"


def _scale_to_zero_with_min(settings: Settings) -> str | None:
    if not settings.scale_to_zero or not settings.min_replicas:
        return None
    return f"--scale-to-zero: needs --min-replicas=0, not {settings.min_replicas}"


def _scale_to_zero_when_shared(settings: Settings) -> str | None:
    if not settings.scale_to_zero or settings.endpoint or settings.endpoint_kind != endpoint.SHARED:
        return None
    return "--scale-to-zero: a shared endpoint never goes to zero; use --endpoint-kind=dedicated"


def _period(name: str) -> Callable[[Settings], str | None]:
    def problem(settings: Settings) -> str | None:
        seconds = getattr(settings, name.replace("-", "_"))
        if seconds is None:
            return None
        if not settings.scale_to_zero:
            return f"--{name}: has no effect without --scale-to-zero"
        if SHORTEST_PERIOD_S <= seconds <= LONGEST_PERIOD_S:
            return None
        allowed = f"{SHORTEST_PERIOD_S} to {LONGEST_PERIOD_S} s (5 minutes to 8 hours)"
        return f"--{name}: {seconds} is outside {allowed}"

    return problem


def _gpu_misfit(settings: Settings) -> str | None:
    if not settings.endpoint_gpu or not settings.endpoint_machine_type:
        return None
    reason = machines.misfit(settings.endpoint_machine_type, settings.endpoint_gpu)
    return f"--endpoint-machine-type: {reason}" if reason else None


def _gpu_left_out(settings: Settings) -> str | None:
    inside = machines.built_in_gpu(machine_of(settings))
    if inside is None or settings.endpoint_gpu:
        return None
    return (
        f"--endpoint-machine-type: {machine_of(settings)} comes with GPUs that have to be asked for: add "
        f"--endpoint-gpu={inside}"
    )


def _machine_not_offered(settings: Settings) -> str | None:
    machine = machine_of(settings)
    if machines.has_shared_core(machine) or "custom-" in machine:
        return f"--endpoint-machine-type: endpoints do not run on {machine}: take {DEFAULT_MACHINE} or larger"
    return None


def _duty_cycle_without_gpu(settings: Settings) -> str | None:
    if settings.endpoint_gpu or endpoint.GPU_DUTY_CYCLE not in (settings.scaling_metric or {}):
        return None
    duty_cycle = endpoint.GPU_DUTY_CYCLE
    return f"--scaling-metric: {duty_cycle} needs GPUs: add --endpoint-gpu, or aim at {endpoint.CPU}"


def _target_above_100(settings: Settings) -> str | None:
    for name, target in (settings.scaling_metric or {}).items():
        if name != endpoint.REQUEST_COUNT and target > 100:
            return f"--scaling-metric: {name}={target} is a percentage, 1 to 100"
    return None


def _nothing_to_change(settings: Settings) -> str | None:
    if settings.min_replicas is None and settings.max_replicas is None and settings.scaling_metric is None:
        return "nothing to change: give --min-replicas, --max-replicas or --scaling-metric"
    return None


RULES = (
    Rule("nothing to deploy", (DEPLOY,), _nothing_to_deploy),
    Rule("upload beside a model", (DEPLOY,), _upload_beside_model),
    Rule("min above max", (DEPLOY, UPDATE), _min_above_max),
    Rule("zero without scale to zero", (DEPLOY,), _zero_without_scale_to_zero),
    Rule("scale to zero from above zero", (DEPLOY,), _scale_to_zero_with_min),
    Rule("scale to zero on a shared endpoint", (DEPLOY,), _scale_to_zero_when_shared),
    Rule("scale-up period", (DEPLOY,), _period("min-scaleup-s")),
    Rule("scale-down period", (DEPLOY,), _period("idle-scaledown-s")),
    Rule("GPU and machine that do not fit", (DEPLOY,), _gpu_misfit),
    Rule("GPU machine without its GPU", (DEPLOY,), _gpu_left_out),
    Rule("machine that endpoints do not run on", (DEPLOY,), _machine_not_offered),
    Rule("GPU metric without a GPU", (DEPLOY,), _duty_cycle_without_gpu),
    Rule("target above 100 percent", (DEPLOY, UPDATE), _target_above_100),
    Rule("nothing to change", (UPDATE,), _nothing_to_change),
)
