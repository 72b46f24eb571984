"""What Vertex AI refuses, or ignores in silence, of the model and the server of a deployment.

Sources: `ModelContainerSpec` of the API (v1): images, `deploymentTimeout`; `triton_flags` for Triton's flags.
"""

from __future__ import annotations

import re

from launch.rules.rule import Rule
from launch.settings import machines
from launch.settings.endpoint import SERVING, TRITON, EndpointDeploySettings
from launch.settings.serving_flags import DEVICE

# ModelContainerSpec.deploymentTimeout of the API: 2 hours.
LONGEST_DEPLOYMENT_S = 7_200
_NVIDIAS_REGISTRY = "nvcr.io/"


def _nothing_to_deploy(settings: EndpointDeploySettings) -> str | None:
    needed = {"--model-uri": settings.model_uri, "--serving-image": settings.serving_image}
    missing = [flag for flag, value in needed.items() if value is None]
    if settings.model or not missing:
        return None
    return f"{' and '.join(missing)}: missing; or name a model that is in the registry already by --model"


def _upload_beside_model(settings: EndpointDeploySettings) -> str | None:
    of_an_upload = {
        "--model-uri": settings.model_uri,
        "--serving-image": settings.serving_image,
        "--serving-args": settings.serving_args,
        "--triton-args": settings.triton_args,
        "--shared-memory-mb": settings.shared_memory_mb,
        "--startup-timeout-s": settings.startup_timeout_s,
        "--deployment-timeout-s": settings.deployment_timeout_s,
    }
    given = [flag for flag, value in of_an_upload.items() if value]
    if not settings.model or not given:
        return None
    return (
        f"--model: with it nothing is uploaded, so {', '.join(given)} would be ignored; "
        "leave out the one or the other"
    )


def _image_elsewhere(settings: EndpointDeploySettings) -> str | None:
    image = settings.serving_image
    # gcr.io is served out of Artifact Registry.
    if image is None or re.match(r"(?:[a-z0-9\-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)/", image):
        return None
    name = image.rpartition("/")[2].replace("@sha256:", ":")
    copy = f"{settings.region}-docker.pkg.dev/{settings.project}/REPOSITORY/{name}"
    whose = "NVIDIA's registry" if image.startswith(_NVIDIAS_REGISTRY) else "another registry"
    return (
        f"--serving-image: {image} is in {whose}, and Vertex AI takes images from Artifact Registry alone: "
        f"copy it once (docker pull {image} && docker tag {image} {copy} && docker push {copy}), and name "
        "the copy"
    )


def _args_of_the_other_server(settings: EndpointDeploySettings) -> str | None:
    if settings.server == TRITON and settings.serving_args:
        return "--serving-args: they are flags of this project's container; those of Triton are --triton-args"
    if settings.server == SERVING and settings.triton_args:
        return "--triton-args: --serving-image is this project's container; add --server=triton"
    return None


def _no_repository(settings: EndpointDeploySettings) -> str | None:
    if settings.server != TRITON or settings.model_uri is None:
        return None
    last = settings.model_uri.rpartition("/")[2]
    if re.fullmatch(r"[0-9]+", last):
        return (
            f"--model-uri: {settings.model_uri} looks like a version's folder; Triton wants the one above "
            "its models, which holds MODEL/config.pbtxt and MODEL/VERSION/"
        )
    if re.search(r"\.(?:pbtxt|pt|pt2|onnx)$", last):
        return (
            f"--model-uri: {settings.model_uri} is a file; Triton wants the folder above its models, which "
            "holds MODEL/config.pbtxt and MODEL/VERSION/ (./launch.sh export triton makes one of a .pt2)"
        )
    return None


def _timeouts(settings: EndpointDeploySettings) -> str | None:
    startup, deployment = settings.startup_timeout_s, settings.deployment_timeout_s
    for flag, value in (("--startup-timeout-s", startup), ("--deployment-timeout-s", deployment)):
        if value is not None and value > LONGEST_DEPLOYMENT_S:
            return f"{flag}: {value} is above {LONGEST_DEPLOYMENT_S} s (2 hours), the most there is"
    if startup is not None and deployment is not None and startup > deployment:
        return (
            f"--startup-timeout-s: {startup} is above --deployment-timeout-s, {deployment}, which counts "
            "machine and image, too"
        )
    return None


def _device_without_gpu(settings: EndpointDeploySettings) -> str | None:
    device = (settings.serving_args or {}).get(DEVICE)
    if device == "gpu" and not settings.endpoint_gpu:
        return "--serving-args: --device=gpu needs --endpoint-gpu: without it the replicas have none"
    if device == "cpu" and settings.endpoint_gpu:
        return "--serving-args: --device=cpu: nothing would use the GPU that --endpoint-gpu pays for"
    return None


def _gpu_too_old(settings: EndpointDeploySettings) -> str | None:
    # Of Triton's image this project knows nothing.
    if not settings.endpoint_gpu or settings.server == TRITON:
        return None
    reason = machines.torch_misfit(settings.endpoint_gpu, settings.gpu_torch)
    return f"--endpoint-gpu: {reason}" if reason else None


SERVER_RULES: tuple[Rule[EndpointDeploySettings], ...] = (
    Rule("nothing to deploy", _nothing_to_deploy),
    Rule("upload beside a model", _upload_beside_model),
    Rule("image in another registry", _image_elsewhere),
    Rule("flags of the other server", _args_of_the_other_server),
    Rule("folder that is no model repository", _no_repository),
    Rule("time-outs", _timeouts),
    Rule("device that is not there, or is not used", _device_without_gpu),
    Rule("GPU that the image's torch does not run on", _gpu_too_old),
)
