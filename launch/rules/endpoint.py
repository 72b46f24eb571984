"""What Vertex AI refuses, or ignores in silence, of an endpoint's settings; each with its reason.

Sources: `DedicatedResources` and `AutoscalingMetricSpec` of the API (v1beta1), and
https://cloud.google.com/vertex-ai/docs/predictions/autoscaling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.rules.encryption import key_elsewhere
from launch.rules.endpoint_server import SERVER_RULES
from launch.rules.rule import Rule
from launch.settings import machines
from launch.settings.endpoint import SHARED, EndpointDeploySettings, EndpointUpdateSettings
from launch.settings.endpoint_parsers import CPU, GPU_DUTY_CYCLE, PUBSUB_UNDELIVERED

DEFAULT_MACHINE = "n1-standard-4"
# DedicatedResources.ScaleToZeroSpec of the API: 5 minutes to 8 hours.
SHORTEST_PERIOD_S = 300
LONGEST_PERIOD_S = 28_800
# Of the name of a subscription whose backlog scales replicas, on the page named above.
LONGEST_SUBSCRIPTION = 63
_PERCENTAGES = (CPU, GPU_DUTY_CYCLE)


def machine_of(settings: EndpointDeploySettings) -> str:
    """Return the machine type of a replica, given or by default."""
    if settings.endpoint_machine_type:
        return settings.endpoint_machine_type
    return machines.default_machine(settings.endpoint_gpu) if settings.endpoint_gpu else DEFAULT_MACHINE


def replicas_of(settings: EndpointDeploySettings) -> tuple[int, int]:
    """Return the fewest and the most replicas of a deployment, given or by default."""
    fewest = settings.min_replicas
    if fewest is None:
        fewest = 0 if settings.scale_to_zero else 1
    return fewest, settings.max_replicas or max(1, fewest)


def changes_replicas(settings: EndpointUpdateSettings) -> bool:
    """Return whether an update changes the replicas of a deployed model, or how they scale."""
    changes = (settings.min_replicas, settings.max_replicas, settings.scaling_metric)
    return any(change is not None for change in changes)


def split_problems(settings: EndpointUpdateSettings, found: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a split of the traffic; `found`: what the API says of the endpoint."""
    deployed = [model["id"] for model in found.get("deployedModels", [])]
    unknown = [name for name in settings.traffic_split or {} if name not in deployed]
    if not unknown:
        return []
    shown = ", ".join(deployed) or "nothing"
    return [f"--traffic-split: {', '.join(unknown)} is not on {settings.endpoint}, which has {shown}"]


