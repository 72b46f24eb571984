"""The table of launch.sh's settings, and how a command's values are found: flag, environment, launch.env."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.settings import values
from launch.settings.command_line import read_command_line
from launch.settings.endpoint import ENDPOINT_SETTINGS
from launch.settings.env_file import read_env_file
from launch.settings.machines import parse_gpu
from launch.settings.setting import Command, Setting, Settings, SettingsError
from pipeline.options.job_options import ENDPOINT, LOCAL
from pipeline.options.values import integer, one_of

MPS = "mps"
SINGLE_PROCESS = "single-process"
NO_SHARING = "none"
NO_HINT = "none"
DOCKER = "docker"
CLOUD_BUILD = "cloud-build"


def _word(name: str, help_text: str, parse: Any, command: str) -> Setting:
    return Setting(name, parse, help_text, None, (command,), required=True)


COMMANDS = (
    Command(
        "build",
        "Build and push the image, then write the Flex Template's spec.",
        _word("variant", "cpu or gpu: which image.", one_of("cpu", "gpu"), "build"),
    ),
    Command("run", "Launch the job.", takes_job_flags=True),
    Command(
        "update",
        "Change the worker range and the utilisation hint of a running job.",
        _word("job", "The job's name or id.", values.job, "update"),
    ),
    Command(
        "status",
        "Show the state, the workers, the backlog and the lag of a job.",
        _word("job", "The job's name or id.", values.job, "status"),
    ),
    Command(
        "drain",
        "End a job after it has finished what it has read.",
        _word("job", "The job's name or id.", values.job, "drain"),
    ),
    Command(
        "cancel",
        "End a job at once. It may lose what is in flight.",
        _word("job", "The job's name or id.", values.job, "cancel"),
    ),
    Command(
        "replace",
        "Launch a new version in the place of a running job.",
        _word("job", "The running job's name.", values.job_name, "replace"),
        takes_job_flags=True,
    ),
    Command("endpoint deploy", "Upload a model and deploy it to an endpoint."),
    Command("endpoint update", "Change the replicas of what is deployed to an endpoint."),
    Command("endpoint undeploy", "Take a model off an endpoint."),
    Command(
        "smoke", "Launch the smallest job, send 100 records, check 100 results, drain.", takes_job_flags=True
    ),
)
_ALL = tuple(command.name for command in COMMANDS)
_LAUNCHES = ("run", "replace", "smoke")
_RANGED = (*_LAUNCHES, "update")

SETTINGS = (
    Setting("project", values.project, "The Google Cloud project.", None, _ALL, required=True),
    Setting("region", values.region, "Region of the job, such as us-central1.", None, _ALL, required=True),
    Setting(
        "bucket",
        values.gs_path,
        "gs://BUCKET, or a folder in one: for staged and temporary files and for the template.",
        None,
        ("build", *_LAUNCHES),
        required=True,
    ),
    Setting(
        "image",
        values.image,
        "Full name of the image, without tag: REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME.",
        None,
        ("build", *_LAUNCHES),
        required=True,
    ),
    Setting(
        "tag",
        values.tag,
        "Version of the image; -cpu or -gpu is appended. Take a new one for each build: a running job "
        "pulls its image again whenever a worker starts.",
        None,
        ("build", *_LAUNCHES),
        required=True,
    ),
    Setting(
        "template",
        values.gs_path,
        "gs:// path of the template's spec. Default: templates/NAME-TAG-cpu.json or -gpu.json in --bucket.",
        None,
        ("build", *_LAUNCHES),
    ),
    Setting(
        "builder",
        one_of(DOCKER, CLOUD_BUILD),
        "Who builds the image: docker on this machine, or cloud-build.",
        CLOUD_BUILD,
        ("build",),
    ),
    Setting("job-name", values.job_name, "Name of the job.", "streaming-inference", ("run", "smoke")),
    Setting(
        "mode",
        one_of(LOCAL, ENDPOINT),
        "local: the model runs in the worker; endpoint: an endpoint makes the predictions.",
        LOCAL,
        _LAUNCHES,
    ),
    Setting(
        "model-path",
        values.text,
        "The model file, as the workers see it: its path inside the image, or gs://BUCKET/OBJECT.",
        None,
        _LAUNCHES,
    ),
    Setting("gpu", parse_gpu, "GPUs of each worker, as TYPE:COUNT: nvidia-l4:1.", None, _LAUNCHES),
    Setting(
        "gpu-sharing",
        one_of(NO_SHARING, MPS, SINGLE_PROCESS),
        "How the processes of a worker share its GPU. none: each takes its turn; mps: at once, by NVIDIA "
        "MPS; single-process: there is one process (--worker_processes=single), with one copy of the model.",
        NO_SHARING,
        _LAUNCHES,
    ),
    Setting(
        "min-workers",
        values.count,
        "Fewest workers, 1 to 1,000.",
        None,
        _RANGED,
        from_flag_only=("update",),
    ),
    Setting(
        "max-workers",
        values.count,
        "Most workers, 1 to 1,000.",
        None,
        _RANGED,
        from_flag_only=("update",),
    ),
    Setting("num-workers", values.count, "Workers to begin with.", None, _LAUNCHES),
    Setting(
        "utilization-hint",
        values.hint,
        "CPU utilisation that autoscaling aims at, 0.1 to 0.9, or none for the service's own.",
        None,
        _RANGED,
        from_flag_only=("update",),
    ),
    Setting(
        "machine-type",
        values.machine_type,
        "Machine type of the workers. Default: the smallest that takes --gpu; without, the service's own.",
        None,
        _LAUNCHES,
    ),
    Setting(
        "disk-gb",
        values.count,
        "Boot disk of a worker in GB. Default: 50 with --gpu; without, the service's own.",
        None,
        _LAUNCHES,
    ),
    Setting(
        "harness-threads",
        integer(1, 1_000),
        "Threads of each process: bundles it works on at once. Default: the service's own.",
        None,
        _LAUNCHES,
    ),
    Setting(
        "worker-zone",
        values.zone,
        "Zone of the workers, such as us-central1-a: not every zone of a region has every GPU.",
        None,
        _LAUNCHES,
    ),
    Setting(
        "service-account", values.email, "Account that the workers run as, by its email.", None, _LAUNCHES
    ),
    Setting("network", values.text, "Compute Engine network of the workers.", None, _LAUNCHES),
    Setting(
        "subnetwork",
        values.text,
        "Subnetwork of the workers: regions/REGION/subnetworks/NAME, or its whole URL.",
        None,
        _LAUNCHES,
    ),
    Setting(
        "public-ips",
        values.boolean,
        "true or false: whether workers have public IP addresses. Without, the subnetwork needs Private "
        "Google Access.",
        "true",
        _LAUNCHES,
    ),
    Setting(
        "transform-name-mappings",
        values.mappings,
        "Steps that were renamed since the running job: old=new,old=new.",
        None,
        ("replace",),
        from_flag_only=("replace",),
    ),
    Setting(
        "yes",
        values.boolean,
        "Do not ask.",
        "false",
        ("cancel", "endpoint undeploy"),
        switch=True,
        from_flag_only=("cancel", "endpoint undeploy"),
    ),
    Setting(
        "dry-run", values.boolean, "Print the commands, to paste, and run none.", "false", _ALL, switch=True
    ),
    *ENDPOINT_SETTINGS,
)

ENV_FILE_FLAG = "--env-file"
ENV_FILE_VARIABLE = "LAUNCH_ENV_FILE"


def command_named(name: str) -> Command:
    """Raises KeyError where there is none of that name."""
    return {command.name: command for command in COMMANDS}[name]


def settings_of(command: str) -> list[Setting]:
    """The rows of the table that a command reads, without the word it takes."""
    return [setting for setting in SETTINGS if command in setting.commands]


def parse(command: str, argv: Sequence[str], environ: Mapping[str, str], env_file: Path) -> Settings:
    """The settings of a command.

    A flag wins over the environment, that over launch.env, that over the default.
    An empty value, as in `--gpu=`, stands for the default, whatever the sources below say. `env_file` may be
    missing, unless --env-file or LAUNCH_ENV_FILE names another. What follows `--` are the job's own flags.

    Raises SettingsError with every problem, one a line.
    """
    known = command_named(command)
    line = read_command_line(known, {setting.name: setting for setting in settings_of(command)}, argv)
    problems = line.problems
    in_file: dict[str, str] = {}
    named = line.given.pop("env-file", environ.get(ENV_FILE_VARIABLE, ""))
    if named or env_file.is_file():
        in_file, wrong = read_env_file(
            Path(named) if named else env_file, {setting.variable for setting in SETTINGS}
        )
        problems += wrong
    parsed: dict[str, Any] = {}
    for setting in settings_of(command):
        sources = [(f"--{setting.name}", line.given.get(setting.name))]
        if command not in setting.from_flag_only:
            sources += [
                (setting.variable, environ.get(setting.variable)),
                (f"{setting.variable} in {env_file.name}", in_file.get(setting.variable)),
            ]
        parsed[setting.key] = _value(setting, sources, problems)
    if known.word:
        parsed[known.word.key] = _value(known.word, [(known.word.name.upper(), line.word)], problems)
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(command, parsed, line.job_flags)


def help_text(command: str) -> str:
    """What `./launch.sh COMMAND --help` prints."""
    known = command_named(command)
    usage = f"usage: ./launch.sh {command}" + (f" {known.word.name.upper()}" if known.word else "")
    usage += " [flags]" + (" [-- flags of the job]" if known.takes_job_flags else "")
    rows = [(known.word.name.upper(), known.word)] if known.word else []
    rows += [(f"--{setting.name}", setting) for setting in settings_of(command)]
    lines = [usage, "", known.help, ""]
    for shown, setting in rows:
        end = " Required." if setting.required else ""
        if setting.default is not None and not setting.switch:
            end = f" Default: {setting.default}."
        lines += [f"  {shown}", f"      {setting.help}{end}"]
    lines += [
        f"  {ENV_FILE_FLAG}",
        "      The file to read instead of launch.env.",
        "",
        "Each flag may also be an environment variable, or a line of launch.env: --min-workers is",
        "LAUNCH_MIN_WORKERS. The flag wins over the environment, and that over launch.env.",
    ]
    return "\n".join(lines)


def _value(setting: Setting, sources: Iterable[tuple[str, str | None]], problems: list[str]) -> Any:
    for source, text in sources:
        if text is None:
            continue
        if not text:
            break
        try:
            return setting.parse(text)
        except ValueError as error:
            problems.append(f"{source}: {error}")
            return None
    if setting.default is not None:
        return setting.parse(setting.default)
    if setting.required:
        shown = next(iter(sources))[0]
        problems.append(f"{shown}: missing. {setting.help}")
    return None
