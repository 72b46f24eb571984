"""What is to be launched, in the launch commands' words: read and refused by their own parsers and rules."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launch.rules.endpoint import DEPLOY_RULES
from launch.rules.job import LAUNCH_RULES
from launch.rules.rule import problems
from launch.settings.endpoint import EndpointDeploySettings
from launch.settings.job import RunSettings
from launch.settings.setting import Setting, SettingsError, settings_of
from launch.settings.suggestion import did_you_mean
from pipeline.options.job_options import ENDPOINT, FLAGS, JobOptions

_OF_RUN = (
    "mode", "machine_type", "gpu", "gpu_sharing", "min_workers", "max_workers", "num_workers",
    "utilization_hint", "harness_threads", "disk_gb", "delivery",
)  # fmt: skip
_OF_ENDPOINT = (
    "endpoint_machine_type", "endpoint_gpu", "serving_args", "min_replicas", "max_replicas", "scaling_metric",
    "scale_to_zero", "initial_replicas", "min_scaleup_s", "idle_scaledown_s",
)  # fmt: skip
# What a launch needs besides, and a plan does not: for the rules alone, and never shown.
_PLACE: dict[str, Any] = {"project": "my-project", "region": "us-central1"}
_OF_ANY_RUN = _PLACE | {
    "bucket": "gs://my-bucket",
    "image": "us-central1-docker.pkg.dev/my-project/inference/job",
    "tag": "planned",
    "model_path": "gs://my-bucket/model.pt2",
}
_OF_ANY_DEPLOYMENT = _PLACE | {"model": "1"}
_AN_ENDPOINT = {"endpoint": "1"}


def _chosen(cls: type[Any], names: Iterable[str]) -> list[Setting]:
    declared = {setting.name: setting for setting in settings_of(cls)}
    return [declared[name] for name in names]


RUN_SETTINGS = _chosen(RunSettings, _OF_RUN)
"""Those of `run` that a plan goes by."""
ENDPOINT_SETTINGS = _chosen(EndpointDeploySettings, _OF_ENDPOINT)
"""Those of `endpoint deploy` that a plan goes by."""


@dataclass(frozen=True)
class Configuration:
    """What is to be launched.

    Attributes:
        name: For people.
        run: Settings of the job. Project, bucket and image are made up.
        options: Of the job itself.
        endpoint: Settings of the endpoint; None in local mode.
        given: What was asked for, as text, by flag with its dashes.
        job_flags: Likewise the job's own flags, by name without dashes.
    """

    name: str
    run: RunSettings
    options: JobOptions
    endpoint: EndpointDeploySettings | None
    given: Mapping[str, str]
    job_flags: Mapping[str, str]

    @property
    def launch_lines(self) -> list[str]:
        """The commands that launch it, for a shell; project and image are launch.env's."""
        lines = []
        if self.endpoint:
            lines.append(self._line("endpoint deploy", ENDPOINT_SETTINGS, {}))
        lines.append(self._line("run", RUN_SETTINGS, self.job_flags))
        return lines

    @property
    def update_line(self) -> str | None:
        """The command that gives a running job this range and hint; None where none of them was given."""
        named = [setting for setting in RUN_SETTINGS if setting.name in _OF_UPDATE]
        if not any(setting.label in self.given for setting in named):
            return None
        return self._line("update JOB", named, {})

    def changed(self, **texts: str) -> Configuration:
        """Return it with other values, as text, by the names of settings; an empty one for the default.

        Raises:
            SettingsError: A value is wrong, or they do not go together.
        """
        given = dict(self.given) | {f"--{name.replace('_', '-')}": text for name, text in texts.items()}
        return configured(self.name, {flag: text for flag, text in given.items() if text}, self.job_flags)

    def _line(self, command: str, declared: Iterable[Setting], job_flags: Mapping[str, str]) -> str:
        words = ["./launch.sh", *command.split()]
        for setting in declared:
            if setting.label in self.given:
                text = self.given[setting.label]
                words.append(
                    setting.label if setting.switch and text == "true" else f"{setting.label}={text}"
                )
        if job_flags:
            words += ["--", *(f"--{name}={text}" for name, text in job_flags.items())]
        return shlex.join(words)


_OF_UPDATE = ("min_workers", "max_workers", "utilization_hint")


def configured(name: str, given: Mapping[str, str], job_flags: Mapping[str, str]) -> Configuration:
    """Return the configuration that flags describe.

    Args:
        name: For people.
        given: Values by flag with its dashes, of `run` and of `endpoint deploy`.
        job_flags: Of the job, by name without dashes.

    Raises:
        SettingsError: With every problem, one a line: as the launch commands would refuse them, too.
    """
    wrong: list[str] = []
    of_run = _values(RUN_SETTINGS, given, wrong)
    of_endpoint = _values(ENDPOINT_SETTINGS, given, wrong)
    wrong += _wrong_job_flags(job_flags)
    if wrong:
        raise SettingsError("\n".join(wrong))
    options = JobOptions.from_texts(job_flags)
    calls = of_run.get("mode") == ENDPOINT
    if not calls and of_endpoint:
        flags = ", ".join(setting.label for setting in ENDPOINT_SETTINGS if setting.name in of_endpoint)
        raise SettingsError(
            f"{flags}: of an endpoint, and there is none: add --mode=endpoint, or leave it out"
        )
    run = RunSettings(**_OF_ANY_RUN, **of_run, job_flags=(_AN_ENDPOINT if calls else {}) | dict(job_flags))
    endpoint = EndpointDeploySettings(**_OF_ANY_DEPLOYMENT, **of_endpoint) if calls else None
    found = problems(LAUNCH_RULES, run) + (problems(DEPLOY_RULES, endpoint) if endpoint else [])
    if found:
        raise SettingsError("\n".join(found))
    return Configuration(name, run, options, endpoint, dict(given), dict(job_flags))


def _wrong_job_flags(given: Mapping[str, str]) -> list[str]:
    flags = {flag.name: flag for flag in FLAGS}
    found = []
    for name, text in given.items():
        if name not in flags:
            fix = did_you_mean(name, flags, "a plan does not go by it: leave it out")
            found.append(f"after --: --{name}: not a flag of the job; {fix}")
            continue
        try:
            flags[name].parse(text)
        except ValueError as error:
            found.append(f"after --: --{name}: {error}")
    return found


def _values(declared: Iterable[Setting], given: Mapping[str, str], wrong: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in declared:
        text = given.get(setting.label)
        if not text:
            continue
        try:
            found[setting.name] = setting.parse(text)
        except ValueError as error:
            wrong.append(f"{setting.label}: {error}")
    return found
