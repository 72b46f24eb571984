"""The container as a process with `--model_pointer`: swaps, refusals, and what a pointer of no use does."""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest
import torch

from tests.bucket import Bucket
from tests.loopback import serving as serving_bucket
from tests.pipeline.model.swapping.test_swap import write_model
from tests.serving.conftest import Start
from tests.serving.container import JSON, Answer, Serving, ask, call, instances, puppet
from tests.serving.models import LOSE_DEVICE, PID
from tests.waiting import LIMIT_S, wait_until

pytestmark = pytest.mark.slow

ROWS = [[1.0, 1.0, 1.0], [2.0, 0.0, 1.0], [0.0, 0.0, 4.0]]
SCALES = {"v1.pt2": 1, "v2.pt2": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, scale in SCALES.items():
        write_model(folder, name, scale)
    write_model(folder, "wrong.pt2", 4, golden_scale=5)
    (folder / "broken.pt2").write_bytes((folder / "v1.pt2").read_bytes()[:-1000])
    (folder / "broken.pt2.golden.jsonl").write_bytes((folder / "v1.pt2.golden.jsonl").read_bytes())
    return folder


def point(pointer: Path, content: str) -> None:
    new = pointer.with_name(f"{pointer.name}.new")
    new.write_text(content)
    new.rename(pointer)


def model_of(answer: Answer) -> str:
    """Return the name of the model that an answer says it is from; every number of it must be."""
    assert answer.status == 200, answer.body
    name = answer.headers["x-model-id"].partition("@")[0]
    assert answer.json["predictions"] == [SCALES[name] * sum(row) for row in ROWS]
    return name


def models_in_metrics(serving: Serving) -> set[str]:
    text = call(serving.address, "GET", "/metrics").body.decode()
    return set(re.findall(r'^serving_model_info{model_id="([^@"]+)@', text, re.MULTILINE))


class Calls:
    """What a few connections have been answered, call by call, and what health was meanwhile."""

    def __init__(self, serving: Serving, connections: int) -> None:
        self.answered: list[list[str]] = [[] for _ in range(connections)]
        self.health: list[int] = []
        self.errors: list[BaseException] = []
        self._serving = serving
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(names,)) for names in self.answered]
        self._threads.append(threading.Thread(target=self._ask_for_health))

    def _call(self, names: list[str]) -> None:
        with closing(http.client.HTTPConnection(self._serving.address, timeout=LIMIT_S)) as connection:
            self._repeat(
                lambda: names.append(model_of(ask(connection, "POST", "/predict", instances(*ROWS), JSON)))
            )

    def _ask_for_health(self) -> None:
        self._repeat(lambda: self.health.append(self._serving.health()))

    def _repeat(self, once: Callable[[], None]) -> None:
        try:
            while not self._over.wait(0.002):
                once()
        except BaseException as error:
            self.errors.append(error)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(LIMIT_S)

    def all_say(self, name: str) -> bool:
        return bool(self.errors) or all(names and names[-1] == name for names in self.answered)


def test_there_and_back_under_load(start: Start, models: Path) -> None:
    """Two workers swap, one after the other; no call is answered wrong, by both, or not at all."""
    pointer = models / "current-of-load"
    point(pointer, "v1.pt2")
    flags = (f"--model_pointer={pointer}", "--model_refresh_s=0.05", "--workers=2", "--max_batch_size=8")
    serving = start(models, *flags, AIP_STORAGE_URI="").ready()
    calls = Calls(serving, 6)
    with calls.going_on():
        wait_until(lambda: calls.all_say("v1.pt2"))
        assert models_in_metrics(serving) == {"v1.pt2"}
        point(pointer, "v2.pt2")
        wait_until(lambda: calls.all_say("v2.pt2"))
        wait_until(lambda: models_in_metrics(serving) == {"v2.pt2"})
        point(pointer, "v1.pt2")
        wait_until(lambda: calls.all_say("v1.pt2"))
    assert not calls.errors
    for names in calls.answered:
        turns = [name for name, before in zip(names, ["", *names], strict=False) if name != before]
        assert turns == ["v1.pt2", "v2.pt2", "v1.pt2"]
    assert set(calls.health) == {200}
    wait_until(lambda: serving.log.count("swapped the model: v2.pt2@") == 2)
    assert serving.log.count("swapped the model: v1.pt2@") == 2
    assert "refused" not in serving.log
    serving.process.terminate()
    assert serving.wait() == 0


