"""docs/endpoint.md says what the code does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from export.command import make_parser
from launch.commands.table import SETTINGS, command_named, parse
from launch.rules.rule import problems
from pipeline.inference.endpoint.attempt import CONNECT_TIMEOUT_S
from pipeline.inference.endpoint.blame import TABLE, Row
from pipeline.inference.endpoint.body import MAX_ANSWER_BYTES, MAX_ERROR_BYTES
from pipeline.inference.endpoint.refusals import OTHERS_WITHIN_S
from pipeline.options.job_options import FLAGS
from pipeline.pubsub.limits import MAX_ATTRIBUTE_VALUE_BYTES
from pipeline.request.json_text import MAX_DEPTH
from serving import limits, protocol
from serving.errors import Reason
from serving.exposition import exposition
from serving.metrics import Metrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/endpoint.md").read_text()
ENDPOINT_ONLY = {
    "endpoint",
    "endpoint_location",
    "endpoint_url",
    "endpoint_token_host",
    "endpoint_model",
}  # in the table of endpoints, without defaults


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}")[1].split("\n## ")[0]


def test_flags_and_defaults() -> None:
    documented = dict(re.findall(r"^\| `--(\w+)` \| `(\w+)` \|", section("Flags"), re.MULTILINE))
    ours = {f.name: f.default for f in FLAGS if f.name.startswith("endpoint") and f.name not in ENDPOINT_ONLY}
    assert documented == ours
    assert set(re.findall(r"--(endpoint\w*)", section("Which endpoint"))) == ENDPOINT_ONLY


def in_words(row: Row) -> str:
    """Return a row of `TABLE` as a line of the page's table."""
    answer = statuses(row)
    if row.word:
        answer += f" `{row.word}`"
    if row.phrases:
        answer += f" “{'”, “'.join(row.phrases)}”"
    blames = row.blame.value
    if row.needs_others:
        blames += ", once others are served"
    if row.attempts > 1:
        blames += f", and it is so {row.attempts} times"
    if row.batch_attempts > 1:
        blames += f" ({row.batch_attempts} times of a call of several)"
    notes = {"it is full": row.congested, "it scales up": row.not_ready, "a new token": row.token_refused}
    blames += "".join(f"; {note}" for note, holds in notes.items() if holds)
    return f"| {row.server} | {answer} | {blames} | {source(row)} |"


def source(row: Row) -> str:
    if not row.source.startswith("https:"):
        return row.source
    if issue := re.fullmatch(r"https://github\.com/[^/]+/([^/]+)/issues/(\d+)", row.source):
        return f"[{issue[1]} #{issue[2]}]({row.source})"
    return f"[{row.source.split('/')[2]}]({row.source})"


