"""The table of launch.sh's commands: each with its settings, its rules and what it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.commands import build, endpoint, job, setup, smoke, status, undeploy
from launch.commands.command import Command, S
from launch.rules import endpoint as endpoint_rules
from launch.rules import job as job_rules
from launch.rules.build import BUILD_RULES
from launch.rules.setup import SETUP_RULES
from launch.settings.endpoint import (
    EndpointDeploySettings,
    EndpointUndeploySettings,
    EndpointUpdateSettings,
)
from launch.settings.job import (
    BuildSettings,
    CancelSettings,
    ReplaceSettings,
    RunningJobSettings,
    RunSettings,
    UpdateSettings,
)
from launch.settings.reader import read_settings
from launch.settings.setting import settings_of
from launch.settings.setup import SetupSettings

SETUP = Command(
    "setup",
    "Make what a project needs before its first build and launch, where it is missing.",
    SetupSettings,
    setup.run,
    SETUP_RULES,
)
BUILD = Command(
    "build",
    "Build and push the image, then write the Flex Template's spec.",
    BuildSettings,
    build.run,
    BUILD_RULES,
)
RUN = Command("run", "Launch the job.", RunSettings, job.run, job_rules.LAUNCH_RULES)
UPDATE = Command(
    "update",
    "Change the worker range and the utilisation hint of a running job.",
    UpdateSettings,
    job.update,
    job_rules.UPDATE_RULES,
)
STATUS = Command(
    "status",
    "Show the state, the streaming mode, the workers, the backlog and the lag of a job.",
    RunningJobSettings,
    status.show,
)
DRAIN = Command("drain", "End a job after it has finished what it has read.", RunningJobSettings, job.drain)
CANCEL = Command("cancel", "End a job at once. It may lose what is in flight.", CancelSettings, job.cancel)
REPLACE = Command(
    "replace",
    "Launch a new version in the place of a running job.",
    ReplaceSettings,
    job.replace,
    job_rules.REPLACE_RULES,
)
ENDPOINT_DEPLOY = Command(
    "endpoint deploy",
    "Upload a model and deploy it to an endpoint.",
    EndpointDeploySettings,
    endpoint.deploy,
    endpoint_rules.DEPLOY_RULES,
)
ENDPOINT_UPDATE = Command(
    "endpoint update",
    "Change the replicas of what is deployed to an endpoint, or how its models share the requests.",
    EndpointUpdateSettings,
    endpoint.update,
    endpoint_rules.UPDATE_RULES,
)
ENDPOINT_UNDEPLOY = Command(
    "endpoint undeploy", "Take a model off an endpoint.", EndpointUndeploySettings, undeploy.undeploy
)
# Its rules are those of the job that it makes of its settings.
SMOKE = Command(
    "smoke",
    "Launch the smallest job, send 100 records, check 100 results, drain.",
    RunSettings,
    smoke.run,
)

COMMANDS: tuple[Command[Any], ...] = (
    SETUP,
    BUILD,
    RUN,
    UPDATE,
    STATUS,
    DRAIN,
    CANCEL,
    REPLACE,
    ENDPOINT_DEPLOY,
    ENDPOINT_UPDATE,
    ENDPOINT_UNDEPLOY,
    SMOKE,
)
# All of them that are no word, of all commands.
SETTINGS = tuple(
    setting for command in COMMANDS for setting in settings_of(command.settings) if not setting.word
)


def command_named(name: str) -> Command[Any]:
    """Return the command of that name.

    Raises:
        KeyError: There is none.
    """
    return {command.name: command for command in COMMANDS}[name]


def parse(command: Command[S], argv: Sequence[str], environ: Mapping[str, str], env_file: Path) -> S:
    """Return the settings of a command; arguments and errors are those of `read_settings`.

    Raises:
        SettingsError: With every problem, one a line.
    """
    in_file = {setting.variable for setting in SETTINGS if not setting.flag_only}
    known = {setting.variable: setting.variable in in_file for setting in SETTINGS}
    return read_settings(command.settings, command.name, argv, environ, env_file, known)
