"""Stand-ins for gcloud and the load driver, which note how `./launch.sh smoke` calls them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from launch.cloud.shell import Shell
from launch.commands import smoke
from launch.commands.table import SMOKE, parse

LOCATION_AND_IMAGE = (
    "--region=us-central1",
    "--bucket=gs://shop-bucket",
    "--image=us-central1-docker.pkg.dev/shop-project/images/worker",
    "--tag=1",
)
FLAGS = ("--project=shop-project", *LOCATION_AND_IMAGE)
JOB = "2026-01-02_03_04_05-6789"
# Notes the call, fails where `refused` holds one of its words; `describe` takes the next of `states`.
GCLOUD = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
with (here / "calls").open("a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
if set((here / "refused").read_text().split()) & set(sys.argv):
    sys.exit("ERROR: (gcloud.x) PERMISSION_DENIED: no")
if "describe" in sys.argv:
    state, *rest = (here / "states").read_text().split()
    (here / "states").write_text(" ".join(rest or [state]))
    print(json.dumps({{"currentState": "JOB_STATE_" + state}}))
if "flex-template" in sys.argv:
    print({job!r})
"""
DRIVER = """
import json, pathlib, sys
here = pathlib.Path({folder!r})
with (here / "calls").open("a") as calls:
    print(json.dumps(["driver", *sys.argv[1:]]), file=calls)
out = pathlib.Path(next(word for word in sys.argv if word.startswith("--out="))[6:])
out.mkdir(parents=True)
(out / "summary.json").write_text((here / "summary").read_text())
sys.exit((here / "complaint").read_text() or 0)
"""
CREATED = [
    f"{kind} create -{channel}"
    for channel in ("requests", "results", "dead-letters")
    for kind in ("topics", "subscriptions")
]
DELETED = [call.replace("create", "delete") for call in reversed(CREATED)]


class Cloud:
    """The stand-ins' folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        values = {"folder": str(folder), "python": sys.executable, "job": JOB}
        (folder / "gcloud").write_text(GCLOUD.format(**values))
        (folder / "gcloud").chmod(0o755)
        (folder / "driver.py").write_text(DRIVER.format(**values))
        (folder / "calls").touch()
        self.refuse("")
        self.complain("")
        self.states("QUEUED RUNNING DRAINING DRAINED")
        self.answers(100, 0)

    def refuse(self, words: str) -> None:
        (self.folder / "refused").write_text(words)

    def complain(self, words: str) -> None:
        """Have the driver fail, after it has written its figures."""
        (self.folder / "complaint").write_text(words)

    def states(self, states: str) -> None:
        (self.folder / "states").write_text(states)

    def answers(self, results: int, dead_letters: int) -> None:
        found = {"sent": 100, "received": results, "dead_lettered": dead_letters}
        (self.folder / "summary").write_text(json.dumps(found))

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def steps(self) -> list[str]:
        """Return each call in short; a name without what is different each time."""
        short = []
        for call in self.calls():
            kind, verb, name = [*call[1:], "", ""][:3]
            if call[0] == "pubsub":
                # smoke-1a2b3c4d-requests
                short.append(f"{kind} {verb} {name[len('smoke-1a2b3c4d') :]}")
            else:
                short.append(call[0] if call[0] in ("auth", "driver") else f"{kind} {verb}")
        return short

    def run(self, *flags: str) -> str:
        out = io.StringIO()
        settings = parse(SMOKE, [*FLAGS, *flags], {}, Path("no-launch.env"))
        shell = Shell(dry_run=settings.dry_run, out=out)
        driver = (sys.executable, str(self.folder / "driver.py"))
        smoke.run(settings, shell, driver=driver, runs=self.folder / "runs", poll_s=0.0)
        return out.getvalue()


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv(smoke.EMULATOR, raising=False)
    return Cloud(tmp_path)
