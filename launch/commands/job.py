"""What is run for `./launch.sh run|replace|update|status|drain|cancel`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from launch.cloud import template as job
from launch.cloud.gcloud import comma_list
from launch.cloud.running_job import RunningJob
from launch.cloud.shell import Shell
from launch.commands import status
from launch.commands.confirm import confirmed
from launch.rules import job as rules
from launch.settings.setting import Settings, SettingsError
from launch.settings.table import NO_HINT


def run(settings: Settings, shell: Shell) -> None:
    """Runs the command that `settings.command` names.

    Raises SettingsError where the settings do not go together, CommandError where something was refused.
    """
    if problems := rules.problems(settings):
        raise SettingsError("\n".join(problems))
    RUN[settings.command](settings, shell)


def launch(settings: Settings, shell: Shell) -> str:
    """Launches the job or its new version and returns its id; "" under dry_run. Raises as `run` does."""
    if problems := job_problems(settings):
        raise SettingsError("\n".join(problems))
    replaces = settings.command == "replace"
    name = settings.job if replaces else settings.job_name
    argv = ["gcloud", "dataflow", "flex-template", "run", name, *job.gcloud_flags(settings)]
    if replaces:
        argv.append("--update")
        if renamed := settings.transform_name_mappings:
            pairs = comma_list(f"{old}={new}" for old, new in renamed.items())
            argv.append(f"--transform-name-mappings={pairs}")
    job_id = shell.run([*argv, "--format=value(job.id)"]).strip()
    if not shell.dry_run:
        print(f"launched {name}: {job_id}", file=shell.out)
        print(f"look at it by: ./launch.sh status {job_id}", file=shell.out)
    return job_id


def job_problems(settings: Settings) -> list[str]:
    """What the job itself would say of the flags that it gets; see `pipeline.job.command_line.problems`."""
    # Beam takes a second to import, and only a launch needs it.
    from pipeline.job.command_line import problems

    flags = {
        "runner": "DataflowRunner",
        "project": settings.project,
        "region": settings.region,
        "temp_location": f"{settings.bucket}/temp",
        **job.parameters(settings),
    }
    return problems([f"--{name}={value}" for name, value in flags.items()])


def _update(settings: Settings, shell: Shell) -> None:
    flags = []
    if settings.min_workers is not None:
        flags.append(f"--min-num-workers={settings.min_workers}")
    if settings.max_workers is not None:
        flags.append(f"--max-num-workers={settings.max_workers}")
    if settings.utilization_hint == NO_HINT:
        flags.append("--unset-worker-utilization-hint")
    elif settings.utilization_hint is not None:
        flags.append(f"--worker-utilization-hint={settings.utilization_hint:g}")
    shell.note(f"changing {settings.job}; it takes a few minutes to show")
    RunningJob(settings, shell).change(("gcloud", "dataflow", "jobs", "update-options"), flags)


def _drain(settings: Settings, shell: Shell) -> None:
    shell.note(f"draining {settings.job}: it finishes what it has read, then ends")
    RunningJob(settings, shell).change(("gcloud", "dataflow", "jobs", "drain"))


def _cancel(settings: Settings, shell: Shell) -> None:
    loss = f"Cancelling {settings.job} may lose requests that it has read and not finished; drain keeps them."
    if settings.yes or shell.dry_run:
        shell.note(loss)
    elif not confirmed(loss):
        shell.note("not cancelled")
        return
    RunningJob(settings, shell).change(("gcloud", "dataflow", "jobs", "cancel"))


RUN: Mapping[str, Callable[[Settings, Shell], object]] = {
    "run": launch,
    "replace": launch,
    "update": _update,
    "status": status.show,
    "drain": _drain,
    "cancel": _cancel,
}
