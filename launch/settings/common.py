"""Settings that commands of both kinds have, those on jobs and those on endpoints.

Dataclasses collect their fields from the last base to the first, and --help lists settings in that order: the
first base of a class holds what is listed last.
"""

from __future__ import annotations

from dataclasses import dataclass

from launch.settings import endpoint_parsers, parsers
from launch.settings.setting import setting, switch
from pipeline.options.values import region as parse_region


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a command works."""

    project: str = setting(parsers.project, "The Google Cloud project.", required=True)
    region: str = setting(parse_region, "Region of the job, such as us-central1.", required=True)


@dataclass(frozen=True, kw_only=True)
class Encryption(Location):
    """Whose key encrypts."""

    kms_key: str | None = setting(
        parsers.kms_key,
        "Key of Cloud KMS that encrypts the job's disks and state, or the endpoint and its model: "
        "projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY. Default: Google's own keys.",
    )


@dataclass(frozen=True, kw_only=True)
class Marks(Encryption):
    """What a command that makes something sets on it."""

    labels: dict[str, str] | None = setting(
        parsers.labels, "Labels of the job, or of the endpoint and its model: key=value,key=value."
    )


@dataclass(frozen=True, kw_only=True)
class GpuImageSettings(Location):
    """What the GPU images hold, for the commands that build them and for those that run them."""

    gpu_torch: str = setting(
        parsers.torch_build,
        "Which of PyTorch's builds of torch the GPU image has: pypi, the one on PyPI, which V100, P100 and "
        "P4 cannot run; or one for an older CUDA, which they can: cu126.",
        default=parsers.PYPI,
    )


@dataclass(frozen=True, kw_only=True)
class ServingImageSettings(Location):
    """The endpoint's container, for the command that builds it and for the one that deploys it."""

    serving_image: str | None = setting(
        endpoint_parsers.serving_image,
        "Image of the endpoint's container, with its tag: REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG.",
    )


@dataclass(frozen=True, kw_only=True)
class Settings(Location):
    """What every command has."""

    dry_run: bool = switch("Print the commands, to paste, and run none.")


@dataclass(frozen=True, kw_only=True)
class Confirmation(Location):
    """What a command has that asks before it goes on."""

    yes: bool = switch("Do not ask.", flag_only=True)
