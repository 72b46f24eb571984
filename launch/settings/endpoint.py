"""The settings of `./launch.sh endpoint …`: rows of the table in settings.py."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from launch.settings import values
from launch.settings.machines import parse_gpu
from launch.settings.setting import Setting
from pipeline.options.values import integer, one_of

DEPLOY = "endpoint deploy"
UPDATE = "endpoint update"
UNDEPLOY = "endpoint undeploy"

DEDICATED = "dedicated"
SHARED = "shared"

CPU = "cpu-usage"
GPU_DUTY_CYCLE = "gpu-duty-cycle"
REQUEST_COUNT = "request-counts-per-minute"
# gcloud's names of the metrics → the API's.
METRICS: Mapping[str, str] = {
    CPU: "aiplatform.googleapis.com/prediction/online/cpu/utilization",
    GPU_DUTY_CYCLE: "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
    REQUEST_COUNT: "aiplatform.googleapis.com/prediction/online/request_count",
}


def resource_id(text: str) -> str:
    """The id of an endpoint or a model, for one that is made here.

    By `endpoint_id` of google.cloud.aiplatform_v1.types.CreateEndpointRequest and `model_id` of
    UploadModelRequest: one that begins with a letter may be chosen freely.
    """
    if not re.fullmatch(r"[a-z](?:[a-z0-9\-]{0,61}[a-z0-9])?", text):
        raise ValueError(
            f"{text!r} is not an id: at most 63 small letters, digits and dashes, beginning with a letter"
        )
    return text


def existing_id(text: str) -> str:
    """The id of an endpoint that exists: a number, where the service chose it."""
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?", text):
        raise ValueError(f"{text!r} is not the id of an endpoint: the last part of projects/…/endpoints/ID")
    return text


def existing_model(text: str) -> str:
    """The id of a model in the registry, with @VERSION or without."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_\-]{0,62}(?:@[a-z0-9\-]+)?", text):
        raise ValueError(f"{text!r} is not the id of a model, as in 1234567890 or my-model@2")
    return text


def deployed_model(text: str) -> str:
    # DeployedModel.id: 1 to 10 digits where it is chosen, up to 19 where the service makes it.
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise ValueError(f"{text!r} is not the id of a deployed model, which is a number")
    return text


def serving_image(text: str) -> str:
    """Full name of an image with its tag or digest."""
    name, separator, version = text.rpartition("@" if "@" in text else ":")
    values.image(name if separator else text)
    if separator == "@" and re.fullmatch(r"sha256:[0-9a-f]{64}", version):
        return text
    if separator != ":" or "/" in version:
        raise ValueError(f"{text!r} has no tag: REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG")
    values.tag(version)
    return text


def arguments(text: str) -> list[str]:
    """Words as a shell splits them."""
    return shlex.split(text)


def metrics(text: str) -> dict[str, int]:
    """METRIC=TARGET,METRIC=TARGET; targets are whole numbers from 1."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, target = part.partition("=")
        if name not in METRICS:
            raise ValueError(f"{part!r} is not METRIC=TARGET with a metric of: {', '.join(METRICS)}")
        if name in found:
            raise ValueError(f"{name} is given twice")
        try:
            found[name] = values.count(target)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found


ENDPOINT_SETTINGS = (
    Setting(
        "endpoint",
        existing_id,
        "Id of an endpoint that exists. Default: one is made, with --endpoint-name as its id.",
        None,
        (DEPLOY,),
    ),
    Setting("endpoint", existing_id, "Id of the endpoint.", None, (UPDATE, UNDEPLOY), required=True),
    Setting(
        "endpoint-name", resource_id, "Id and name of the endpoint to make.", "streaming-inference", (DEPLOY,)
    ),
    Setting(
        "endpoint-kind",
        one_of(DEDICATED, SHARED),
        "Kind of the endpoint to make. dedicated: an address of its own, apart from other users' traffic; "
        "shared: the region's common address.",
        DEDICATED,
        (DEPLOY,),
    ),
    Setting(
        "model",
        existing_model,
        "Id of a model that is in the registry already; then nothing is uploaded.",
        None,
        (DEPLOY,),
    ),
    Setting(
        "model-name", resource_id, "Id and name of the model to upload.", "streaming-inference", (DEPLOY,)
    ),
    Setting("model-uri", values.gs_path, "gs:// folder that holds the model file.", None, (DEPLOY,)),
    Setting(
        "serving-image",
        serving_image,
        "Image of the container, with its tag: REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG.",
        None,
        (DEPLOY,),
    ),
    Setting(
        "serving-args",
        arguments,
        "Flags of the container, in quotes: '--input_shape=30 --workers=4'.",
        None,
        (DEPLOY,),
    ),
    Setting(
        "endpoint-machine-type",
        values.machine_type,
        "Machine type of a replica. Default: the smallest that takes --endpoint-gpu; without, n1-standard-4.",
        None,
        (DEPLOY,),
    ),
    Setting("endpoint-gpu", parse_gpu, "GPUs of each replica, as TYPE:COUNT: nvidia-l4:1.", None, (DEPLOY,)),
    Setting(
        "min-replicas",
        integer(0, 1_000_000),
        "Fewest replicas. Default of deploy: 1, with --scale-to-zero 0.",
        None,
        (DEPLOY, UPDATE),
        from_flag_only=(UPDATE,),
    ),
    Setting(
        "max-replicas",
        integer(1, 1_000_000),
        "Most replicas; what they cannot carry is dropped. Default of deploy: --min-replicas, at least 1.",
        None,
        (DEPLOY, UPDATE),
        from_flag_only=(UPDATE,),
    ),
    Setting(
        "scaling-metric",
        metrics,
        f"What the autoscaler aims at, METRIC=TARGET, several with commas: {CPU} and {GPU_DUTY_CYCLE} in "
        f"percent, {REQUEST_COUNT} of each replica. Default: the service's own, 60 percent of CPU and, on "
        "GPUs, of their duty cycle.",
        None,
        (DEPLOY, UPDATE),
        from_flag_only=(UPDATE,),
    ),
    Setting(
        "scale-to-zero",
        values.boolean,
        "Let the endpoint go to no replica at all while nobody asks (Preview). The first requests are then "
        "refused until one is up, which the job waits for.",
        "false",
        (DEPLOY,),
        switch=True,
    ),
    Setting(
        "min-scaleup-s",
        values.count,
        "With --scale-to-zero: seconds it stays up at least, 300 to 28800. Default: the service's own, 3600.",
        None,
        (DEPLOY,),
    ),
    Setting(
        "idle-scaledown-s",
        values.count,
        "With --scale-to-zero: seconds without a request before it goes, 300 to 28800. Default: the "
        "service's own, 3600.",
        None,
        (DEPLOY,),
    ),
    Setting(
        "deployed-model",
        deployed_model,
        "Id of the deployed model. Default: the only one of the endpoint; undeploy takes all.",
        None,
        (UPDATE, UNDEPLOY),
        from_flag_only=(UPDATE, UNDEPLOY),
    ),
    Setting(
        "delete",
        values.boolean,
        "Delete the endpoint and the models it served, too.",
        "false",
        (UNDEPLOY,),
        switch=True,
        from_flag_only=(UNDEPLOY,),
    ),
)