def statuses(row: Row) -> str:
    if set(row.statuses) == set(range(1000)):
        return "any other"
    parts: list[list[int]] = []
    for status in sorted(row.statuses):
        if parts and parts[-1][-1] == status - 1:
            parts[-1].append(status)
        else:
            parts.append([status])
    shown = (f"{part[0]}–{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts)
    return ", ".join(shown)


def test_blame() -> None:
    """The table of the page is that of the code, row by row."""
    told = section("What happens").split("| who answers |")[1].split("\n\n")[0].splitlines()[2:]
    assert told == [in_words(row) for row in TABLE]


def test_waits() -> None:
    told = " ".join(section("What happens").split())
    assert f"waits {OTHERS_WITHIN_S:.0f} s for another" in told
    assert f"within {CONNECT_TIMEOUT_S:.0f} s" in told


def test_limits_of_an_answer() -> None:
    told = section("What happens")
    assert f"more than {MAX_ANSWER_BYTES // 2**20} MiB" in told
    assert f"first {MAX_ERROR_BYTES // 2**10} KiB" in told
    assert f"nested more than {MAX_DEPTH} deep" in told
    assert f"the {MAX_ATTRIBUTE_VALUE_BYTES:,} bytes" in told


def test_launch_takes_the_commands_of_a_deployment() -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", section("Deploy a model"), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    assert len(lines) == 4
    for words in map(shlex.split, lines):
        assert words[:2] == ["./launch.sh", "endpoint"]
        command = command_named(" ".join(words[1:3]))
        where = ["--project=my-project", "--region=us-central1"]
        settings = parse(command, [*where, *words[3:]], {}, ROOT / "no-launch.env")
        assert problems(command.rules, settings) == []


def test_export_and_launch_take_the_commands_for_triton() -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", section("Triton"), re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line) for line in "".join(blocks).replace("\\\n", " ").splitlines()]
    ours = [words for words in lines if words[0] == "./launch.sh"]
    assert [words[1:3] for words in ours] == [["export", "triton"], ["endpoint", "deploy"]]
    _, unknown = make_parser().parse_known_args(ours[0][3:])
    assert unknown == []
    command = command_named("endpoint deploy")
    where = ["--project=my-project", "--region=us-central1"]
    settings = parse(command, [*where, *ours[1][3:]], {}, ROOT / "no-launch.env")
    assert problems(command.rules, settings) == []


def test_flags_and_defaults_of_an_export() -> None:
    told = section("Triton").partition("### A model repository")[2].partition("\n###")[0]
    documented = dict(re.findall(r"^\| `--([\w-]+)` \| (.*?) \|", told, re.MULTILINE))
    # An option's help ends with its default, if it has one that is a text.
    defaults = {
        action.option_strings[0].removeprefix("--"): re.search(r"\(default: (\w+)\)$", action.help or "")
        for action in make_parser()._actions
        if action.option_strings[0] not in ("-h", "--model-path", "--out")
    }
    assert documented.keys() == defaults.keys()
    for name, found in defaults.items():
        assert found is None or documented[name] == f"`{found[1]}`", name


def test_settings_of_a_deployed_triton_exist() -> None:
    told = section("Triton").partition("### Deploy a Triton")[2].partition("\n###")[0]
    documented = set(re.findall(r"^\| `(--[\w-]+)` \|", told, re.MULTILINE))
    assert documented <= {setting.label for setting in SETTINGS}
    assert len(documented) == 5


def test_what_a_client_may_cost() -> None:
    """The numbers of the table are the container's."""
    table = PAGE.partition("### What a client may cost")[2].partition("\n#")[0]
    rows = [re.sub(r"[|,]", "", line).split("  ") for line in table.splitlines() if line.startswith("| ")]
    told = {what.strip(): " ".join(rest) for what, *rest in rows}
    ours = limits.Limits()
    for what, seconds in (
        ("from a new connection to its first byte", ours.silence_s),
        ("a call's head", ours.head_s),
        ("a call's body", ours.body_s),
        ("a client that does not take its answer", ours.answer_s),
    ):
        assert told[what].startswith(f"{seconds:.0f} s"), what
    assert told["one body"].startswith(
        f"{limits._INSTANCE_BYTES // 2**10} KiB and {limits._NUMBER_BYTES} bytes a number for each of "
        f"`--max_batch_size` instances; at least {limits._LEAST_BODY_BYTES / 2**20} MiB "
        f"at most {limits.MAX_BODY_BYTES // 2**20} MiB"
    )
    assert told["all bodies that are not answered"].startswith(f"{ours.buffered_bytes // 2**20} MiB")
    parts = told[f"lists numbers and names in a body of {protocol._LARGE_BYTES // 2**10} KiB or more"]
    assert parts.startswith(f"twice those of the largest batch and {protocol._UNREAD} ")
    assert told["connections"].startswith(f"{ours.connections} ")
    assert f"may be idle for {ours.idle_s:.0f} s" in table


def test_flags_of_the_container() -> None:
    table = [row for row in section("The container").splitlines() if row.startswith("|")]
    documented = set(re.findall(r"`--(\w+)`", "".join(table)))
    shown = subprocess.run(
        [sys.executable, "-m", "serving", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"^  --(\w+)", shown.stdout, re.MULTILINE))
    assert documented == known - {"help", "host"}


def test_metrics_and_reasons_are_those_of_the_container() -> None:
    metrics, fd = Metrics.create(workers=1)
    os.close(fd)
    families = dict(re.findall(r"# TYPE (\w+) (\w+)", exposition(metrics.totals()).decode()))
    part = PAGE.split("\n### Metrics\n")[1].split("\n### ")[0]
    row = r"^\| `(\w+)(?:{\w+})?` \| (counter|gauge|histogram) \|"
    assert dict(re.findall(row, part, re.MULTILINE)) == families
    reasons = part.split("| reason |")[1].split("\n\n")[0]
    first_cells = [line.split(" | ")[0] for line in reasons.splitlines()]
    assert sorted(re.findall(r"`(\w+)`", " ".join(first_cells))) == sorted(Reason)
    # The rules name nothing else.
    rules = part.split("```yaml")[1].split("```")[0]
    assert {name.removesuffix("_bucket") for name in re.findall(r"serving_\w+", rules)} <= set(families)
    named = re.search(r'reason=~"([^"]+)"', rules)
    assert named is not None
    assert set(named[1].split("|")) <= set(Reason)
