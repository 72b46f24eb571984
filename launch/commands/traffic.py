"""How the models that are deployed to an endpoint share its requests, in percent by deployed model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.cloud.gcloud import where
from launch.cloud.shell import Shell
from launch.commands.deployed import UNKNOWN_DEPLOYED_MODEL
from launch.settings.endpoint import EndpointDeploySettings, EndpointUpdateSettings

# What the API calls the model that the call itself deploys.
NEW = "0"


def beside(settings: EndpointDeploySettings, found: Mapping[str, Any] | None) -> dict[str, int]:
    """Return the split for a new model with `traffic` percent and those that are there with the rest.

    The others share it as they did. If none of them has any traffic, the first gets it.

    Args:
        settings: Of the deployment.
        found: What the API says of the endpoint; None if it is made now, or under dry_run.
    """
    rest = 100 - settings.traffic
    if not rest:
        return {NEW: 100}
    if found is None:
        return {NEW: settings.traffic, UNKNOWN_DEPLOYED_MODEL: rest}
    shares = {name: share for name, share in found.get("trafficSplit", {}).items() if share}
    shares = shares or {found["deployedModels"][0]["id"]: 100}
    split = {name: rest * share // 100 for name, share in shares.items()}
    # What rounding down left over goes to those that lost most by it; of two, to the one with less.
    lost = sorted(shares, key=lambda name: (-(rest * shares[name] % 100), shares[name]))
    for name in lost[: rest - sum(split.values())]:
        split[name] += 1
    return {NEW: settings.traffic, **split}


def as_text(split: Mapping[str, int]) -> str:
    """Return a split as gcloud takes it."""
    return ",".join(f"{name}={percent}" for name, percent in split.items())


def change(settings: EndpointUpdateSettings, shell: Shell, split: Mapping[str, int]) -> None:
    """Share the requests of an endpoint anew.

    Raises:
        CommandError: It was refused.
    """
    shell.note(f"sharing the requests: {as_text(split)}")
    argv = ["gcloud", "ai", "endpoints", "update", settings.endpoint, *where(settings)]
    shell.run([*argv, f"--traffic-split={as_text(split)}"])


def show_others(
    settings: EndpointDeploySettings, shell: Shell, found: Mapping[str, Any] | None, split: Mapping[str, int]
) -> None:
    """Say that the models that were deployed before stay, and are paid for; nothing if there are none.

    Args:
        settings: Of the deployment.
        shell: Tells it.
        found: What the API said of the endpoint before; None if it was made now, or under dry_run.
        split: Of the requests, now.
    """
    if settings.endpoint is None:
        return
    undeploy = f"./launch.sh endpoint undeploy --endpoint={settings.endpoint} --deployed-model="
    if found is None:
        shell.note(f"what was deployed before stays, and is billed, until: {undeploy}ITS_ID")
        return
    for model in found.get("deployedModels", []):
        name = model["id"]
        share = f"{split.get(name, 0)} percent of the requests"
        shell.note(f"{name} stays, with {share}, and is billed, until: {undeploy}{name}")
