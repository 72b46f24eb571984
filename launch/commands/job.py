"""`./launch.sh run|replace|update|drain|cancel`: launch a job, and change or end a running one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from launch.cloud import template as job
from launch.cloud.gcloud import comma_list
from launch.cloud.running_job import RunningJob, delivery
from launch.cloud.shell import CommandError, Shell, shell_quote
from launch.commands.confirm import confirmed
from launch.settings.job import (
    AT_LEAST_ONCE,
    KEEP,
    CancelSettings,
    LaunchSettings,
    ReplaceSettings,
    RunningJobSettings,
    RunSettings,
    UpdateSettings,
)
from launch.settings.parsers import NO_HINT
from launch.settings.setting import SettingsError


def run(settings: RunSettings, shell: Shell) -> None:
    """Launch the job; raises as `launch` does."""
    launch(settings, settings.job_name, shell)


def replace(settings: ReplaceSettings, shell: Shell) -> None:
    """Launch a new version in the place of a running job, in the streaming mode of that one unless told.

    Raises:
        SettingsError: As `launch`.
        CommandError: As `launch`; or there is no such job, or its mode cannot be told.
    """
    if not shell.dry_run:
        # Better to know what is wrong before the job is looked up.
        _check_flags(settings)
        settings = dataclasses.replace(settings, delivery=_delivery_of_replacement(settings, shell))
    flags = ["--update"]
    if renamed := settings.transform_name_mappings:
        pairs = comma_list(f"{old}={new}" for old, new in renamed.items())
        flags.append(f"--transform-name-mappings={pairs}")
    launch(settings, settings.job, shell, flags)


def launch(settings: LaunchSettings, name: str, shell: Shell, flags: Sequence[str] = ()) -> str:
    """Launch a job, or its new version, and return its id; "" under dry_run.

    Args:
        settings: Of the launch.
        name: Of the job.
        shell: Runs or prints the command.
        flags: For gcloud, beside those that the settings make.

    Raises:
        SettingsError: The job would refuse its flags.
        CommandError: The launch was refused.
    """
    _check_flags(settings)
    if settings.delivery == AT_LEAST_ONCE and "output_table" in settings.job_flags:
        shell.note(
            "--output_table: at least once, a request can become more than one row; they share its "
            "request_id (--delivery=exactly-once has Dataflow remove duplicates before it inserts)"
        )
    argv = ["gcloud", "dataflow", "flex-template", "run", name, *job.gcloud_flags(settings), *flags]
    job_id = shell.run([*argv, "--format=value(job.id)"]).strip()
    if not shell.dry_run:
        print(f"launched {name}: {job_id}", file=shell.out)
        print(f"look at it by: ./launch.sh status {shell_quote(job_id)}", file=shell.out)
    return job_id


def _check_flags(settings: LaunchSettings) -> None:
    if problems := job_problems(settings):
        raise SettingsError("\n".join(problems))


def _delivery_of_replacement(settings: ReplaceSettings, shell: Shell) -> str:
    """Return the streaming mode of the new version, and tell whether it is that of the running job."""
    running = delivery(RunningJob(settings.job, settings, shell).describe())
    if running is None:
        raise CommandError(
            f"the description of {settings.job} has no environment, and so no streaming mode: a job that is "
            "pending may have none yet; try again when ./launch.sh status shows it running"
        )
    asked = running if settings.delivery == KEEP else settings.delivery
    if asked == running:
        shell.note(f"the streaming mode stays {running}")
    else:
        shell.note(
            f"the streaming mode changes from {running} to {asked}: by Google's documentation a replacement "
            "can; this project has not tried it"
        )
    return asked


def job_problems(settings: LaunchSettings) -> list[str]:
    """Return what the job itself would say of its flags; see `pipeline.job.command_line.problems`."""
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


def update(settings: UpdateSettings, shell: Shell) -> None:
    """Change the worker range and the hint of a running job.

    Raises:
        CommandError: There is no such job, or the change was refused.
    """
    flags = []
    if settings.min_workers is not None:
        flags.append(f"--min-num-workers={settings.min_workers}")
    if settings.max_workers is not None:
        flags.append(f"--max-num-workers={settings.max_workers}")
    if settings.utilization_hint == NO_HINT:
        flags.append("--unset-worker-utilization-hint")
    elif settings.utilization_hint is not None:
        flags.append(f"--worker-utilization-hint={settings.utilization_hint:g}")
    shell.note(
        f"changing {settings.job}; it takes a few minutes to show; its streaming mode stays what it is"
    )
    RunningJob(settings.job, settings, shell).change(("gcloud", "dataflow", "jobs", "update-options"), flags)


def drain(settings: RunningJobSettings, shell: Shell) -> None:
    """End a job after it has finished what it has read.

    Raises:
        CommandError: There is no such job, or it was refused.
    """
    shell.note(f"draining {settings.job}: it finishes what it has read, then ends")
    RunningJob(settings.job, settings, shell).change(("gcloud", "dataflow", "jobs", "drain"))


def cancel(settings: CancelSettings, shell: Shell) -> None:
    """End a job at once, if the user confirms it.

    Raises:
        SettingsError: There is nobody to ask.
        CommandError: There is no such job, or it was refused.
    """
    loss = f"Cancelling {settings.job} may lose requests that it has read and not finished; drain keeps them."
    if settings.yes or shell.dry_run:
        shell.note(loss)
    elif not confirmed(loss):
        shell.note("not cancelled")
        return
    RunningJob(settings.job, settings, shell).change(("gcloud", "dataflow", "jobs", "cancel"))
