"""What is deployed to an endpoint, and which of it a command means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch.cloud.gcloud import where
from launch.cloud.shell import Shell
from launch.settings.common import Location
from launch.settings.endpoint import EndpointUndeploySettings, EndpointUpdateSettings
from launch.settings.setting import SettingsError

# In a dry run, for an id that would be read from the endpoint.
UNKNOWN_DEPLOYED_MODEL = "DEPLOYED_MODEL_ID"

DeployedModelSettings = EndpointUpdateSettings | EndpointUndeploySettings


def describe(settings: Location, shell: Shell, endpoint: str) -> Mapping[str, Any] | None:
    """Return what the API says of an endpoint; None under dry_run."""
    return shell.read(["gcloud", "ai", "endpoints", "describe", endpoint, *where(settings), "--format=json"])


def chosen_models(
    settings: DeployedModelSettings, models: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the deployed models that --deployed-model names; all without it.

    Raises:
        SettingsError: There are none.
    """
    chosen = [model for model in models if settings.deployed_model in (None, model["id"])]
    if not models:
        raise SettingsError(f"--endpoint: nothing is deployed to {settings.endpoint}")
    if not chosen:
        shown = ", ".join(model["id"] for model in models)
        raise SettingsError(
            f"--deployed-model: {settings.deployed_model} is not on {settings.endpoint}, which has {shown}"
        )
    return chosen


def shown_id(settings: DeployedModelSettings, shell: Shell) -> str:
    """Return the deployed model's id for what a dry run prints."""
    if settings.deployed_model:
        return settings.deployed_model
    shell.note(f"{UNKNOWN_DEPLOYED_MODEL}: its id, which the command above prints")
    return UNKNOWN_DEPLOYED_MODEL
