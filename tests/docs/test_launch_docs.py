"""The pages on Dataflow: launch.sh and gcloud take the commands, flags exist, facts are those of the code."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from apache_beam.metrics.metricbase import Metric

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import wheels
from launch.cloud import template as job
from launch.commands.setup_plan import grants
from launch.commands.table import COMMANDS, RUN, SETTINGS, SETUP, command_named, parse
from launch.rules import endpoint as endpoint_rules
from launch.rules.rule import problems
from launch.settings import machines
from loadtest import options as loadtest
from pipeline import metrics
from pipeline.options.job_options import FLAGS
from pipeline.options.workers import ONE_PROCESS

ROOT = Path(__file__).parents[2]
PAGES = {
    name: (ROOT / f"docs/{name}.md").read_text() for name in ("dataflow", "gpu", "operations", "scaling")
}
ENV = dict(line.split("=", 1) for line in re.findall(r"^LAUNCH_\w+=\S+$", PAGES["dataflow"], re.MULTILINE))
# The Google Cloud CLI's own table of its commands and their flags, beside its program.
GCLOUD = Path(shutil.which("gcloud") or "gcloud").resolve().parents[1] / "data/cli/gcloud_completions.py"
# Of Beam and of the container, where the text speaks of them.
OTHERS = {"--experiments", "--setup_file", "--requirements_file", "--workers", "--help"} | {
    "--build-arg",  # of docker build
    "--engine",  # of docker/check_image.sh
}


def commands(page: str) -> list[list[str]]:
    """Return the commands of a page's blocks, as words, with continued lines joined."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)
    lines = "".join(text for language, text in blocks if not language).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line]


def of_program(program: str) -> list[tuple[str, list[str]]]:
    return [(page, words) for page in PAGES for words in commands(page) if words[0] == program]


def page_and_command(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(value[:4])


@pytest.mark.parametrize(("page", "words"), of_program("./launch.sh"), ids=page_and_command)
def test_launch_takes_it(page: str, words: list[str]) -> None:
    names = {command.name for command in COMMANDS}
    name = next(" ".join(words[1:end]) for end in (3, 2) if " ".join(words[1:end]) in names)
    command = command_named(name)
    settings = parse(command, words[1 + len(name.split()) :], ENV, ROOT / "no-launch.env")
    assert problems(command.rules, settings) == []
    if name in ("run", "replace"):
        flags = {flag.name: flag for flag in FLAGS}
        for flag, text in settings.job_flags.items():
            flags[flag].parse(text)
        assert {flag.name for flag in FLAGS if flag.required} <= set(settings.job_flags)


def test_the_settings_to_fill_in_are_those_of_the_example() -> None:
    example = (ROOT / "launch.env.example").read_text()
    assert re.findall(r"^(LAUNCH_\w+)=(.*)$", example, re.MULTILINE) == list(ENV.items())
    for words in (words for page, words in of_program("./launch.sh") if page == "dataflow"):
        if "setup" in words:
            parse(SETUP, words[2:], {}, ROOT / "launch.env.example")


def test_every_command_is_shown() -> None:
    shown = "\n".join(PAGES.values())
    for command in COMMANDS:
        assert re.search(rf"(?m)(?:^|`)\./launch\.sh {command.name}\b", shown), command.name


@pytest.mark.skipif(not GCLOUD.is_file(), reason="the Google Cloud CLI is not installed here")
def test_gcloud_takes_it() -> None:
    spec = importlib.util.spec_from_file_location("gcloud_completions", GCLOUD)
    assert spec
    assert spec.loader
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    seen = 0
    for page, words in of_program("gcloud"):
        node = tables.STATIC_COMPLETION_CLI_TREE
        flags = dict(node["flags"])
        for word in words[1:]:
            if word.startswith("--"):
                assert word.partition("=")[0] in flags, (page, words)
                seen += 1
            elif word in node.get("commands", {}):
                node = node["commands"][word]
                flags.update(node.get("flags", {}))
        assert not node.get("commands"), (page, words)
    assert seen


def test_the_load_driver_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (words,) = (words for _, words in of_program("python") if words[2] == "loadtest")
    assert words[:4] == ["python", "-m", "loadtest", "run"]
    assert loadtest.parse(words[4:])[1] == []


GPU_PARSERS = {"benchmarks.gpu": gpu.make_parser(), "benchmarks.gpu.wheels": wheels.make_parser()}


def test_the_gpu_benchmark_takes_it() -> None:
    commands = [words for _, words in of_program("python") if words[2] != "loadtest"]
    assert {words[2] for words in commands} == set(GPU_PARSERS)
    for words in commands:
        assert words[:2] == ["python", "-m"]
        GPU_PARSERS[words[2]].parse_args(words[3:])


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_the_text_exist(page: str) -> None:
    launch = {setting.label for setting in SETTINGS}
    job = {f"--{flag.name}" for flag in FLAGS}
    text = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    codes = re.findall(r"`([^`]+)`", text)
    named = {name for code in codes for name in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)}
    assert named
    benchmark = {text for parser in GPU_PARSERS.values() for text in parser.format_help().split()}
    assert named - launch - job - OTHERS - benchmark == set()