def deploy_problems(settings: EndpointDeploySettings, found: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with deploying to an endpoint that exists; `found`: what the API says of it."""
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
    if settings.traffic < 100 and not deployed:
        return [
            f"--traffic: nothing is deployed to {settings.endpoint} yet, so no other model takes the rest of "
            "the requests; leave it out"
        ]
    if any(_goes_to_zero(model) for model in deployed):
        return [
            f"--endpoint: what is deployed to {settings.endpoint} scales to zero, which allows no second "
            "model; undeploy it first, or leave --endpoint out to make another"
        ]
    return []


def update_problems(settings: EndpointUpdateSettings, model: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with changing a deployed model; `model`: what the API says of it."""
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
    if GPU_DUTY_CYCLE in (settings.scaling_metric or {}) and not has_gpu:
        found.append(f"--scaling-metric: {GPU_DUTY_CYCLE} needs GPUs, {model['id']} has none")
    return found


def _goes_to_zero(model: Mapping[str, Any]) -> bool:
    resources = model.get("dedicatedResources", {})
    # v1 does not show scaleToZeroSpec; without it the API takes no 0, which it leaves out of its JSON.
    return "scaleToZeroSpec" in resources or (bool(resources) and not resources.get("minReplicaCount"))


def _min_above_max(settings: EndpointDeploySettings | EndpointUpdateSettings) -> str | None:
    if settings.min_replicas is None or settings.max_replicas is None:
        return None
    if settings.min_replicas <= settings.max_replicas:
        return None
    return f"--min-replicas: {settings.min_replicas} is above --max-replicas, {settings.max_replicas}"


def _zero_without_scale_to_zero(settings: EndpointDeploySettings) -> str | None:
    if settings.min_replicas != 0 or settings.scale_to_zero:
        return None
    return "--min-replicas: 0 needs --scale-to-zero; without, an endpoint keeps at least 1 replica"


def _scale_to_zero_with_min(settings: EndpointDeploySettings) -> str | None:
    if not settings.scale_to_zero or not settings.min_replicas:
        return None
    return f"--scale-to-zero: needs --min-replicas=0, not {settings.min_replicas}"


def _scale_to_zero_when_shared(settings: EndpointDeploySettings) -> str | None:
    if not settings.scale_to_zero or settings.endpoint or settings.endpoint_kind != SHARED:
        return None
    return "--scale-to-zero: a shared endpoint never goes to zero; use --endpoint-kind=dedicated"


def _scale_up_period(settings: EndpointDeploySettings) -> str | None:
    return _period("--min-scaleup-s", settings.min_scaleup_s, settings.scale_to_zero)


def _scale_down_period(settings: EndpointDeploySettings) -> str | None:
    return _period("--idle-scaledown-s", settings.idle_scaledown_s, settings.scale_to_zero)


def _period(flag: str, seconds: int | None, scale_to_zero: bool) -> str | None:
    if seconds is None:
        return None
    if not scale_to_zero:
        return f"{flag}: has no effect without --scale-to-zero"
    if SHORTEST_PERIOD_S <= seconds <= LONGEST_PERIOD_S:
        return None
    allowed = f"{SHORTEST_PERIOD_S} to {LONGEST_PERIOD_S} s (5 minutes to 8 hours)"
    return f"{flag}: {seconds} is outside {allowed}"


def _gpu_misfit(settings: EndpointDeploySettings) -> str | None:
    if not settings.endpoint_gpu or not settings.endpoint_machine_type:
        return None
    reason = machines.misfit(settings.endpoint_machine_type, settings.endpoint_gpu)
    return f"--endpoint-machine-type: {reason}" if reason else None


def _gpu_left_out(settings: EndpointDeploySettings) -> str | None:
    inside = machines.built_in_gpu(machine_of(settings))
    if inside is None or settings.endpoint_gpu:
        return None
    return (
        f"--endpoint-machine-type: {machine_of(settings)} comes with GPUs that have to be asked for: add "
        f"--endpoint-gpu={inside}"
    )


def _machine_not_offered(settings: EndpointDeploySettings) -> str | None:
    machine = machine_of(settings)
    if machines.has_shared_core(machine) or "custom-" in machine:
        return f"--endpoint-machine-type: endpoints do not run on {machine}: take {DEFAULT_MACHINE} or larger"
    if machines.is_arm(machine):
        return f"--endpoint-machine-type: {machine} is Arm, the image for x86: take {DEFAULT_MACHINE}"
    if not settings.endpoint_gpu and machines.unknown_accelerator(machine):
        return (
            f"--endpoint-machine-type: {machine} has GPUs or TPUs that the image does not run on, and you "
            f"would pay for them: take {DEFAULT_MACHINE}, or name a GPU by --endpoint-gpu"
        )
    return None


def _traffic_of_a_new_endpoint(settings: EndpointDeploySettings) -> str | None:
    if settings.endpoint or settings.traffic == 100:
        return None
    return (
        f"--traffic: a new endpoint has no other model for the other {100 - settings.traffic} percent of the "
        "requests: leave it out, or name an endpoint that has one by --endpoint"
    )


def _duty_cycle_without_gpu(settings: EndpointDeploySettings) -> str | None:
    if settings.endpoint_gpu or GPU_DUTY_CYCLE not in (settings.scaling_metric or {}):
        return None
    return f"--scaling-metric: {GPU_DUTY_CYCLE} needs GPUs: add --endpoint-gpu, or aim at {CPU}"


def _target_above_100(settings: EndpointDeploySettings | EndpointUpdateSettings) -> str | None:
    for name, target in (settings.scaling_metric or {}).items():
        if name in _PERCENTAGES and target > 100:
            return f"--scaling-metric: {name}={target} is a percentage, 1 to 100"
    return None


def _metric_of_a_subscription(settings: EndpointDeploySettings | EndpointUpdateSettings) -> str | None:
    counted = PUBSUB_UNDELIVERED in (settings.scaling_metric or {})
    if counted and settings.scaling_subscription is None:
        return (
            f"--scaling-subscription: missing. {PUBSUB_UNDELIVERED} counts the messages of the one it names"
        )
    if settings.scaling_subscription is None:
        return None
    if not counted:
        return f"--scaling-subscription: has no effect without --scaling-metric={PUBSUB_UNDELIVERED}=TARGET"
    name = settings.scaling_subscription.rpartition("/")[2]
    if len(name) > LONGEST_SUBSCRIPTION:
        return (
            f"--scaling-subscription: the name {name} has {len(name)} characters, of which Vertex AI takes "
            f"{LONGEST_SUBSCRIPTION}: make a subscription with a shorter one"
        )
    return None


def _initial_replicas(settings: EndpointDeploySettings) -> str | None:
    if settings.initial_replicas is None:
        return None
    if not settings.scale_to_zero:
        return "--initial-replicas: is of --scale-to-zero alone: name the fewest by --min-replicas"
    most = replicas_of(settings)[1]
    if settings.initial_replicas > most:
        return f"--initial-replicas: {settings.initial_replicas} is above --max-replicas, {most}"
    return None


def _nothing_to_change(settings: EndpointUpdateSettings) -> str | None:
    if changes_replicas(settings) or settings.traffic_split is not None:
        return None
    return "nothing to change: give --min-replicas, --max-replicas, --scaling-metric or --traffic-split"


def _model_of_a_split(settings: EndpointUpdateSettings) -> str | None:
    if settings.deployed_model is None or changes_replicas(settings) or settings.traffic_split is None:
        return None
    return "--deployed-model: --traffic-split names its models itself: leave it out"


DEPLOY_RULES: tuple[Rule[EndpointDeploySettings], ...] = (
    *SERVER_RULES,
    Rule("min above max", _min_above_max),
    Rule("zero without scale to zero", _zero_without_scale_to_zero),
    Rule("scale to zero from above zero", _scale_to_zero_with_min),
    Rule("scale to zero on a shared endpoint", _scale_to_zero_when_shared),
    Rule("replicas to start with", _initial_replicas),
    Rule("scale-up period", _scale_up_period),
    Rule("scale-down period", _scale_down_period),
    Rule("GPU and machine that do not fit", _gpu_misfit),
    Rule("GPU machine without its GPU", _gpu_left_out),
    Rule("machine that endpoints do not run on", _machine_not_offered),
    Rule("traffic of a new endpoint", _traffic_of_a_new_endpoint),
    Rule("key outside the region", key_elsewhere),
    Rule("GPU metric without a GPU", _duty_cycle_without_gpu),
    Rule("target above 100 percent", _target_above_100),
    Rule("metric of a subscription", _metric_of_a_subscription),
)
UPDATE_RULES: tuple[Rule[EndpointUpdateSettings], ...] = (
    Rule("min above max", _min_above_max),
    Rule("target above 100 percent", _target_above_100),
    Rule("metric of a subscription", _metric_of_a_subscription),
    Rule("nothing to change", _nothing_to_change),
    Rule("one model for a split", _model_of_a_split),
)
