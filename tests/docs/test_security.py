"""SECURITY.md says what the code does: its limits are the code's, what it names exists."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

from pipeline.inference.endpoint.token import SCOPE
from pipeline.options.job_options import FLAGS
from serving.flags import make_parser as serving_parser

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
LIMITS = re.findall(
    r"^\| (.+?) \| ([\d,.]+)( \w+)? \| `(.+?)` \|$", PAGE.partition("## Limits")[2], re.MULTILINE
)


def defined(where: str) -> float:
    """Return the default of a flag of the job or of the container, or a constant of a module or class."""
    if where.startswith("python -m serving "):
        return float(serving_parser(1).get_default(where.rpartition("--")[2]))
    if where.startswith("--"):
        (flag,) = (flag for flag in FLAGS if f"--{flag.name}" == where)
        assert flag.default
        return float(flag.default)
    module, _, name = where.rpartition(".")
    value: float = getattr(pkgutil.resolve_name(module), name)
    return value


@pytest.mark.parametrize(("what", "number", "unit", "where"), LIMITS)
def test_a_limit_is_the_codes(what: str, number: str, unit: str, where: str) -> None:
    assert float(number.replace(",", "")) == defined(where), what
    if where.endswith(("_BYTES", "_S", "_s")):
        assert unit == (" bytes" if where.endswith("_BYTES") else " s")


def test_every_row_of_the_table_is_one() -> None:
    table = PAGE.partition("## Limits")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(LIMITS) >= 10


def test_it_is_short_and_linked() -> None:
    assert len(PAGE.splitlines()) < 120
    for page in ("README.md", "ARCHITECTURE.md", "docs/dataflow.md"):
        assert "SECURITY.md)" in (ROOT / page).read_text(), page


def test_what_it_links_is_there() -> None:
    for target in re.findall(r"\]\((?!https://)([^)]+)\)", PAGE):
        file, _, section = target.partition("#")
        assert (ROOT / file).is_file(), target
        headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(), re.MULTILINE)
        assert not section or section in {heading.lower().replace(" ", "-") for heading in headings}, target


def test_flags_exist() -> None:
    named = set(re.findall(r"`--(\w+_\w+)`", PAGE))
    assert named
    assert named <= {flag.name for flag in FLAGS} | {"predict_timeout_s"}


def test_facts_of_the_token_and_of_the_images() -> None:
    assert f"`{SCOPE}`" in PAGE
    for device in ("cpu", "gpu"):
        (user,) = re.findall(r"^USER (\d+)$", (ROOT / f"Dockerfile.{device}").read_text(), re.MULTILINE)
        assert f"`serving` runs as user {user}" in PAGE
    suffixes = re.findall(r"^!/models/(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert suffixes
    assert all(f"`{suffix}`" in PAGE for suffix in suffixes)


def test_the_audit_is_of_every_lock() -> None:
    (command,) = re.findall(r"`uvx pip-audit (.*?)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert "--strict" in command
    audited = re.search(r"--requirement (\S+)", command)
    assert audited
    assert (ROOT / audited[1]).is_file()
    assert {path.name for path in ROOT.glob("requirements-*.txt")} == {
        f"requirements-{name}.txt" for name in ("cpu", "gpu", "dev")
    }