def test_roles_are_those_of_google() -> None:
    roles = re.findall(r"`(roles/[\w.]+)`", PAGES["dataflow"])
    assert len(set(roles)) > 10
    assert all(re.fullmatch(r"roles/[a-z]+\.?[a-zA-Z.]+", role) for role in roles)


def test_setup_gives_the_roles_of_the_table() -> None:
    rows = re.findall(
        r"^\| (?:worker account|the account that Cloud Build|Google's accounts)[^|]*\| ([^|]*) \|",
        PAGES["dataflow"],
        re.MULTILINE,
    )
    shown = set()
    for clause in ",".join(rows).split(","):
        scope = re.search(r"\bon (?:the|both) (\w+?)s?$", clause.strip())
        for role in re.findall(r"`(roles/[\w.]+)`", clause):
            shown.add((role, scope[1] if scope else "project"))
    key = "projects/my-project/locations/us-central1/keyRings/ring/cryptoKeys/key"
    flags = ("--mode=endpoint", "--output-table=my-project:d.t", f"--kms-key={key}")
    wanted = grants(parse(SETUP, flags, ENV, ROOT / "no-launch.env"), "build@x", "1")
    assert {(grant.role, grant.policy.on.partition(" ")[0]) for grant in wanted} == shown


def test_gpus_and_their_machines() -> None:
    rows = re.findall(r"^\| (`nvidia.*?) \| (\w+) \| .*\| (yes|no).*\|$", PAGES["gpu"], re.MULTILINE)
    found = {name: family for names, family, _ in rows for name in re.findall(r"`(\S+)`", names)}
    assert set(found) == set(machines.GPU_TYPES)
    for name, family in found.items():
        gpu = next(machines.Gpu(name, count) for count in (1, 8) if _exists(name, count))
        assert machines.default_machine(gpu).split("-")[0].upper() == family


def _exists(name: str, count: int) -> bool:
    try:
        machines.parse_gpu(f"{name}:{count}")
    except ValueError:
        return False
    return True


def test_what_the_job_does_with_a_gpu() -> None:
    rows = re.findall(r"^\| `--(\w+)` \|(.*?)\| `(.*?)` \|", PAGES["gpu"], re.MULTILINE)
    assert len(rows) == 6
    template = json.loads((ROOT / "metadata.json").read_text())["parameters"]
    declared = {parameter["name"]: parameter for parameter in template}
    for name, values, default in rows:
        assert declared[name]["defaultValue"] == default
        options = [option["value"] for option in declared[name].get("enumOptions", [])]
        assert re.findall(r"`(\w+)`", values) == options
    launched = parse(RUN, ["--gpu=nvidia-l4"], ENV, ROOT / "no-launch.env")
    assert f"`--device={job.parameters(launched)['device']}` to the job" in PAGES["gpu"]


def test_the_figures_of_the_gpu_are_those_of_the_benchmark() -> None:
    run = json.loads((ROOT / "benchmarks/results/gpu.json").read_text())
    rates = {
        (row["threads"], row["bundle"], row["side"]): row
        for row in run["parts"]["against_stock"]["rows"]
        if row["precision"] == "fp16"
    }
    shown = re.findall(
        r"^\| (\d+) × (\d) \| ([\d,]+) \| ([\d.]+) ms \| ([\d,]+) \| ([\d.]+) ms \| ([\d.]+) \|$",
        PAGES["gpu"],
        re.MULTILINE,
    )
    assert len(shown) == 5
    for threads, bundle, *figures in shown:
        stock, ours = (rates[int(threads), int(bundle), side] for side in ("stock", "ours"))
        wanted = [stock["requests_per_s"], stock["p99_ms"], ours["requests_per_s"], ours["p99_ms"]]
        wanted.append(wanted[2] / wanted[0])
        assert [float(text.replace(",", "")) for text in figures] == pytest.approx(wanted, rel=0.03)
    check_the_first_run(rates)


def check_the_first_run(rates: dict[tuple[int, int, str], Any]) -> None:
    """Check what the page says of the run without CUDA graphs against its file."""
    run = json.loads((ROOT / "benchmarks/results/gpu-first-run.json").read_text())
    rows = [row for row in run["parts"]["against_stock"]["rows"] if row["precision"] == "fp16"]
    first = {(row["threads"], row["bundle"], row["side"]): row for row in rows}
    more = [
        100 * (first[*place, "stock"]["requests_per_s"] / rates[*place, "stock"]["requests_per_s"] - 1)
        for place in ((12, 1), (48, 1), (12, 4), (48, 4))
    ]
    lone, lone_first = (runs[1, 1, "ours"]["p50_ms"] for runs in (rates, first))
    without = first[48, 1, "ours"]
    text = " ".join(PAGES["gpu"].split())
    assert f"stock made {first[1, 1, 'stock']['requests_per_s']:.0f} at 1 × 1" in text
    assert f"{min(more):.0f} to {max(more):.0f} % more" in text
    assert f"a lone request takes {lone:.1f} ms instead of {lone_first:.1f}" in text
    assert f"{without['requests_per_s']:,.0f} requests/s, with a p99 of {without['p99_ms']:.0f} ms" in text


