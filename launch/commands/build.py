"""`./launch.sh build cpu|gpu`: an image, by Docker here or by Cloud Build; of the job, the spec too."""

from __future__ import annotations

from launch.cloud import template as job
from launch.cloud.gcloud import comma_list
from launch.cloud.shell import Shell
from launch.rules.build import ROOT, model_in_context
from launch.settings.job import DOCKER, GPU, BuildSettings
from launch.settings.parsers import PYPI

# Stages of both Dockerfiles: the one image of launcher and workers, and the endpoint's container.
_WORKER = "worker"
_SERVING = "serving"


def run(settings: BuildSettings, shell: Shell) -> None:
    """Build and push the image; write the spec, unless the image is the endpoint's.

    Raises:
        CommandError: Something was refused.
    """
    image = job.image(settings, settings.variant)
    if settings.serving and settings.serving_image:
        image = settings.serving_image
    shell.note(f"building {image}; this takes some minutes")
    for argv in (
        _by_docker(settings, image) if settings.builder == DOCKER else _by_cloud_build(settings, image)
    ):
        shell.run(argv)
    if settings.serving:
        return
    template = job.template(settings, settings.variant)
    shell.note(f"writing {template}")
    shell.run(
        [
            *("gcloud", "dataflow", "flex-template", "build", template),
            f"--project={settings.project}",
            f"--image={image}",
            "--sdk-language=PYTHON",
            f"--metadata-file={ROOT / 'metadata.json'}",
        ]
    )


def build_arguments(settings: BuildSettings) -> dict[str, str]:
    """Return the arguments of the Dockerfile that are not left at their defaults."""
    found = {}
    if settings.model:
        found["MODEL"] = model_in_context(settings.model)
    if settings.variant == GPU and settings.gpu_torch != PYPI:
        found["TORCH_BACKEND"] = settings.gpu_torch
    if settings.compiler and not settings.serving:
        found["COMPILE"] = "true"
    if settings.torch_index:
        found["PIP_EXTRA_INDEX_URL"] = settings.torch_index
    return found


def _target(settings: BuildSettings) -> str:
    return _SERVING if settings.serving else _WORKER


def _by_docker(settings: BuildSettings, image: str) -> list[list[str]]:
    file = ROOT / f"Dockerfile.{settings.variant}"
    # Workers are x86, whatever this machine is.
    build = ["docker", "build", "--platform=linux/amd64", f"--file={file}", f"--target={_target(settings)}"]
    build += [f"--build-arg={name}={value}" for name, value in build_arguments(settings).items()]
    return [[*build, f"--tag={image}", str(ROOT)], ["docker", "push", image]]


def _by_cloud_build(settings: BuildSettings, image: str) -> list[list[str]]:
    name, _, tag = image.rpartition(":")
    substitutions = {
        "_IMAGE": name,
        "_TAG": tag,
        "_DOCKERFILE": f"Dockerfile.{settings.variant}",
        "_TARGET": _target(settings),
        **{f"_{argument}": value for argument, value in build_arguments(settings).items()},
    }
    return [
        [
            *("gcloud", "builds", "submit", str(ROOT)),
            f"--project={settings.project}",
            f"--config={ROOT / 'cloudbuild.yaml'}",
            f"--substitutions={comma_list(f'{name}={value}' for name, value in substitutions.items())}",
            # By name: without, gcloud's property gcloudignore/enabled decides, and off means everything.
            "--ignore-file=.gcloudignore",
            f"--gcs-source-staging-dir={settings.bucket}/source",
        ]
    ]
