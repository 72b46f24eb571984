"""`./launch.sh smoke`: the whole way once, in a user's project, with the example's records.

It creates topics, subscriptions and a job under a name of their own. All of them are deleted at the end, also
when it fails or is interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.cloud.gcloud import where
from launch.cloud.shell import CommandError, Shell, shell_line
from launch.commands import job as commands
from launch.rules.job import LAUNCH_RULES
from launch.rules.rule import problems
from launch.settings.common import Location
from launch.settings.job import RunSettings
from launch.settings.setting import SettingsError
from pipeline.process.user_modules import module_command

ROOT = Path(__file__).parents[2]
# In a process of its own: the launch does not import the driver.
DRIVER = tuple(module_command("loadtest"))
# If it is set, the driver's Pub/Sub client talks to the broker that it names, not to the cloud.
EMULATOR = "PUBSUB_EMULATOR_HOST"
RECORDS = 100
RATE_PER_S = 10
# Where the example's model is in the image.
EXAMPLE_MODEL = "/models/model.pt2"
# A launch and a drain each take 3 to 10 minutes.
STATE_WAIT_S = 1800.0
# The first worker pulls the image after the job has begun to run.
READY_WAIT_S = 900

_CHANNELS = {
    "input_subscription": "requests",
    "output_topic": "results",
    "dead_letter_topic": "dead-letters",
}
_RUNNING = "JOB_STATE_RUNNING"
_DRAINED = "JOB_STATE_DRAINED"
_ENDED = {"JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_UPDATED", _DRAINED}


def run(
    settings: RunSettings,
    shell: Shell,
    *,
    driver: Sequence[str] = DRIVER,
    runs: Path = ROOT / "runs",
    poll_s: float = 10.0,
) -> None:
    """Launch the job, send the records, check that each has a result, drain, and delete what was created.

    Args:
        settings: Of the launch.
        shell: Runs or prints the commands.
        driver: The command line of the load driver.
        runs: The folder whose subfolder NAME gets the driver's figures.
        poll_s: Seconds between two looks at the job's state.

    Raises:
        SettingsError: Before anything is created.
        CommandError: Something was refused, did not happen in time, or gave other than RECORDS results.
    """
    if broker := os.environ.get(EMULATOR):
        raise SettingsError(f"{EMULATOR}: {broker} would get the records instead of the job: unset it")
    name = f"smoke-{secrets.token_hex(4)}"
    trial = _smallest(settings, name)
    if found := problems(LAUNCH_RULES, trial) + commands.job_problems(trial):
        raise SettingsError("\n".join(found))
    # The driver publishes with these credentials: if they are missing, better to know before the launch.
    shell.run(["gcloud", "auth", "application-default", "print-access-token", "--format=none"])
    undo: list[list[str]] = []
    try:
        for channel in _CHANNELS.values():
            _create_channel(settings, shell, f"{name}-{channel}", undo)
        job = commands.launch(trial, name, shell) or "JOB_ID"
        if shell.dry_run:
            shell.note("JOB_ID: the id that it prints")
        undo.append(_on_job("cancel", settings, job))
        _wait_for(_RUNNING, settings, shell, job, undo, poll_s)
        _send(settings, shell, name, driver, runs / name)
        shell.run(_on_job("drain", settings, job))
        _wait_for(_DRAINED, settings, shell, job, undo, poll_s)
    except BaseException:
        # Also on Ctrl-C: nothing that costs money may stay.
        _undo_all(shell, undo)
        raise
    if left := _undo_all(shell, undo):
        raise CommandError(f"{RECORDS} of {RECORDS} results, but this stays: {'; '.join(left)}")
    if not shell.dry_run:
        shell.note(f"{RECORDS} of {RECORDS} results; what was made for it is deleted")


def _smallest(settings: RunSettings, name: str) -> RunSettings:
    """Return the settings of the smallest job that they allow, under a name of its own."""
    if given := [f"--{flag}" for flag in _CHANNELS if flag in settings.job_flags]:
        raise SettingsError(f"{', '.join(given)}: smoke makes its own; leave it out")
    example = None if "model_pointer" in settings.job_flags else EXAMPLE_MODEL
    workers = max(1, settings.min_workers or 1, settings.num_workers or 1)
    channels = {
        flag: f"projects/{settings.project}/{flag.rpartition('_')[2]}s/{name}-{channel}"
        for flag, channel in _CHANNELS.items()
    }
    return dataclasses.replace(
        settings,
        job_name=name,
        model_path=settings.model_path or example,
        max_workers=settings.max_workers or workers,
        job_flags={**settings.job_flags, **channels},
    )


def _create_channel(settings: Location, shell: Shell, name: str, undo: list[list[str]]) -> None:
    """Create a topic and a subscription of the same name; add to `undo` what deletes them."""
    project = f"--project={settings.project}"
    for kind, flags in (("topics", []), ("subscriptions", [f"--topic={name}"])):
        shell.run(["gcloud", "pubsub", kind, "create", name, project, *flags])
        undo.append(["gcloud", "pubsub", kind, "delete", name, project, "--quiet"])


def _send(settings: Location, shell: Shell, name: str, driver: Sequence[str], out: Path) -> None:
    shell.note(f"sending {RECORDS} records as soon as a worker answers; figures in {out}")
    argv = [
        *driver,
        "run",
        f"--project={settings.project}",
        f"--input_topic={name}-requests",
        f"--output_subscription={name}-results",
        f"--dead_letter_subscription={name}-dead-letters",
        f"--rate={RATE_PER_S}",
        f"--duration={RECORDS / RATE_PER_S:g}",
        f"--ready_timeout={READY_WAIT_S}",
        f"--input={ROOT / 'examples/breast_cancer/records.jsonl'}",
        f"--out={out}",
    ]
    summary = out / "summary.json"
    try:
        shell.run(argv)
    except CommandError as error:
        # The driver also fails if it was late itself, which says nothing of the job: the figures decide.
        if not summary.is_file():
            raise CommandError(f"sending the records failed: {error}") from None
    if shell.dry_run:
        return
    found = json.loads(summary.read_text())
    if (found["sent"], found["received"]) != (RECORDS, RECORDS):
        raise CommandError(
            f"{found['received']} results for {found['sent']} of {RECORDS} records, and "
            f"{found['dead_lettered']} dead letters: see {out}"
        )


def _wait_for(
    wanted: str, settings: Location, shell: Shell, job: str, undo: list[list[str]], poll_s: float
) -> None:
    """Wait until the job is in that state.

    The last step of `undo` cancels the job; it is dropped once the job has ended.

    Raises:
        CommandError: The job ended otherwise, or did not get there in STATE_WAIT_S.
    """
    shell.note(f"waiting until the job's state is {wanted}")
    argv = [*_on_job("describe", settings, job), "--format=json"]
    deadline = time.monotonic() + STATE_WAIT_S
    while True:
        found: Any = shell.read(argv)
        state = wanted if found is None else found["currentState"]
        if state in _ENDED:
            undo.pop()
        if state == wanted:
            return
        if state in _ENDED:
            raise CommandError(f"the job {job} became {state}, not {wanted}: its log says why")
        if time.monotonic() > deadline:
            raise CommandError(f"the job {job} is {state} after {STATE_WAIT_S:.0f} s, not {wanted}")
        time.sleep(poll_s)


def _on_job(verb: str, settings: Location, job: str) -> list[str]:
    return ["gcloud", "dataflow", "jobs", verb, job, *where(settings)]


def _undo_all(shell: Shell, undo: list[list[str]]) -> list[str]:
    """Undo each step, the last one first, whatever fails on the way; return what failed."""
    left = []
    for argv in reversed(undo):
        try:
            shell.run(argv)
        except CommandError as error:
            left.append(f"{argv[4]} ({error})")
            shell.note(f"not undone: {error}; do it by: {shell_line(argv)}")
    return left