def test_the_processes_of_a_worker() -> None:
    (flag,) = (flag for flag in FLAGS if flag.name == "worker_processes")
    page = PAGES["scaling"].partition("### Processes of a worker")[2]
    for value in re.findall(r"^\| `(\w+)` \|", page.partition("\n## ")[0], re.MULTILINE):
        flag.parse(value)
    assert f"| `--worker_processes` of the job | `{flag.default}` |" in PAGES["scaling"]
    assert f"`{ONE_PROCESS}`" in page


def test_the_figures_of_the_processes_are_those_of_the_benchmark() -> None:
    shown = re.findall(
        r"^\| (.+?) \| `(\w+)` \| (\d+) × (\d+) \| ([\d,]+) \| ([\d.]+) ms \| ([\d,]+) MiB \|$",
        PAGES["scaling"],
        re.MULTILINE,
    )
    figures = json.loads((ROOT / "benchmarks/results/worker_processes.json").read_text())
    measured = [
        (
            row["model"],
            row["arrangement"]["worker_processes"],
            str(row["arrangement"]["processes"]),
            str(row["arrangement"]["threads"]),
            f"{row['medians']['requests_per_s']:,.0f}",
            f"{row['medians']['p99_ms']:.1f}",
            f"{row['medians']['memory_mib']:,.0f}",
        )
        for row in figures["rows"]
    ]
    assert shown == measured
    memory = [row["medians"]["memory_mib"] for row in figures["rows"]]
    further = figures["rows"][0]["arrangement"]["processes"] - 1
    small, large = ((many - one) / further for many, one in (memory[:2], memory[2:]))
    text = " ".join(PAGES["scaling"].split())
    assert (
        f"beyond the first costs {small:.0f} MiB with the small model and {large:.0f} MiB with the other"
        in text
    )
    assert f"on {figures['cpus']} cores, with bundles of one" in text
    served = [row["medians"]["requests_per_s"] for row in figures["rows"]]
    assert "`per_cpu` carried more of both models" in text
    assert all(one < many for many, one in (served[:2], served[2:]))
    assert f"medians of {figures['flags']['rounds']} rounds" in text


def test_each_metric_of_the_job_is_explained() -> None:
    page = PAGES["operations"].partition("## The job's own metrics")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    made = {
        value.metric_name.name
        for found in vars(metrics).values()
        for value in (found.values() if isinstance(found, dict) else [found])
        if isinstance(value, Metric)
    }
    assert len(explained) == len(made)
    assert set(explained) == made
    assert f"namespace `{metrics.NAMESPACE}`" in page


def test_cuda_of_the_lock() -> None:
    lock = (ROOT / "requirements-gpu.txt").read_text()
    torch = re.search(r"^torch==(\S+)$", lock, re.MULTILINE)
    cuda = re.search(r"^cuda-toolkit==(\d+\.\d+)", lock, re.MULTILINE)
    assert torch
    assert cuda
    assert f"{torch[1]} from PyPI is built for CUDA {cuda[1]}" in PAGES["gpu"]


def test_the_formula() -> None:
    shown = re.findall(r"`ceil\((\d+) × (\d+) ÷ (\d+)\) = (\d+)`", PAGES["scaling"])
    assert len(shown) == 2
    for replicas, utilisation, target, result in (map(int, numbers) for numbers in shown):
        assert math.ceil(replicas * utilisation / target) == result


def test_limits() -> None:
    page = PAGES["scaling"]
    low, high = endpoint_rules.SHORTEST_PERIOD_S, endpoint_rules.LONGEST_PERIOD_S
    assert f"Both {low} to {high:,} s" in page
    metrics = re.findall(r"^\| `([a-z-]+)` \| the model|^\| `(request[a-z-]+)` \|", page, re.MULTILINE)
    (setting,) = {s.help for s in SETTINGS if s.name == "scaling_metric"}
    assert len(metrics) == 3
    assert all((one or other) in setting for one, other in metrics)


def test_the_model_in_the_image() -> None:
    for device in ("cpu", "gpu"):
        text = (ROOT / f"Dockerfile.{device}").read_text()
        assert "COPY ${MODEL} /models/\n" in text
        assert "ARG MODEL=examples/breast_cancer/model.pt2\n" in text
    assert "--model-path=/models/model.pt2" in PAGES["dataflow"]


@pytest.mark.parametrize("page", PAGES)
def test_links_to_pages_and_sections(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        file, _, section = target.partition("#")
        text = (ROOT / "docs" / file).read_text() if file else PAGES[page]
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not section or section in anchors, target
