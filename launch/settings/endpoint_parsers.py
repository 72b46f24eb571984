"""From the text of an endpoint's setting to its value."""

from __future__ import annotations

import re
from collections.abc import Mapping

from launch.settings import parsers
from pipeline.options.values import integer

CPU = "cpu-usage"
GPU_DUTY_CYCLE = "gpu-duty-cycle"
REQUEST_COUNT = "request-counts-per-minute"
PUBSUB_UNDELIVERED = "pubsub-undelivered"
# The API's names of the metrics, by gcloud's; the last one gcloud has not.
METRICS: Mapping[str, str] = {
    CPU: "aiplatform.googleapis.com/prediction/online/cpu/utilization",
    GPU_DUTY_CYCLE: "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
    REQUEST_COUNT: "aiplatform.googleapis.com/prediction/online/request_count",
    PUBSUB_UNDELIVERED: "pubsub.googleapis.com/subscription/num_undelivered_messages",
}


def resource_id(text: str) -> str:
    """Return the id of an endpoint or a model that is created here.

    By `endpoint_id` of google.cloud.aiplatform_v1.types.CreateEndpointRequest and `model_id` of
    UploadModelRequest, one that begins with a letter may be chosen freely.

    Raises:
        ValueError: The text is no such id.
    """
    if not re.fullmatch(r"[a-z](?:[a-z0-9\-]{0,61}[a-z0-9])?", text):
        raise ValueError(
            f"{text!r} is not an id: 1 to 63 small letters, digits and dashes, beginning with a letter and "
            "not ending with a dash"
        )
    return text


def existing_id(text: str) -> str:
    """Return the id of an endpoint that exists: a number, if the service chose it.

    Raises:
        ValueError: The text is no such id.
    """
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?", text):
        raise ValueError(f"{text!r} is not the id of an endpoint: the last part of projects/…/endpoints/ID")
    return text


def existing_model(text: str) -> str:
    """Return the id of a model in the registry, with @VERSION or without.

    Raises:
        ValueError: The text is no such id.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_\-]{0,62}(?:@[a-z0-9\-]+)?", text):
        raise ValueError(f"{text!r} is not the id of a model, as in 1234567890 or my-model@2")
    return text


def deployed_model(text: str) -> str:
    """Return the id of a deployed model.

    Raises:
        ValueError: The text is no such id.
    """
    # DeployedModel.id: 1 to 10 digits if it was chosen, up to 19 if the service made it.
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise ValueError(f"{text!r} is not the id of a deployed model, which is a number")
    return text


def serving_image(text: str) -> str:
    """Return the full name of an image, with its tag or digest.

    Raises:
        ValueError: The text is no such name, or its tag is latest.
    """
    name, separator, version = text.rpartition("@" if "@" in text else ":")
    parsers.image(name if separator else text)
    if separator == "@" and re.fullmatch(r"sha256:[0-9a-f]{64}", version):
        return text
    if separator != ":" or "/" in version:
        raise ValueError(f"{text!r} has no tag: REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG")
    parsers.tag(version)
    return text


def traffic_split(text: str) -> dict[str, int]:
    """Return the percentages by deployed model of ID=PERCENT,ID=PERCENT.

    Raises:
        ValueError: A part is no such thing, a model is named twice, or the sum is not 100.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, percent = part.partition("=")
        deployed_model(name)
        if name in found:
            raise ValueError(f"{name} is given twice")
        try:
            found[name] = integer(0, 100)(percent)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if (total := sum(found.values())) != 100:
        raise ValueError(f"the percentages add up to {total}, not to 100")
    return found


def metrics(text: str) -> dict[str, int]:
    """Return the targets by metric of METRIC=TARGET,METRIC=TARGET; a target is a whole number from 1.

    Raises:
        ValueError: A metric is unknown or given twice, or a target is no such number.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, target = part.partition("=")
        if name not in METRICS:
            raise ValueError(f"{part!r} is not METRIC=TARGET with a metric of: {', '.join(METRICS)}")
        if name in found:
            raise ValueError(f"{name} is given twice")
        try:
            found[name] = parsers.count(target)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found
