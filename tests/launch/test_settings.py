"""Where a setting's value comes from, and how wrong ones are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from launch.commands.command import Command
from launch.commands.table import (
    CANCEL,
    COMMANDS,
    DRAIN,
    RUN,
    SETTINGS,
    UPDATE,
    command_named,
    parse,
)
from launch.settings.env_file import Assignment, read_env_file
from launch.settings.job import RunSettings
from launch.settings.setting import SettingsError, settings_of
from tests.launch.conftest import ENVIRON, Make

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("argv", "environ", "line", "expected"),
    [
        ([], None, None, "streaming-inference"),
        ([], None, "from-file", "from-file"),
        ([], "from-environ", "from-file", "from-environ"),
        (["--job-name=from-flag"], "from-environ", "from-file", "from-flag"),
        (["--job-name", "from-flag"], None, None, "from-flag"),
        (["--job-name="], "from-environ", "from-file", "streaming-inference"),
        ([], "", "from-file", "streaming-inference"),
    ],
)
def test_flag_then_environment_then_file_then_default(
    tmp_path: Path, argv: list[str], environ: str | None, line: str | None, expected: str
) -> None:
    file = tmp_path / "launch.env"
    if line is not None:
        file.write_text(f"LAUNCH_JOB_NAME={line}\n")
    given = ENVIRON if environ is None else {**ENVIRON, "LAUNCH_JOB_NAME": environ}
    assert parse(RUN, argv, given, file).job_name == expected


def test_another_file(tmp_path: Path) -> None:
    (tmp_path / "launch.env").write_text("LAUNCH_TAG=1\n")
    other = tmp_path / "other.env"
    other.write_text("LAUNCH_TAG=2\n")
    given = {name: value for name, value in ENVIRON.items() if name != "LAUNCH_TAG"}
    default = tmp_path / "launch.env"
    assert parse(RUN, [], given, default).tag == "1"
    assert parse(RUN, ["--env-file", str(other)], given, default).tag == "2"
    assert parse(RUN, [], {**given, "LAUNCH_ENV_FILE": str(other)}, default).tag == "2"
    with pytest.raises(SettingsError, match=r"nothing\.env: cannot be read: No such file"):
        parse(RUN, [f"--env-file={tmp_path / 'nothing.env'}"], given, default)


def test_a_wrong_value_is_refused_with_its_file_and_line(tmp_path: Path) -> None:
    default, other = tmp_path / "launch.env", tmp_path / "other.env"
    default.write_text("LAUNCH_GPU=\n# a comment\nLAUNCH_DISK_GB=x\n")
    other.write_text("LAUNCH_DISK_GB=y\n")
    for argv, place in (([], f"{default}, line 3"), ([f"--env-file={other}"], f"{other}, line 1")):
        with pytest.raises(SettingsError) as error:
            parse(RUN, argv, ENVIRON, default)
        assert str(error.value).startswith(f"LAUNCH_DISK_GB in {place}: ")


def test_lines_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "launch.env"
    file.write_text(
        "# a comment\n\nLAUNCH_TAG=1 # after a blank\nexport LAUNCH_REGION='us-east1'\n"
        'LAUNCH_SERVING_ARGS="--workers=4 $HOME"\nLAUNCH_GPU=\n'
    )
    known = {setting.variable for setting in SETTINGS}
    assert read_env_file(file, dict.fromkeys(known, True)) == (
        {
            "LAUNCH_TAG": Assignment("1", 3),
            "LAUNCH_REGION": Assignment("us-east1", 4),
            "LAUNCH_SERVING_ARGS": Assignment("--workers=4 $HOME", 5),
            "LAUNCH_GPU": Assignment("", 6),
        },
        [],
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "LAUNCH_MINWORKERS=1",
            "line 2: there is no setting LAUNCH_MINWORKERS; did you mean LAUNCH_MIN_WORKERS?",
        ),
        ("COLOUR=red", "line 2: there is no setting COLOUR; see launch.env.example"),
        ("LAUNCH_DEAD_LETTERS=d", "line 2: LAUNCH_DEAD_LETTERS is set by its flag alone"),
        ("LAUNCH_TAG=a b", "line 2: not KEY=value"),
        ("LAUNCH_REGION=us-east1", "line 2: LAUNCH_REGION is given a second time"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(tmp_path: Path, line: str, problem: str) -> None:
    file = tmp_path / "launch.env"
    file.write_text(f"LAUNCH_REGION=us-central1\n{line}\n")
    with pytest.raises(SettingsError, match=re.escape(problem)):
        parse(RUN, [], ENVIRON, file)


@pytest.mark.parametrize(
    ("command", "argv", "problem"),
    [
        ("run", ["--min-workers=0"], "--min-workers: '0' is not a whole number from 1 to 1000"),
        ("run", ["--max-workers=1001"], "--max-workers: '1001' is not a whole number from 1 to 1000"),
        (
            "update",
            ["job", "--max-workers=1001"],
            "--max-workers: '1001' is not a whole number from 1 to 1000",
        ),
        ("run", ["--min-workers"], "--min-workers: needs a value"),
        ("run", ["--min-workers", "--yes"], "--min-workers: needs a value"),
        (
            "run",
            ["--xyz=red"],
            "--xyz: run has no such flag; see ./launch.sh run --help (flags of the job come after --)",
        ),
        (
            "run",
            ["--min-worker=2"],
            "--min-worker: run has no such flag; did you mean --min-workers? (flags of the job come",
        ),
        ("run", ["--model_path=x"], "did you mean --model-path?"),
        ("run", ["--device=cpu"], "--device: run has no such flag; see ./launch.sh run --help (flags of"),
        ("run", ["--envfile=x"], "did you mean --env-file?"),
        ("run", ["--min-workers=2", "--min-workers=3"], "--min-workers: given twice"),
        ("run", ["--min-workers", "2", "--min-workers="], "--min-workers: given twice"),
        ("run", ["--dry-run", "--dry-run=false"], "--dry-run: given twice"),
        ("run", ["--env-file=", "--env-file=b"], "--env-file: given twice"),
        (
            "run",
            ["--model-path=gs://bucket"],
            "--model-path: 'gs://bucket' names no object: gs://BUCKET/OBJECT",
        ),
        ("run", ["--model-path=gs://bucket/"], "names no object"),
        ("run", ["--template=gs://bucket"], "--template: 'gs://bucket' names no object"),
        ("run", ["--model-path=gs://bucket/folder/"], "names no object"),
        ("run", ["--model-path=gs:///model.pt2"], "names no object"),
        ("run", ["--labels=Team=x"], "--labels: 'Team=x' is not key=value of small letters"),
        ("run", ["--labels=team"], "'team' is not key=value"),
        ("run", ["--labels=a=1,a=2"], "a is given twice"),
        ("run", ["--kms-key=my-key"], "--kms-key: 'my-key' is not the full name of a key: projects/PROJECT/"),
        ("run", ["--gpu-torch=12.6"], "--gpu-torch: '12.6' is neither pypi nor cu"),
        ("build", ["cpu", "--torch-index=mirror"], "'mirror' is not the URL of a package index"),
        (
            "build",
            ["cpu", "--torch-index=https://me:word@mirror.example/torch"],
            "stays in the image's history",
        ),
        ("run", ["--gpu=l4"], "--gpu: 'l4' is not one of"),
        ("run", ["--mode=cloud"], "--mode: 'cloud' is not one of: local, endpoint"),
        ("run", ["--tag=latest"], "--tag: latest is refused"),
        ("run", ["--image=worker"], "--image: 'worker' is not the name of an image"),
        ("run", ["--image=us-docker.pkg.dev/p/r/worker:1"], "without its tag"),
        ("run", ["--bucket=shop"], "--bucket: 'shop' is not a Cloud Storage path"),
        (
            "run",
            ["--bucket=gs://b/m"],
            "--bucket: 'b' in 'gs://b/m' is not the name of a bucket: 3 to 222 small letters, digits and "
            "-_., beginning and ending with a letter or digit",
        ),
        ("run", ["--bucket=gs://"], "--bucket: '' in 'gs://' is not the name of a bucket: 3 to 222"),
        (
            "run",
            ["--bucket=gs://my-bucket/a b"],
            "--bucket: 'a b' in 'gs://my-bucket/a b' is not a path in a bucket: no blanks",
        ),
        ("run", ["--region=US"], "--region: 'US' is not a region"),
        (
            "run",
            ["--project=ab"],
            "--project: 'ab' is not a project id: 6 to 30 small letters, digits and dashes, beginning with a "
            "letter and ending with a letter or digit",
        ),
        (
            "run",
            ["--tag=-1"],
            "'-1' is not a tag: 1 to 123 letters, digits, underscores, dots and dashes, beg",
        ),
        ("run", ["--worker-zone=us-central1"], "is not a zone"),
        ("run", ["--service-account=me"], "is not an email"),
        ("run", ["--public-ips=no"], "neither true nor false"),
        ("run", ["--utilization-hint=half"], "neither a number such as 0.6 nor none"),
        ("run", ["--machine-type=big"], "is not a machine type"),
        ("run", ["--job-name=My_Job"], "is not the name of a job"),
        (
            "run",
            ["--job-name=job-"],
            "1 to 1,024 small letters, digits and dashes, beginning with a letter and not",
        ),
        ("run", ["--harness-threads=0"], "from 1 to 1000"),
        ("run", ["job"], "job: not a flag"),
        ("run", ["--", "--input_shape", "30"], "a flag of the job is written --name=value"),
        ("run", ["--", "--a=1", "--a=2"], "--a: given twice"),
        ("update", ["job", "--", "--a=1"], "--: update takes no flags of the job"),
        ("update", ["--min-workers=1"], "JOB: missing"),
        ("update", ["a", "b"], "b: not a flag"),
        ("drain", ["My_Job"], "JOB: 'My_Job' is not the name of a job"),
        ("build", ["tpu"], "VARIANT: 'tpu' is not one of: cpu, gpu"),
        ("replace", ["2026-01-02_03_04_05-123"], "is not the name of a job"),
        ("replace", ["job", "--transform-name-mappings=a"], "is not old=new,old=new"),
    ],
)
def test_wrong_settings(settings: Make, command: str, argv: list[str], problem: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(problem)):
        settings(command_named(command), *argv)


def test_every_problem_is_listed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        parse(RUN, ["--gpu=l4", "--disk-gb=x"], {"LAUNCH_TAG": "latest"}, tmp_path / "launch.env")
    lines = str(error.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "--project",
        "--region",
        "--bucket",
        "--image",
        "LAUNCH_TAG",
        "--gpu",
        "--disk-gb",
    ]


def test_what_changes_a_job_comes_from_flags_only(tmp_path: Path) -> None:
    given = {**ENVIRON, "LAUNCH_MIN_WORKERS": "5", "LAUNCH_YES": "true"}
    assert parse(RUN, [], given, tmp_path / "none").min_workers == 5
    assert parse(UPDATE, ["job", "--max-workers=7"], given, tmp_path / "none").min_workers is None
    assert parse(CANCEL, ["job"], given, tmp_path / "none").yes is False


def test_job_flags_and_switches(settings: Make) -> None:
    given = settings(RUN, "--dry-run", "--", "--experiments=a", "--input-shape=3x4", "--experiments=b,c")
    assert given.dry_run is True
    assert given.job_flags == {"experiments": "a,b,c", "input_shape": "3x4"}
    assert settings(RUN, "--dry-run=false").dry_run is False


def test_job_flags_that_are_empty_are_not_given(settings: Make) -> None:
    empty = ["--model_class=", "--decode_hook=", "--experiments=", "--input_shape="]
    assert settings(RUN, "--", *empty, "--input_shape=3x4").job_flags == {"input_shape": "3x4"}
    # What is no flag of the job is still found to be none.
    assert settings(RUN, "--", "--model_clas=").job_flags == {"model_clas": ""}


def test_a_command_has_its_own_settings_only(settings: Make) -> None:
    """For mypy too, which refuses an `ignore` that it does not need."""
    with pytest.raises(AttributeError, match="'gpu'"):
        _ = settings(DRAIN, "job").gpu  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="'min_wokers'"):
        _ = settings(RUN).min_wokers  # type: ignore[attr-defined]


def test_defaults_without_a_command_line(settings: Make) -> None:
    given = settings(RUN)
    assert given == RunSettings(
        project=given.project, region=given.region, bucket=given.bucket, image=given.image, tag=given.tag
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_lists_each_setting(command: Command[Any]) -> None:
    assert command.help.startswith(f"usage: ./launch.sh {command.name}")
    for setting in settings_of(command.settings):
        assert f"\n  {setting.label}\n" in command.help


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_says_which_settings_are_flags_only(command: Command[Any]) -> None:
    explained = re.findall(r"^  (--\S+)\n((?: {6}.*\n)+)", command.help, re.MULTILINE)
    marked = {label for label, text in explained if "By this flag alone." in " ".join(text.split())}
    flags = [setting for setting in settings_of(command.settings) if not setting.word]
    assert marked == {setting.label for setting in flags if setting.flag_only}
    others = " ".join(command.help.split()).rpartition(" may also be an environment variable")[0]
    assert others.endswith("Each other flag" if marked else "Each flag")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in COMMANDS:
        for line in command.help.splitlines():
            assert len(line) <= columns or " " not in line.strip(), command.name


def test_the_example_holds_each_setting_that_a_file_may_set() -> None:
    text = (ROOT / "launch.env.example").read_text()
    shown = re.findall(r"^#?(LAUNCH_\w+)=(.*)$", text, re.MULTILINE)
    from_file = {setting.variable for setting in SETTINGS if not setting.flag_only} - {"LAUNCH_DRY_RUN"}
    assert {name for name, _ in shown} == from_file
    assert len(shown) == len(from_file)
    for name, value in shown:
        for setting in SETTINGS:
            if setting.variable == name:
                setting.parse(value.strip("'"))


def test_the_example_is_a_launch_env(tmp_path: Path) -> None:
    assert parse(RUN, [], {}, ROOT / "launch.env.example").project == "my-project"
    assert "/launch.env\n" in (ROOT / ".gitignore").read_text()