def test_refusals_and_a_pointer_that_goes_away(start: Start, models: Path) -> None:
    pointer = models / "current-of-refusals"
    point(pointer, "v1.pt2")
    flags = (f"--model_pointer={pointer}", "--model_refresh_s=0.05", "--workers=1", "--input_shape=3")
    serving = start(models, *flags).ready()

    def says(line: str) -> None:
        wait_until(lambda: line in serving.log)
        assert model_of(serving.predict(*ROWS)) == "v1.pt2"
        assert serving.health() == 200

    refused = "refused a new model, going on with v1.pt2@"
    point(pointer, "wrong.pt2")
    says("wrong.pt2.golden.jsonl, line 1: prediction")
    point(pointer, "broken.pt2")
    says(f"{models}/broken.pt2")
    point(pointer, "../v2.pt2")
    says("holds '../v2.pt2', which is no path under --model_root")
    assert serving.log.count(refused) == 3
    pointer.unlink()
    says(f"--model_pointer: there is no file {pointer}; going on with v1.pt2@")
    point(pointer, "v2.pt2")
    wait_until(lambda: model_of(serving.predict(*ROWS)) == "v2.pt2")
    assert serving.log.count(refused) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "--model_pointer: there is no file {pointer}"),
        ("gone.pt2", "--model_pointer: {models}/gone.pt2: there is no file"),
        ("wrong.pt2", "--model_pointer: {models}/wrong.pt2.golden.jsonl, line 1: "),
        ("/etc/passwd", "which is no path under --model_root ({models})"),
    ],
)
def test_a_pointer_of_no_use_at_the_start(
    start: Start, models: Path, tmp_path: Path, content: str | None, said: str
) -> None:
    pointer = tmp_path / "current"
    if content is not None:
        point(pointer, content)
    flags = (f"--model_pointer={pointer}", f"--model_root={models}", "--workers=1", "--drain_s=600")
    serving = start(models, *flags, "--input_shape=3")
    assert serving.wait() == 2
    (line,) = [line for line in serving.log.splitlines() if line.startswith("serving: ")]
    assert said.format(pointer=pointer, models=models) in line
    assert "Traceback" not in serving.log


def test_cloud_storage(start: Start, models: Path) -> None:
    bucket = Bucket()
    for file in models.glob("v*"):
        bucket.objects[f"models/{file.name}"] = file.read_bytes()
    bucket.objects["models/current"] = b"v1.pt2\n"
    with serving_bucket(bucket):
        serving = start(
            models,
            "--model_pointer=gs://bucket/models/current",
            "--model_refresh_s=0.05",
            "--workers=1",
            AIP_STORAGE_URI="",
            STORAGE_EMULATOR_HOST=f"http://127.0.0.1:{bucket.server_port}",
        ).ready()
        assert model_of(serving.predict(*ROWS)) == "v1.pt2"
        bucket.fails = True
        wait_until(lambda: "gs://bucket/models/current cannot be read: 403" in serving.log)
        bucket.objects["models/current"] = b"v2.pt2\n"
        bucket.fails = False
        wait_until(lambda: model_of(serving.predict(*ROWS)) == "v2.pt2")
        serving.process.kill()
        serving.wait()
    assert "refused" not in serving.log


def puppets(folder: Path, *golden: int) -> tuple[Path, tuple[str, ...]]:
    """Return the pointer to p1.pt, and flags; `golden` are the orders in the golden set of p2.pt."""
    _, *flags = puppet(folder)
    for name, orders in (("p1.pt", (PID,)), ("p2.pt", golden)):
        torch.save({}, folder / name)
        lines = [orjson.dumps({"features": [order]}) for order in orders]
        (folder / f"{name}.golden.jsonl").write_bytes(b"\n".join(lines))
    pointer = folder / "current"
    point(pointer, "p1.pt")
    return pointer, (f"--model_pointer={pointer}", *flags)


def test_a_worker_that_is_replaced_loads_what_the_pointer_names_then(start: Start, tmp_path: Path) -> None:
    pointer, flags = puppets(tmp_path, PID)
    serving = start(tmp_path, *flags, "--model_refresh_s=100000", "--workers=1").ready()
    answer = serving.predict([PID])
    assert answer.headers["x-model-id"].startswith("p1.pt@")
    point(pointer, "p2.pt")
    os.kill(int(answer.json["predictions"][0]), signal.SIGKILL)

    def replaced() -> bool:
        try:
            return serving.predict([PID]).headers.get("x-model-id", "").startswith("p2.pt@")
        except (http.client.HTTPException, ConnectionError):
            return False  # handed to the one that has just been killed

    wait_until(replaced)


def test_a_candidate_that_costs_the_device_costs_its_process(start: Start, tmp_path: Path) -> None:
    pointer, flags = puppets(tmp_path, PID, LOSE_DEVICE)
    serving = start(tmp_path, *flags, "--model_refresh_s=0.05", "--workers=1", "--drain_s=600").ready()
    assert serving.predict([PID]).status == 200
    point(pointer, "p2.pt")
    # The pointer still names it: a process that starts has no other model to go on with.
    assert serving.wait() == 2
    assert "p2.pt.golden.jsonl, lines 1 to 2: the model failed: " in serving.log
    assert "replacing it" in serving.log
