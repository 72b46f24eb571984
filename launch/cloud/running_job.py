"""A running job: its id, looked up by its name, and commands on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launch.cloud.gcloud import where
from launch.cloud.shell import CommandError, Shell, shell_line
from launch.settings.job import RunningJobSettings
from launch.settings.parsers import is_job_id

# In a dry run by name: what the shell that the lines are pasted into sets and fills in.
JOB_ID_VARIABLE = "$JOB_ID"


class RunningJob:
    """The job that `settings.job` names, by its name or its id.

    Under dry_run, the shell that the lines are pasted into looks the id up.

    Attributes:
        name: As it was given.

    Raises:
        CommandError: No job of that name is active, or more than one.
    """

    def __init__(self, settings: RunningJobSettings, shell: Shell) -> None:
        self._settings = settings
        self._shell = shell
        self.name = settings.job
        self._id = self.name if is_job_id(self.name) else self._find()

    @property
    def id(self) -> str:
        """The job's id; in a dry run by name, the shell variable that will hold it."""
        return self._id or JOB_ID_VARIABLE

    def change(self, before: Sequence[str], after: Sequence[str] = ()) -> None:
        """Run a command on the job: `before`, the job's id, its project and region, `after`.

        Raises:
            CommandError: As `Shell.run`.
        """
        if not self._printed(before, after):
            self._shell.run(self._argv(before, after))

    def read(self, before: Sequence[str], after: Sequence[str] = ()) -> Any:
        """Run a command that only reads, and return what it prints as JSON; None under dry_run.

        Raises:
            CommandError: As `Shell.read`.
        """
        after = [*after, "--format=json"]
        return None if self._printed(before, after) else self._shell.read(self._argv(before, after))

    def _argv(self, before: Sequence[str], after: Sequence[str]) -> list[str]:
        return [*before, self.id, *where(self._settings), *after]

    def _printed(self, before: Sequence[str], after: Sequence[str]) -> bool:
        if self._id is not None:
            return False
        print(shell_line(self._argv(before, after), JOB_ID_VARIABLE), file=self._shell.out)
        return True

    def _find(self) -> str | None:
        settings, shell = self._settings, self._shell
        listing = [
            *("gcloud", "dataflow", "jobs", "list"),
            *where(settings),
            "--status=active",
            f"--filter=name={self.name}",
        ]
        if shell.dry_run:
            print(f"JOB_ID=$({shell_line([*listing, '--format=value(id)'])})", file=shell.out)
            return None
        # The filter also finds names that hold this one between dashes.
        found = [job for job in shell.read([*listing, "--format=json"]) if job["name"] == self.name]
        if not found:
            raise CommandError(
                f"no active job is named {self.name} in {settings.region}: see the name, --project, --region"
            )
        if len(found) > 1:
            ids = ", ".join(job["id"] for job in found)
            raise CommandError(f"{len(found)} active jobs are named {self.name}: give one's id: {ids}")
        return found[0]["id"]
