"""`./launch.sh build cpu|gpu`: the image, by Docker here or by Cloud Build, then the Flex Template's spec."""

from __future__ import annotations

from pathlib import Path

from launch.cloud import template as job
from launch.cloud.gcloud import comma_list
from launch.cloud.shell import Shell
from launch.settings.job import DOCKER, BuildSettings

ROOT = Path(__file__).parents[2]
# The stage of both Dockerfiles that is the image of launcher and workers.
_STAGE = "worker"


def run(settings: BuildSettings, shell: Shell) -> None:
    """Build and push the image and write the spec.

    Raises:
        CommandError: Something was refused.
    """
    image = job.image(settings, settings.variant)
    template = job.template(settings, settings.variant)
    shell.note(f"building {image}; this takes some minutes")
    for argv in (
        _by_docker(settings, image) if settings.builder == DOCKER else _by_cloud_build(settings, image)
    ):
        shell.run(argv)
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


def _by_docker(settings: BuildSettings, image: str) -> list[list[str]]:
    file = ROOT / f"Dockerfile.{settings.variant}"
    # Workers are x86, whatever this machine is.
    build = ["docker", "build", "--platform=linux/amd64", f"--file={file}", f"--target={_STAGE}"]
    return [[*build, f"--tag={image}", str(ROOT)], ["docker", "push", image]]


def _by_cloud_build(settings: BuildSettings, image: str) -> list[list[str]]:
    name, _, tag = image.rpartition(":")
    substitutions = {
        "_IMAGE": name,
        "_TAG": tag,
        "_DOCKERFILE": f"Dockerfile.{settings.variant}",
        "_TARGET": _STAGE,
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
