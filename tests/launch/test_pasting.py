"""Whatever settings hold, the lines of a dry run do what they say when they are pasted, and nothing else."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from launch.cloud import rest
from launch.cloud.shell import Shell, shell_line, shell_quote
from launch.commands import endpoint, smoke
from launch.commands.command import Command
from launch.commands.table import COMMANDS, ENDPOINT_DEPLOY, SETUP, SMOKE, command_named, parse
from launch.settings.job import LaunchSettings
from launch.settings.setting import Setting, SettingsError, settings_of
from pipeline.options.google_api import MONITORING_OVERRIDE
from tests.launch.conftest import ENVIRON
from tests.launch.shell_lines import JOB_ID, TOKEN, RecordingShell, dry_run, pasted
from tests.launch.test_dry_run import JOB_FLAGS

# What a shell, its history or a terminal would act on.
NASTY = (
    "$(nasty)",
    "`nasty`",
    "a;nasty",
    "a\nnasty\n",
    "'$(nasty)'",
    '"$(nasty)"',
    "\\'$(nasty)",
    "a>written",
    "a&nasty",
    "a|nasty",
    "*",
    "~",
    "{a,b}",
    "#nasty",
    "!!",
    "!nasty",
    "$JOB_ID",
    "\x1b[201~\nnasty\n",
    "a\rnasty",
    "\u202enasty",
    "\udcff$(nasty)",
    "",
)
# Around the nasty text, so that what checks a form lets it through.
FORMS = (
    "{}",
    "gs://bucket/{}",
    "/{}",
    "a={}",
    "{0}@{0}.com",
    "regions/{}",
    "https://x/{}",
    "--model_file={}",
)
ACCOUNT = "--service-account=worker@shop-project.iam.gserviceaccount.com"
# What commands do not start without, and what chooses another way through them.
WAYS: dict[str, list[list[str]]] = {
    "build": [["cpu"], ["gpu", "--builder=docker"]],
    "run": [["--model-path=/m.pt2"], ["--gpu=nvidia-l4", "--model-path=/m.pt2"]],
    "replace": [["shop", "--model-path=/m.pt2", "--delivery=at-least-once"]],
    "smoke": [[]],
    "update": [["shop", "--min-workers=2"], [JOB_ID, "--max-workers=3"]],
    "status": [["shop"], [JOB_ID]],
    "drain": [["shop"], [JOB_ID]],
    "cancel": [["shop"], [JOB_ID]],
    "endpoint deploy": [
        ["--model-uri=gs://bucket/model", "--serving-image=us-docker.pkg.dev/p/inference/serving:1"],
        ["--model=7", "--endpoint=1"],
        ["--model=7", "--endpoint-kind=shared", "--scale-to-zero", "--max-replicas=2"],
        [
            "--server=triton",
            "--model-uri=gs://bucket/repository",
            "--serving-image=us-docker.pkg.dev/p/inference/tritonserver:25.08-py3",
            "--startup-timeout-s=600",
        ],
    ],
    "endpoint update": [["--endpoint=1", "--min-replicas=2", "--scaling-metric=cpu-usage=50"]],
    "setup": [
        [ACCOUNT],
        [ACCOUNT, "--output-table=shop-project:shop.predictions"],
        # An account of another project, which is not made.
        ["--service-account=a@a.com"],
    ],
    "endpoint undeploy": [["--endpoint=1", "--delete"]],
}


# Settings by which setup makes more than without them.
MORE = ("--output-table", "--kms-key", "--mode")


def with_stand_in(command: Command[Any]) -> Command[Any]:
    """Smoke names this Python; in the shell of these tests the driver is one of the stand-ins."""
    if command is not SMOKE:
        return command
    return dataclasses.replace(command, run=functools.partial(smoke.run, driver=("driver",)))


def accepted(setting: Setting, nasty: str) -> list[str]:
    """Return what the setting takes of a nasty text: the first of FORMS that its parser lets through."""
    for form in FORMS:
        text = form.format(nasty)
        with suppress(ValueError):
            setting.parse(text)
            return [text]
    return []


def command_lines(command: Command[Any]) -> Iterator[list[str]]:
    """Yield arguments of a command: each of its ways, plain and with a nasty value of each setting."""
    takes_job_flags = issubclass(command.settings, LaunchSettings)
    after = ["--", *(() if command is SMOKE else JOB_FLAGS)] if takes_job_flags else []
    declared = [setting for setting in settings_of(command.settings) if not (setting.switch or setting.word)]
    for way in WAYS[command.name]:
        yield [*way, *after]
        free = [setting for setting in declared if not any(text.startswith(setting.label) for text in way)]
        for setting, nasty in itertools.product(free, NASTY):
            yield from ([*way, f"{setting.label}={text}", *after] for text in accepted(setting, nasty))
        if takes_job_flags:
            for nasty in NASTY:
                yield [*way, *after, f"--experiments={nasty}"]
                yield [*way, *after, f"--dataflow_service_options=a,{nasty}"]


def is_on_a_job(call: list[str]) -> bool:
    return call[:3] == ["gcloud", "dataflow", "jobs"]


@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS if command is not SETUP],
    ids=lambda command: command.name.replace(" ", "-"),
)
def test_settings_of_every_command(command: Command[Any], tmp_path: Path) -> None:
    text, meant, taken = "", [], 0
    for argv in command_lines(command):
        with suppress(SettingsError):
            printed = dry_run(with_stand_in(command), argv, ENVIRON, tmp_path)
            text += printed.text
            meant += printed.argvs
            taken += 1
    assert taken >= len(WAYS[command.name])
    # Nothing in it is for the terminal.
    assert all(character.isprintable() for character in text.replace("\n", ""))
    calls = pasted(text, tmp_path)
    lookups, plain = [call for call in calls if is_on_a_job(call)], [c for c in calls if not is_on_a_job(c)]
    assert [call for call in plain if call[0] != "curl" and call[1] != "auth"] == [
        argv for argv in meant if not is_on_a_job(argv) and argv[1] != "auth"
    ]
    # Those on a job that is looked up by its name are not handed to Shell.run.
    for call in lookups:
        assert call in meant or "list" in call or JOB_ID in call
    for call in calls:
        if call[0] == "curl":
            assert_as_meant(call)


def test_settings_of_setup(tmp_path: Path) -> None:
    """Its lines are made where they are printed, so that what they mean is in none of the shell's calls.

    Whatever a setting holds, the programs are called as without it, each with as many words.
    """

    def shape(argv: list[str], folder: str) -> list[tuple[str, str, int]]:
        (tmp_path / folder).mkdir()
        text = dry_run(SETUP, argv, ENVIRON, tmp_path).text
        assert all(character.isprintable() for character in text.replace("\n", ""))
        return [(call[0], call[1], len(call)) for call in pasted(text, tmp_path / folder)]

    taken = 0
    for number, way in enumerate(WAYS["setup"]):
        plain = shape(way, f"plain-{number}")
        for place, argv in enumerate(command_lines(SETUP)):
            # What makes more of them changes their number, rightly.
            if argv[: len(way)] != way or any(text.startswith(MORE) for text in argv[len(way) :]):
                continue
            with suppress(SettingsError):
                assert shape(argv, f"{number}-{place}") == plain, argv
                taken += 1
    other = shape(WAYS["setup"][-1], "other")
    for number, nasty in enumerate(NASTY):
        (setting,) = (each for each in settings_of(SETUP.settings) if each.name == "service_account")
        for text in accepted(setting, nasty):
            assert shape([f"{setting.label}={text}"], f"account-{number}") == other, text
            taken += 1
    assert taken > 30


def assert_as_meant(call: list[str]) -> None:
    """Of curl: the flags that we give, each with its value, and one URL."""
    *words, url = call[1:]
    assert url.startswith("https://")
    values: dict[str, list[str]] = {"--header": [], "--data": [], "--data-urlencode": []}
    left = iter(words)
    for flag in left:
        if flag in values:
            values[flag].append(next(left))
        else:
            assert flag in ("--fail-with-body", "--silent", "--show-error", "--get")
    assert values["--header"][0] == f"Authorization: Bearer {TOKEN}"
    filters = [text for text in values["--data-urlencode"] if text.startswith("filter=")]
    assert all(text.endswith(f'AND metric.labels.job_id="{JOB_ID}"') for text in filters)
    for body in values["--data"]:
        json.loads(body)


def test_settings_that_are_nasty_get_through(tmp_path: Path) -> None:
    # If parsers took none of them, the test above would show nothing.
    found = {
        setting.name
        for command in COMMANDS
        for setting in settings_of(command.settings)
        if not setting.switch and accepted(setting, "$(nasty)")
    }
    assert {"bucket", "template", "model_path", "network", "service_account", "serving_args"} <= found


@pytest.mark.parametrize("path", ["$(nasty)", "`nasty`", "a;nasty", "'x", '"x', "{a,b}", "!nasty"])
@pytest.mark.parametrize(
    ("variable", "command"), [(MONITORING_OVERRIDE, "status"), (rest.OVERRIDE, "endpoint update")]
)
def test_the_address_of_the_environment(
    variable: str, command: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"https://x/{path}")
    for way in WAYS[command]:
        (tmp_path / way[0]).mkdir()
        printed = dry_run(command_named(command), way, ENVIRON, tmp_path)
        curls = [call for call in pasted(printed.text, tmp_path / way[0]) if call[0] == "curl"]
        assert curls
        for call in curls:
            assert call[-1].startswith(f"https://x/{path}/v")
            assert_as_meant(call)


def test_a_note_stays_a_comment(tmp_path: Path) -> None:
    shell = RecordingShell()
    shell.note("first\nnasty\r\nnasty \x1b[201~")
    shell.run(["gcloud", "info"])
    assert pasted(shell.printed.getvalue(), tmp_path) == [["gcloud", "info"]]


def test_the_flags_for_the_job_are_pasted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # They hold what the service answered.
    monkeypatch.setattr(endpoint, "describe", lambda *_: {"dedicatedEndpointDns": "x;$(nasty)\nnasty"})
    monkeypatch.setattr(Shell, "run", lambda self, argv: "")
    out = io.StringIO()
    settings = parse(ENDPOINT_DEPLOY, ["--model=7", "--endpoint=1"], ENVIRON, tmp_path / "none")
    ENDPOINT_DEPLOY.execute(settings, Shell(dry_run=False, out=out))
    flags = out.getvalue().splitlines()[-1]
    assert pasted(f"driver {flags}", tmp_path)[0][-1] == "--endpoint_url=https://x;$(nasty)\nnasty"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=8))
@example(list(NASTY))
def test_any_word_comes_back(words: list[str]) -> None:
    line = shell_line(["driver", *words])
    assert line.isprintable()
    with tempfile.TemporaryDirectory() as folder:
        assert pasted(line, Path(folder)) == [["driver", *words]]


def test_a_variable_is_filled_in_and_nothing_else(tmp_path: Path) -> None:
    words = ["$JOB_ID", "id=$JOB_ID", "$JOB_ID'$(nasty)'$JOB_ID", "$HOME", ""]
    line = "JOB_ID='a b'; " + shell_line(["driver", *words], "$JOB_ID")
    assert pasted(line, tmp_path) == [["driver", "a b", "id=a b", "a b'$(nasty)'a b", "$HOME", ""]]
    assert shell_quote("") == "''"
