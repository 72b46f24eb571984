"""`./launch.sh endpoint undeploy`: what runs, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch.cloud.gcloud import where
from launch.cloud.shell import Shell
from launch.commands.confirm import confirmed
from launch.commands.deployed import chosen_models, describe, shown_id
from launch.settings.common import Location
from launch.settings.endpoint import EndpointUndeploySettings
from launch.settings.setting import SettingsError

# In a dry run, for the id of the model that would be read from the endpoint.
_UNKNOWN_MODEL = "MODEL_ID"


def undeploy(settings: EndpointUndeploySettings, shell: Shell) -> None:
    """Take models off an endpoint, if the user confirms it; with `delete`, delete them and the endpoint.

    Raises:
        SettingsError: The settings do not go with what is deployed, or there is nobody to ask.
        CommandError: Something was refused.
    """
    found = describe(settings, shell, settings.endpoint)
    if found is None:
        shell.run(_undeploy_one(settings, shown_id(settings, shell)))
        if settings.delete:
            shell.note(f"{_UNKNOWN_MODEL}: its model, which the first command prints")
            shell.run(_delete(settings, "endpoints", settings.endpoint))
            shell.run(_delete(settings, "models", _UNKNOWN_MODEL))
        return
    chosen = _models_to_undeploy(settings, found)
    # projects/…/models/ID@VERSION; one model may be deployed twice.
    models = list(dict.fromkeys(model["model"].rpartition("/")[2].partition("@")[0] for model in chosen))
    if not settings.yes and not confirmed(_warning(settings, chosen, models)):
        shell.note("nothing was changed")
        return
    for place, model in enumerate(chosen):
        shell.note(f"undeploying {model['id']}")
        # A model with traffic can be undeployed only if it is the last: its successor takes the traffic over.
        successor = chosen[place + 1]["id"] if place + 1 < len(chosen) and _traffic(found, model) else None
        shell.run(_undeploy_one(settings, model["id"], successor))
    if settings.delete:
        shell.note(f"deleting the endpoint {settings.endpoint} and {', '.join(models) or 'no model'}")
        shell.run(_delete(settings, "endpoints", settings.endpoint))
        for name in models:
            shell.run(_delete(settings, "models", name))


def _models_to_undeploy(
    settings: EndpointUndeploySettings, found: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    models = found.get("deployedModels", [])
    if settings.delete and not models:
        return []
    chosen = chosen_models(settings, models)
    if len(chosen) == len(models):
        # Those without traffic first: then each successor has traffic already.
        return sorted(chosen, key=lambda model: _traffic(found, model))
    if settings.delete:
        raise SettingsError(
            f"--delete: {settings.endpoint} has {len(models)} deployed models and cannot be deleted with one "
            "of them; leave --deployed-model out to undeploy all"
        )
    if share := _traffic(found, chosen[0]):
        raise SettingsError(
            f"--deployed-model: {chosen[0]['id']} takes {share} percent of the traffic; give that to another "
            f"first: ./launch.sh endpoint update --endpoint={settings.endpoint} --traffic-split=ID=100"
        )
    return chosen


def _warning(
    settings: EndpointUndeploySettings, chosen: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> str:
    ids = ", ".join(model["id"] for model in chosen)
    parts = [f"undeploys {ids}"] if chosen else []
    if settings.delete:
        parts.append(f"deletes the endpoint and {len(models)} model(s) ({', '.join(models)})")
    return f"This {' and '.join(parts)} of the endpoint {settings.endpoint}; requests to it then fail."


def _traffic(found: Mapping[str, Any], model: Mapping[str, Any]) -> int:
    return found.get("trafficSplit", {}).get(model["id"], 0)


def _undeploy_one(
    settings: EndpointUndeploySettings, deployed: str, successor: str | None = None
) -> list[str]:
    argv = ["gcloud", "ai", "endpoints", "undeploy-model", settings.endpoint, *where(settings)]
    argv.append(f"--deployed-model-id={deployed}")
    return [*argv, f"--traffic-split={successor}=100"] if successor else argv


def _delete(settings: Location, kind: str, name: str) -> list[str]:
    # gcloud would ask, and has nobody to ask.
    return ["gcloud", "ai", kind, "delete", name, *where(settings), "--quiet"]
