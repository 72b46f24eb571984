"""`.dockerignore` as Docker reads it, and the files that must never leave this machine."""

from __future__ import annotations

import re
from pathlib import Path

from tests.dockerfiles.dockerfile import ROOT

# What users keep in a checkout: settings and keys in the places where people put them, and what runs write.
SECRETS = (
    "prod.env",
    "launch.env",
    "launch.env.bak",
    "key.json",
    "server.pem",
    "secrets/sa.json",
    "secrets/model.pt2",
    "results.jsonl",
    "runs/last/results.jsonl",
    "pipeline/key.json",
    "pipeline/io/server.pem",
    "pipeline/job/.env",
    "serving/prod.env",
    "serving/key",
    "docker/key.json",
    "models/key.json",
    "models/server.pem",
    "models/requests.jsonl",
    "models/id_rsa",
    "examples/breast_cancer/results.jsonl",
    "examples/key.json",
)


def rules(name: str) -> list[str]:
    """Return the lines of an ignore file, without comments and blank lines."""
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def kept_by_dockerignore(path: str) -> bool:
    """Docker's rule: the last line that matches a path, or a folder above it, decides."""
    parts = path.rstrip("/").split("/")
    above = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    kept = True
    for line in rules(".dockerignore"):
        pattern = _pattern(line.removeprefix("!").strip("/"))
        if any(pattern.fullmatch(name) for name in above):
            kept = line.startswith("!")
    return kept


def plant(folder: Path, paths: tuple[str, ...]) -> None:
    """Write a small file at each path below the folder."""
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("secret\n")


def _pattern(glob: str) -> re.Pattern[str]:
    """Return the expression of a line: `*` stays within a name, `**/` is any folders or none."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(words.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", glob))
    )
