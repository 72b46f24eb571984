"""A running job: its id, looked up by its name, commands on it, and its streaming mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch.cloud.gcloud import where
from launch.cloud.shell import CommandError, Shell, shell_line
from launch.cloud.template import STREAMING_MODES
from launch.settings.common import Location
from launch.settings.job import AT_LEAST_ONCE, EXACTLY_ONCE
from launch.settings.parsers import is_job_id

# In a dry run by name: what the shell that the lines are pasted into sets and fills in.
JOB_ID_VARIABLE = "$JOB_ID"
# Environment.streamingMode of the API:
# https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.jobs#streamingmode
_DELIVERIES = {
    "STREAMING_MODE_AT_LEAST_ONCE": AT_LEAST_ONCE,
    "STREAMING_MODE_EXACTLY_ONCE": EXACTLY_ONCE,
}


class RunningJob:
    """The job of a name or an id.

    Under dry_run, the shell that the lines are pasted into looks the id up.

    Args:
        job: The name, or the id.
        location: Where it runs.
        shell: Runs or prints the commands.

    Attributes:
        name: As it was given.

    Raises:
        CommandError: No job of that name is active, or more than one.
    """

    def __init__(self, job: str, location: Location, shell: Shell) -> None:
        self._location = location
        self._shell = shell
        self.name = job
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

    def describe(self) -> Any:
        """Return the job as the service describes it, with its environment; None under dry_run.

        Raises:
            CommandError: As `Shell.read`.
        """
        # Without --full, the environment is left out.
        return self.read(("gcloud", "dataflow", "jobs", "describe"), ("--full",))

    def _argv(self, before: Sequence[str], after: Sequence[str]) -> list[str]:
        return [*before, self.id, *where(self._location), *after]

    def _printed(self, before: Sequence[str], after: Sequence[str]) -> bool:
        if self._id is not None:
            return False
        print(shell_line(self._argv(before, after), JOB_ID_VARIABLE), file=self._shell.out)
        return True

    def _find(self) -> str | None:
        location, shell = self._location, self._shell
        listing = [
            *("gcloud", "dataflow", "jobs", "list"),
            *where(location),
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
                f"no active job is named {self.name} in {location.region}: see the name, --project, --region"
            )
        if len(found) > 1:
            ids = ", ".join(job["id"] for job in found)
            raise CommandError(f"{len(found)} active jobs are named {self.name}: give one's id: {ids}")
        return found[0]["id"]


def delivery(described: Mapping[str, Any]) -> str | None:
    """Return the streaming mode of a job, AT_LEAST_ONCE or EXACTLY_ONCE; None if the description lacks it.

    Args:
        described: The job as `RunningJob.describe` returns it.
    """
    environment = described.get("environment")
    if environment is None:
        return None
    if known := _DELIVERIES.get(environment.get("streamingMode", "")):
        return known
    # Unspecified is the default mode: exactly once, unless an option of the job names the other.
    named = [*environment.get("serviceOptions", ()), *environment.get("experiments", ())]
    return AT_LEAST_ONCE if STREAMING_MODES[AT_LEAST_ONCE] in named else EXACTLY_ONCE
