"""The upload of a model to the registry, with the container that serves it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from launch.cloud.gcloud import comma_list, label_list, where
from launch.cloud.rest import Rest
from launch.cloud.shell import CommandError, Shell
from launch.settings import serving_flags
from launch.settings.endpoint import EndpointDeploySettings
from pipeline.options.job_options import DEFAULT_INPUT_SHAPE

# What serving/ listens on, by its defaults.
PORT = 8080
PREDICT_ROUTE = "/predict"
HEALTH_ROUTE = "/health"


def upload(settings: EndpointDeploySettings, shell: Shell, rest: Rest) -> None:
    """Upload the model.

    Raises:
        CommandError: It was refused.
    """
    arguments = _arguments(settings)
    if serving_flags.INPUT_SHAPE not in arguments:
        shell.note(
            "--serving-args has no --input_shape: the container takes it from a .pt2. For a file of another "
            f"kind it takes {DEFAULT_INPUT_SHAPE}, and ends at its start where the model takes "
            "another"
        )
    args = [f"--{name}={value}" for name, value in arguments.items()]
    try:
        if settings.kms_key:
            rest.change("uploading the model", "v1", "models:upload", _upload_body(settings, args))
        else:
            shell.run(_upload_command(settings, args))
    except CommandError as error:
        fix = f"--model-name=ANOTHER, or take what is there by --model={settings.model_name}"
        raise hinted(error, fix) from None


def _arguments(settings: EndpointDeploySettings) -> Mapping[str, str]:
    """Return the container's flags, by name; on a GPU it is told to use it, or to end."""
    given = settings.serving_args or {}
    if settings.endpoint_gpu and serving_flags.DEVICE not in given:
        return {**given, serving_flags.DEVICE: "gpu"}
    return given


def _upload_body(settings: EndpointDeploySettings, args: Sequence[str]) -> dict[str, Any]:
    """Return the body of models:upload, for what gcloud has no flag for, the key."""
    container: dict[str, Any] = {
        "imageUri": settings.serving_image,
        "predictRoute": PREDICT_ROUTE,
        "healthRoute": HEALTH_ROUTE,
        "ports": [{"containerPort": PORT}],
    }
    if args:
        container["args"] = list(args)
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
    if settings.labels:
        argv.append(f"--labels={label_list(settings.labels)}")
    return argv
