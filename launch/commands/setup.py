"""`./launch.sh setup`: make what a project lacks for its first build and launch, and say what it has."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from launch.cloud.policies import Policy
from launch.cloud.shell import CommandError, Shell, shell_line, shell_quote
from launch.commands.setup_plan import Grant, apis, grants, resources
from launch.settings.setup import SetupSettings

# An API that was switched on, or an account that was made, is not known everywhere at once:
# https://cloud.google.com/iam/docs/access-change-propagation.
NEWS_TRAVEL_S = 300.0
_NOT_KNOWN_YET = re.compile(
    r"service account \S* ?does not exist|has not been used in project", re.IGNORECASE
)
# In a dry run, what the variables of the shell hold that these commands fill.
_BUILD_ACCOUNT = "${BUILD_ACCOUNT##*/}"
_PROJECT_NUMBER = "$PROJECT_NUMBER"


def run(settings: SetupSettings, shell: Shell, *, poll_s: float = 5.0) -> None:
    """Make what is missing. Run again, it makes nothing, or what was refused the first time.

    Args:
        settings: Of the command.
        shell: Runs or prints the commands.
        poll_s: Seconds between two tries of what is refused since something new is not known yet.

    Raises:
        CommandError: Something was refused.
    """
    patient = _PatientShell(shell, poll_s)
    try:
        _enable(settings, patient)
        _make(settings, patient)
        wanted = grants(settings, _build_account(settings, patient), _project_number(settings, patient))
        _grant(wanted, patient)
    except CommandError as error:
        raise CommandError(f"{error}; what was made before stays: run setup again to go on") from None
    shell.note("ready; the flags of the job, after --:")
    flags = " ".join(
        (
            f"--input_subscription=projects/{settings.project}/subscriptions/{settings.requests}",
            f"--output_topic=projects/{settings.project}/topics/{settings.results}",
            f"--dead_letter_topic=projects/{settings.project}/topics/{settings.dead_letters}",
            *([f"--output_table={settings.output_table}"] if settings.output_table else []),
        )
    )
    if shell.dry_run:
        shell.note(flags)
    else:
        print(flags, file=shell.out)


class _PatientShell(Shell):
    """A shell that tries a command again while it is refused for what was made a moment ago."""

    def __init__(self, shell: Shell, poll_s: float) -> None:
        super().__init__(dry_run=shell.dry_run, out=shell.out)
        self._poll_s = poll_s
        self._until = -math.inf

    def made(self, name: str) -> None:
        """Say what was made; from now on there is something new."""
        self.note(f"made    {name}")
        self._until = time.monotonic() + NEWS_TRAVEL_S

    def run(self, argv: Sequence[str]) -> str:
        """Run a command as `Shell.run` does, which raises CommandError."""
        while True:
            try:
                return super().run(argv)
            except CommandError as error:
                if not _NOT_KNOWN_YET.search(str(error)) or time.monotonic() >= self._until:
                    raise
            time.sleep(self._poll_s)


def _enable(settings: SetupSettings, shell: _PatientShell) -> None:
    project = f"--project={settings.project}"
    wanted = apis(settings)
    on: Collection[str] = ()
    if not shell.dry_run:
        listing = ["gcloud", "services", "list", "--enabled", project, "--format=value(config.name)"]
        on = shell.run(listing).split()
    for name in wanted:
        if name in on:
            shell.note(f"exists  API {name}")
    if missing := [name for name in wanted if name not in on]:
        shell.run(["gcloud", "services", "enable", *missing, project])
        if not shell.dry_run:
            for name in missing:
                shell.made(f"API {name}")


def _make(settings: SetupSettings, shell: _PatientShell) -> None:
    for resource in resources(settings):
        if shell.dry_run:
            print(resource.line, file=shell.out)
        elif resource.exists(shell):
            shell.note(f"exists  {resource.name}")
        else:
            shell.run(resource.create)
            shell.made(resource.name)


def _build_account(settings: SetupSettings, shell: Shell) -> str:
    """Return the email of the account that Cloud Build runs as."""
    argv = [
        *("gcloud", "builds", "get-default-service-account", f"--project={settings.project}"),
        "--format=value(serviceAccountEmail)",
    ]
    if shell.dry_run:
        print(f"BUILD_ACCOUNT=$({shell_line(argv)})", file=shell.out)
        return _BUILD_ACCOUNT
    # projects/…/serviceAccounts/EMAIL
    return shell.run(argv).strip().rpartition("/")[2]


def _project_number(settings: SetupSettings, shell: Shell) -> str:
    """Return the project's number, which is in the names of Google's accounts; "" where none is needed."""
    if settings.kms_key is None:
        return ""
    argv = ["gcloud", "projects", "describe", settings.project, "--format=value(projectNumber)"]
    if shell.dry_run:
        print(f"PROJECT_NUMBER=$({shell_line(argv)})", file=shell.out)
        return _PROJECT_NUMBER
    return shell.run(argv).strip()


def _grant(wanted: Iterable[Grant], shell: _PatientShell) -> None:
    """Give the roles that are not given yet."""
    read: dict[Policy, Mapping[str, set[str]]] = {}
    for grant in wanted:
        argv = grant.policy.grant(grant.role, grant.member)
        if shell.dry_run:
            print(" ".join(_word(text) for text in argv), file=shell.out)
            continue
        if grant.policy not in read:
            read[grant.policy] = grant.policy.members(shell)
        name = f"{grant.role} on {grant.policy.on} for {grant.member.partition(':')[2]}"
        if grant.member in read[grant.policy].get(grant.role, ()):
            shell.note(f"exists  {name}")
        else:
            shell.run(argv)
            shell.made(name)


def _word(text: str) -> str:
    """Quote a word for the shell; one of the variables above in it is filled in."""
    variable = next((each for each in (_BUILD_ACCOUNT, _PROJECT_NUMBER) if each in text), None)
    return shell_quote(text, variable)
