"""`./launch.sh setup`: make what a project lacks for its first build and launch, and say what it has."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Mapping

from launch.cloud.policies import Policy
from launch.cloud.shell import CommandError, Shell
from launch.commands.setup_plan import Grant, apis, grants, resources
from launch.settings.setup import SetupSettings

# A new account is not known everywhere at once: https://cloud.google.com/iam/docs/access-change-propagation.
NEW_ACCOUNT_WAIT_S = 300.0
# In a dry run, what the variables of the shell hold that these commands fill.
_BUILD_ACCOUNT = "${BUILD_ACCOUNT##*/}"
_PROJECT_NUMBER = "$PROJECT_NUMBER"


def run(settings: SetupSettings, shell: Shell, *, poll_s: float = 5.0) -> None:
    """Make what is missing. Run again, it makes nothing, or what was refused the first time.

    Args:
        settings: Of the command.
        shell: Runs or prints the commands.
        poll_s: Seconds between two tries to give a role to an account that was made a moment ago.

    Raises:
        CommandError: Something was refused.
    """
    try:
        _enable(settings, shell)
        made = _make(settings, shell)
        wanted = grants(settings, _build_account(settings, shell), _project_number(settings, shell))
        patience_s = NEW_ACCOUNT_WAIT_S if f"service account {settings.service_account}" in made else 0.0
        _grant(wanted, shell, patience_s, poll_s)
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


def _enable(settings: SetupSettings, shell: Shell) -> None:
    project = f"--project={settings.project}"
    wanted = apis(settings)
    on: Collection[str] = ()
    if not shell.dry_run:
        listing = ["gcloud", "services", "list", "--enabled", project, "--format=value(config.name)"]
        on = shell.run(listing).split()
    for name in wanted:
        if name in on:
            _say(shell, "exists", f"API {name}")
    if missing := [name for name in wanted if name not in on]:
        shell.run(["gcloud", "services", "enable", *missing, project])
        for name in missing:
            _say(shell, "made", f"API {name}")


def _make(settings: SetupSettings, shell: Shell) -> list[str]:
    """Make the resources that are missing; return their names."""
    made = []
    for resource in resources(settings):
        if shell.dry_run:
            print(resource.line, file=shell.out)
        elif resource.exists(shell):
            _say(shell, "exists", resource.name)
        else:
            shell.run(resource.create)
            _say(shell, "made", resource.name)
            made.append(resource.name)
    return made


def _build_account(settings: SetupSettings, shell: Shell) -> str:
    """Return the email of the account that Cloud Build runs as."""
    argv = [
        *("gcloud", "builds", "get-default-service-account", f"--project={settings.project}"),
        "--format=value(serviceAccountEmail)",
    ]
    if shell.dry_run:
        print(f"BUILD_ACCOUNT=$({shlex.join(argv)})", file=shell.out)
        return _BUILD_ACCOUNT
    # projects/…/serviceAccounts/EMAIL
    return shell.run(argv).strip().rpartition("/")[2]


def _project_number(settings: SetupSettings, shell: Shell) -> str:
    """Return the project's number, which is in the names of Google's accounts; "" where none is needed."""
    if settings.kms_key is None:
        return ""
    argv = ["gcloud", "projects", "describe", settings.project, "--format=value(projectNumber)"]
    if shell.dry_run:
        print(f"PROJECT_NUMBER=$({shlex.join(argv)})", file=shell.out)
        return _PROJECT_NUMBER
    return shell.run(argv).strip()


def _grant(wanted: Collection[Grant], shell: Shell, patience_s: float, poll_s: float) -> None:
    """Give the roles that are not given yet; `patience_s`: how long their account may still be unknown."""
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
            _say(shell, "exists", name)
        else:
            _run_patiently(argv, shell, patience_s, poll_s)
            _say(shell, "made", name)


def _run_patiently(argv: list[str], shell: Shell, patience_s: float, poll_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            shell.run(argv)
            return
        except CommandError as error:
            if "does not exist" not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(poll_s)


def _say(shell: Shell, what: str, name: str) -> None:
    if not shell.dry_run:
        shell.note(f"{what:<7} {name}")


def _word(text: str) -> str:
    """Quote a word for the shell; what holds one of the variables above, so that it is filled in."""
    known = (_BUILD_ACCOUNT, _PROJECT_NUMBER)
    return f'"{text}"' if any(variable in text for variable in known) else shlex.quote(text)
