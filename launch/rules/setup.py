"""What setup cannot make, or what the services would refuse of it."""

from __future__ import annotations

from launch.cloud.artifact_registry import repository_of
from launch.rules.encryption import key_elsewhere
from launch.rules.rule import Rule
from launch.settings.setup import SetupSettings


def _other_registry(settings: SetupSettings) -> str | None:
    if repository_of(settings.image):
        return None
    return (
        f"--image: {settings.image} is not in Artifact Registry, where setup makes its repository: name it "
        f"as in {settings.region}-docker.pkg.dev/{settings.project}/REPOSITORY/NAME"
    )


SETUP_RULES: tuple[Rule[SetupSettings], ...] = (
    Rule("image in another registry", _other_registry),
    Rule("key outside the region", key_elsewhere),
)
