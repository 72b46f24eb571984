"""docs/your-own-model.md says what the code does."""

from __future__ import annotations

import collections
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from launch.cloud import template as job
from launch.commands.table import RUN, parse
from launch.rules.job import LAUNCH_RULES
from launch.rules.rule import problems
from pipeline.model.compute import Compute
from pipeline.model.load import load
from pipeline.model.model import Model
from pipeline.options.job_options import FLAGS
from pipeline.request.errors import HookError, ModelError
from pipeline.request.hooks import load_hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import Result
from pipeline.request.wire_format import decode, encode
from tests.docs.test_launch_docs import ENV
from tests.pipeline import models
from tests.pipeline.model.files import hostile
from tests.pipeline.model.test_graph_function import Counter

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/your-own-model.md").read_text()
# What stands after the fence, such as `python model.pt2`, and the text.
FENCED = re.findall(r"^```([^\n]*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
BLOCKS = {info.split()[1]: text for info, text in FENCED if info}
COMMANDS = [
    shlex.split(line) for info, text in FENCED if not info for line in text.replace("\\\n", " ").splitlines()
]
# As the shell passes them on.
(WORD,) = shlex.split(*re.findall(r"`(--model_params=\S+)`", PAGE))
PARAMETERS = json.loads(WORD.partition("=")[2])


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's Python runs, with the package that it speaks of."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/models.py").write_text(BLOCKS["my_package/models.py"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_package", "my_package.models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def write(name: str) -> str:
    """Run the block that makes a file and return its path."""
    exec(compile(BLOCKS[name], name, "exec"), {"__name__": "__main__"})
    assert Path(name).is_file()
    return name


@pytest.mark.parametrize(
    ("name", "model_class"),
    [("model.pt2", None), ("model.pt", "my_package.models:Classifier"), ("model.ts", None)],
)
def test_each_file_loads(folder: Path, name: str, model_class: str | None) -> None:
    spec = InputSpec.parse("3")
    path = write(name)
    parameters = PARAMETERS if model_class else None
    model = load(path, spec, model_class=model_class, model_params=parameters, max_batch_size=8)
    (row,) = model.predict([np.ones(3, np.float32)])
    assert row.shape == (2,)
    assert row.sum() == pytest.approx(1)


@pytest.mark.usefixtures("folder")
def test_how_an_export_is_called(caplog: pytest.LogCaptureFixture) -> None:
    path, spec = write("model.pt2"), InputSpec.parse("3")
    caplog.set_level(logging.INFO, "pipeline.model.load")
    load(path, spec, max_batch_size=64)
    batch = {0: torch.export.Dim("batch")}
    torch.export.save(torch.export.export(Counter(), (torch.zeros(2, 3),), dynamic_shapes=(batch,)), path)
    load(path, spec)
    logged = [record.message for record in caplog.records if record.name == "pipeline.model.load"]
    assert logged == BLOCKS["called"].splitlines()


def test_named_inputs_load_and_answer(folder: Path) -> None:
    *_, (shape, request, _) = rows("What goes in")
    spec = InputSpec.parse(*codes(shape))
    inputs = decode(codes(request)[0].encode(), {}, spec, received=0).inputs
    assert load(write("named.pt2"), spec, max_batch_size=8).predict([inputs]) == [18]


@pytest.mark.parametrize(("shape", "request_", "called_with"), rows("What goes in"))
def test_requests(shape: str, request_: str, called_with: str) -> None:
    spec = InputSpec.parse(*codes(shape))
    seen: list[Any] = []

    def forward(*tensors: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        seen.append((tensors, named))
        return torch.zeros(1)

    Model(forward, spec, "m").predict([decode(codes(request_)[0].encode(), {}, spec, received=0).inputs])
    ((tensors, named),) = seen
    assert [f"{name}=" for name in named] == codes(called_with)
    for tensor in (*tensors, *named.values()):
        assert str(tensor.dtype).removeprefix("torch.") in called_with
        assert f"[batch, {', '.join(map(str, tensor.shape[1:]))}]" in called_with


@pytest.mark.parametrize(("returned", "prediction"), rows("What comes out"))
def test_predictions(returned: str, prediction: str) -> None:
    spec = InputSpec.parse("3")
    names = {"torch": torch, "Answer": collections.namedtuple("Answer", ["sum", "largest"])}
    model = Model(lambda x: eval(codes(returned)[0], {**names, "x": x}), spec, "m")
    request = decode(b'{"features": [1, 2, 3]}', {}, spec, received=0)
    (made,) = model.predict([request.inputs])
    found = json.loads(encode(Result(request, made, "m", 1), 0.0).data)["prediction"]
    assert found == json.loads(*codes(prediction))
    assert type(found) is type(json.loads(*codes(prediction)))


def test_the_hook_shown_is_the_examples() -> None:
    # But for its white space: ruff formats a page's blocks, too.
    shown, code = BLOCKS["examples/text/hooks.py"], (ROOT / "examples/text/hooks.py").read_text()
    assert "".join(shown.split()) in "".join(code.split())


@pytest.mark.slow
def test_the_text_model(tmp_path: Path) -> None:
    """The two commands, as they stand, with the table's requests in front of the example's own."""
    train, local = COMMANDS[:2]
    assert train[:2] == ["python", "-m"]
    assert local[:2] == ["./launch.sh", "local"]
    environment = {k: v for k, v in os.environ.items() if k != "PUBSUB_EMULATOR_HOST"}
    environment["PYTHONPATH"] = str(ROOT)

    def run(*arguments: str) -> None:
        ended = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    run(*train[2:])
    table = rows("A text model, worked out")
    requests = tmp_path / local[local.index("--input") + 1]
    sent = [codes(request)[0] for request, _ in table] + requests.read_text().splitlines()
    requests.write_text("\n".join(sent))
    # What ./launch.sh does after it has seen to the packages.
    run(*local[1:])

    out = tmp_path / local[local.index("--out") + 1]
    results = {r["sequence"]: r["result"] for r in read(out / "results.jsonl")}
    letters = {r["sequence"]: r["attributes"]["error_message"] for r in read(out / "dead_letters.jsonl")}
    for sequence, (_, answer) in enumerate(table):
        (wanted,) = codes(answer)
        if wanted.startswith("{"):
            found, expected = results[sequence]["prediction"], json.loads(wanted)
            assert found["label"] == expected["label"]
            # Training is not bit for bit the same on every processor.
            assert found["score"] == pytest.approx(expected["score"], abs=0.02)
            assert results[sequence]["passthrough"] == {}
        else:
            assert letters[sequence] == wanted
    others = [results[sequence] for sequence in range(len(table), len(sent))]
    right = sum(result["prediction"]["label"] == result["passthrough"]["expected"] for result in others)
    assert right > 0.9 * len(others)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_image_and_its_launch() -> None:
    (dockerfile,) = [text for name, text in BLOCKS.items() if name == "Dockerfile.mine"]
    build, push, template, launch = COMMANDS[2:]
    settings = parse(RUN, launch[2:], ENV, ROOT / "no-launch.env")
    assert problems(LAUNCH_RULES, settings) == []
    flags = {flag.name: flag for flag in FLAGS}
    for name, text in settings.job_flags.items():
        flags[name].parse(text)
    image = job.image(settings, "cpu")
    assert f"--tag={image}" in build
    assert push[-1] == image
    assert {f"--image={image}", job.template(settings, "cpu")} <= set(template)
    assert f"FROM {ENV['LAUNCH_IMAGE']}:{ENV['LAUNCH_TAG']}-cpu\n" in dockerfile
    assert len(dockerfile.splitlines()) == 3


def other_inputs(path: str) -> None:
    load(path, InputSpec.parse("3"))


def fixed_batch() -> None:
    program = torch.export.export(torch.nn.Identity(), (torch.zeros(2, 3),))
    torch.export.save(program, "fixed.pt2")
    load("fixed.pt2", InputSpec.parse("3"))


def positional() -> None:
    names: dict[str, Any] = {}
    exec(BLOCKS["named.pt2"], names)
    examples = (torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.int64))
    shapes = {name: {0: torch.export.Dim("batch")} for name in ("ids", "mask")}
    torch.export.save(torch.export.export(names["Masked"](), examples, dynamic_shapes=shapes), "named.pt2")
    load("named.pt2", InputSpec.parse("ids:int64:4,mask:int64:4"))


def damaged() -> None:
    whole = Path(write("model.pt2")).read_bytes()
    Path("model.pt2").write_bytes(whole[: len(whole) // 2])
    load("model.pt2", InputSpec.parse("3"))


def of_class(name: str, parameters: dict[str, Any]) -> None:
    load(write("model.pt"), InputSpec.parse("3"), model_class=name, model_params=parameters)


def at_most_four() -> None:
    shapes = ({0: torch.export.Dim("batch", max=4)},)
    program = torch.export.export(torch.nn.Identity(), (torch.zeros(2, 3),), dynamic_shapes=shapes)
    torch.export.save(program, "four.pt2")
    load("four.pt2", InputSpec.parse("3"), max_batch_size=8)


def more_than_tensors() -> None:
    parts = hostile.parts_of(write("model.pt2"))
    hostile.write(Path("model.pt2"), hostile.replaced(parts, hostile.EXAMPLES, hostile.pickled(Path())))
    load("model.pt2", InputSpec.parse("3"))


def a_part_too_many() -> None:
    hostile.write(Path("model.pt2"), [*hostile.parts_of(write("model.pt2")), ("other", b"")])
    load("model.pt2", InputSpec.parse("3"))


def a_full_disk() -> None:
    with mock.patch("shutil.disk_usage", return_value=mock.Mock(free=0)):
        load(write("model.pt2"), InputSpec.parse("3"))


def written_meanwhile() -> None:
    def write_over(*arguments: object) -> None:
        Path("model.pt2").write_bytes(b"other")

    with mock.patch("pipeline.model.files.private_copy._write", write_over):
        load(write("model.pt2"), InputSpec.parse("3"))


def of_models(name: str, **how: Any) -> None:
    """Load a module of the tests' own, without weights or with those that it begins with."""
    torch.save(getattr(models, name)().state_dict(), "own.pt")
    load("own.pt", InputSpec.parse("3"), model_class=f"tests.pipeline.models:{name}", **how)


CLASS = "my_package.models:Classifier"
FAILURES: dict[str, Callable[[], Any]] = {
    "there is no file": lambda: load("nowhere.pt2", InputSpec.parse("3")),
    "is damaged": damaged,
    "is neither a torch.export (.pt2) nor a TorchScript file": lambda: other_inputs(write("model.pt")),
    "is refused: its part … holds more than tensors": more_than_tensors,
    "is refused: its part …": a_part_too_many,
    "cannot be copied to": a_full_disk,
    "changed while it was read": written_meanwhile,
    "was exported for a fixed batch": fixed_batch,
    "was exported for at most": at_most_four,
    "takes 2 inputs (ids, mask), --input_shape names 1": lambda: other_inputs(write("named.pt2")),
    "kwarg keyword mismatch": positional,
    "fails on 1 rows of zeros": lambda: load(write("model.pt2"), InputSpec.parse("4")),
    "must not depend on the batch": lambda: of_models("Squeezing", max_batch_size=8),
    "computes in fp32 only": lambda: of_models("Fp32Only", compute=Compute(precision="bf16")),
    "cannot be compiled": lambda: load(
        write("model.ts"), InputSpec.parse("3"), compute=Compute(compile=True)
    ),
    "--model_class: cannot import": lambda: of_class("my_package.models:Other", {}),
    "--model_params: ": lambda: of_class(CLASS, {"colour": "red"}),
    "is not a state_dict of": lambda: of_class(CLASS, {"classes": 7}),
    "there is no module": lambda: load_hook("--decode_hook", "my_package.nowhere:decode"),
    "has nothing called": lambda: load_hook("--decode_hook", "my_package.models:decode"),
}


def test_every_message_is_tried() -> None:
    assert [codes(message)[0] for message, _ in rows("When it does not load")] == list(FAILURES)


@pytest.mark.parametrize("message", FAILURES)
def test_messages(folder: Path, message: str) -> None:
    with pytest.raises((ModelError, HookError), match=re.escape(message).replace("…", ".*")):
        FAILURES[message]()


def test_flags_exist() -> None:
    codes_ = re.findall(r"`([^`\n]+)`", PAGE)
    named = {name for code in codes_ for name in re.findall(r"--([a-z]+_\w+)", code)}
    assert named
    assert named <= {flag.name for flag in FLAGS}
