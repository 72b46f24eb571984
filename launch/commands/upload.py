"""The upload of a model to the registry, with the container that serves it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launch.cloud.gcloud import comma_list, label_list, where
from launch.cloud.rest import Rest
from launch.cloud.shell import CommandError, Shell
from launch.settings import serving_flags
from launch.settings.endpoint import SERVING, TRITON, EndpointDeploySettings
from pipeline.options.job_options import DEFAULT_INPUT_SHAPE

# What serving/ listens on, by its defaults; Triton on what Vertex AI tells it of these (AIP_*).
PORT = 8080
PREDICT_ROUTE = "/predict"
HEALTH_ROUTE = "/health"
# `Probe` of the API says that a time-out is no less than the period, and the period less than it.
_PROBE_PERIOD_S = 5
_PROBE_TIMEOUT_S = 10


def upload(settings: EndpointDeploySettings, shell: Shell, rest: Rest) -> None:
    """Upload the model.

    Raises:
        CommandError: It was refused.
    """
    args = _ARGUMENTS[settings.server](settings, shell)
    try:
        if settings.kms_key or settings.startup_timeout_s:
            rest.change("uploading the model", "v1", "models:upload", _upload_body(settings, args))
        else:
            shell.run(_upload_command(settings, args))
    except CommandError as error:
        fix = f"--model-name=ANOTHER, or take what is there by --model={settings.model_name}"
        raise hinted(error, fix) from None


def _of_serving(settings: EndpointDeploySettings, shell: Shell) -> list[str]:
    """Return the flags of this project's container; on a GPU it is told to use it, or to end."""
    given = settings.serving_args or {}
    if serving_flags.INPUT_SHAPE not in given:
        shell.note(
            "--serving-args has no --input_shape: the container takes it from a .pt2. For a file of another "
            f"kind it takes {DEFAULT_INPUT_SHAPE}, and ends at its start where the model takes "
            "another"
        )
    if settings.endpoint_gpu and serving_flags.DEVICE not in given:
        given = {**given, serving_flags.DEVICE: "gpu"}
    return [f"--{name}={value}" for name, value in given.items()]


def _of_triton(settings: EndpointDeploySettings, shell: Shell) -> list[str]:
    """Return Triton's flags. The image's entry point puts `tritonserver` before them, as AIP_MODE is set."""
    given = list(settings.triton_args or [])
    if not any(flag.startswith("--vertex-ai-default-model=") for flag in given):
        shell.note(
            f"{settings.model_uri} is to hold one model, as MODEL/config.pbtxt and MODEL/VERSION/; with "
            "several Triton ends at its start: name one by --triton-args=--vertex-ai-default-model=MODEL"
        )
    return given


_ARGUMENTS: Mapping[str, Callable[[EndpointDeploySettings, Shell], list[str]]] = {
    SERVING: _of_serving,
    TRITON: _of_triton,
}


def _upload_body(settings: EndpointDeploySettings, args: Sequence[str]) -> dict[str, Any]:
    """Return the body of models:upload, for what gcloud has no flag for: a key, a probe by HTTP."""
    container: dict[str, Any] = {
        "imageUri": settings.serving_image,
        "predictRoute": PREDICT_ROUTE,
        "healthRoute": HEALTH_ROUTE,
        "ports": [{"containerPort": PORT}],
    }
    if args:
        container["args"] = list(args)
    if settings.shared_memory_mb:
        container["sharedMemorySizeMb"] = str(settings.shared_memory_mb)
    if settings.deployment_timeout_s:
        container["deploymentTimeout"] = f"{settings.deployment_timeout_s}s"
    if settings.startup_timeout_s:
        container["startupProbe"] = {
            "httpGet": {"path": HEALTH_ROUTE, "port": PORT},
            "periodSeconds": _PROBE_PERIOD_S,
            "timeoutSeconds": _PROBE_TIMEOUT_S,
            "failureThreshold": math.ceil(settings.startup_timeout_s / _PROBE_PERIOD_S),
        }
    model = {
        "displayName": settings.model_name,
        "artifactUri": settings.model_uri,
        "containerSpec": container,
        **marks(settings),
    }
    return {"modelId": settings.model_name, "model": model}


def marks(settings: EndpointDeploySettings) -> dict[str, Any]:
    """Return the labels and the key as the API takes them."""
    found: dict[str, Any] = {}
    if settings.labels:
        found["labels"] = settings.labels
    if settings.kms_key:
        found["encryptionSpec"] = {"kmsKeyName": settings.kms_key}
    return found


def hinted(error: CommandError, hint: str) -> CommandError:
    """Return the error; if it is that a name is taken, with what to give instead."""
    taken = re.search(r"already[ _]exists", str(error), re.IGNORECASE)
    return CommandError(f"{error}: {hint}") if taken else error


def _upload_command(settings: EndpointDeploySettings, args: Sequence[str]) -> list[str]:
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
    if args:
        argv.append(f"--container-args={comma_list(args)}")
    if settings.shared_memory_mb:
        argv.append(f"--container-shared-memory-size-mb={settings.shared_memory_mb}")
    if settings.deployment_timeout_s:
        argv.append(f"--container-deployment-timeout-seconds={settings.deployment_timeout_s}")
    if settings.labels:
        argv.append(f"--labels={label_list(settings.labels)}")
    return argv
