"""Files that hold a state_dict, but not as such: unwrapped where that is clear, else refused in two lines."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.model.files import model_files
from pipeline.model.files.state_dict import find
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec

MODEL_CLASS = "tests.pipeline.model.files.test_state_dict:Net"


class Net(nn.Module):
    """Names with and without a dot, and a buffer."""

    def __init__(self, layers: int = 1, width: int = 3) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 2.0))
        self.body = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)), nn.BatchNorm1d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.body(x)


class Lightning(nn.Module):
    """As a LightningModule holds its network."""

    def __init__(self, name: str = "model") -> None:
        super().__init__()
        self.add_module(name, Net())


def read(saved: Any, path: Path, **params: int) -> nn.Module:
    torch.save(saved, path)
    return model_files.read(
        str(path),
        InputSpec.parse("3"),
        model_class=MODEL_CLASS,
        model_params=params,
        max_batch_size=8,
        device=torch.device("cpu"),
        label="--model_path: m.pt",
    )


def refusal(saved: Any, path: Path, **params: int) -> str:
    with pytest.raises(ModelError) as caught:
        read(saved, path, **params)
    text = str(caught.value)
    first, second = text.split("\n")
    assert first.startswith(f"--model_path: m.pt is not a state_dict of {MODEL_CLASS}: ")
    assert second.startswith("Save it by torch.save(model.state_dict(), …)")
    assert len(text) < 1_500
    return first.removeprefix(f"--model_path: m.pt is not a state_dict of {MODEL_CLASS}: ")


def trained() -> Net:
    net = Net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.rand_like(parameter))
    return net


def compiled_inside(net: Net) -> dict[str, Any]:
    """As where only a part of a model went through torch.compile."""
    return {name.replace("body.", "body._orig_mod."): tensor for name, tensor in net.state_dict().items()}


def prefixed(net: Net, prefix: str) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in net.state_dict().items()}


WRAPPINGS: dict[str, tuple[Callable[[Net], Any], str]] = {
    "plain": (lambda net: net.state_dict(), ""),
    "DataParallel": (lambda net: nn.DataParallel(net).state_dict(), "without 'module.' before its names"),
    "torch.compile": (lambda net: torch.compile(net).state_dict(), "without '_orig_mod.' before its names"),
    "compiled in DataParallel": (
        lambda net: prefixed(net, "module._orig_mod."),
        "without 'module._orig_mod.' before its names",
    ),
    "a part compiled": (compiled_inside, "without '_orig_mod.' before its names"),
    "Lightning": (
        lambda net: {
            "epoch": 3,
            "pytorch-lightning_version": "2.4.0",
            "state_dict": OrderedDict(prefixed(net, "model.")),
            "optimizer_states": [{"state": {}, "param_groups": []}],
            "hyper_parameters": {"width": 3},
        },
        "the field 'state_dict' of a checkpoint, without 'model.' before its names",
    ),
    "checkpoint": (
        lambda net: {
            "model_state_dict": net.state_dict(),
            "optimizer_state_dict": torch.optim.Adam(net.parameters()).state_dict(),
            "epoch": 7,
            "loss": 0.25,
        },
        "the field 'model_state_dict' of a checkpoint",
    ),
    "checkpoint of another field": (
        lambda net: {"net": prefixed(net, "module."), "step": torch.tensor(3)},
        "the field 'net' of a checkpoint, without 'module.' before its names",
    ),
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_what_is_clear_is_unwrapped(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    net = trained()
    wrap, said = WRAPPINGS[name]
    module = read(wrap(net), tmp_path / "m.pt")
    for key, tensor in net.state_dict().items():
        assert torch.equal(module.state_dict()[key], tensor)
    messages = [record.getMessage() for record in caplog.records if "state_dict" in record.getMessage()]
    assert messages == ([f"--model_path: m.pt: its state_dict is {said}"] if said else [])


def test_versions_of_modules_keep_their_places(tmp_path: Path) -> None:
    """By them a module knows how old its weights are."""
    state = nn.DataParallel(Net()).state_dict()
    seen = {}

    def look(
        module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any], *others: object
    ) -> None:
        seen[prefix] = metadata.get("version")

    net = Net()
    for module in net.modules():
        module.register_load_state_dict_pre_hook(look)
    found, _ = find(state, net)
    net.load_state_dict(found)
    assert seen == {"": 1, "body.": 1, "body.0.": 1, "body.1.": 2}


@pytest.mark.parametrize(
    ("saved", "reason"),
    [
        ([1, 2], "it holds one list, not weights by name"),
        (torch.zeros(2), "it holds one Tensor, not weights by name"),
        ({}, "the file lacks 'scale', 'body.0.weight', 'body.0.bias' and 5 more"),
        (
            {"epoch": 3},
            "the file lacks 'scale', 'body.0.weight', 'body.0.bias' and 5 more; the class has no 'epoch'",
        ),
        (
            {"model": Net().state_dict(), "ema": prefixed(Net(), "module.")},
            "it is a checkpoint with several: 'model', 'ema'",
        ),
        (
            {"state_dict": {**prefixed(Net(), "model."), "loss.weight": torch.zeros(1)}},
            "it is a checkpoint, and no field of it has the names of the class: 'state_dict': the file ",
        ),
        (
            {"state_dict": Net(layers=2).state_dict(), "epoch": 3},
            "it is a checkpoint, and no field of it has the names of the class: 'state_dict': the file ",
        ),
        (
            {**Net().state_dict(), "scale": torch.zeros(4), "x": torch.zeros(1)},
            "the class has no 'x'; size mismatch for scale: [4] in the file, [1] in the class",
        ),
        ({**Net().state_dict(), 7: 1}, "the class has no 7"),
        ({**Net().state_dict(), "scale": "text"}, "Error(s) in loading state_dict for Net: While copying"),
        ({"module.": torch.zeros(1), "module..": torch.zeros(1)}, "the file lacks 'scale', "),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_not_is_refused_in_two_lines(saved: Any, reason: str, tmp_path: Path) -> None:
    assert refusal(saved, tmp_path / "m.pt").startswith(reason)


def test_a_model_of_another_size_is_told_in_few_words(tmp_path: Path) -> None:
    text = refusal(Net(layers=100).state_dict(), tmp_path / "m.pt", layers=200)
    assert text.startswith(
        "the file lacks 'body.101.weight', 'body.101.bias', 'body.102.weight' and 200 more; "
    )
    text = refusal(Net(layers=20, width=4).state_dict(), tmp_path / "m.pt", layers=20, width=5)
    assert "size mismatch for body.0.weight: [4, 4] in the file, [5, 5] in the class, " in text
    assert " and 41 more" in text


def test_names_of_any_length_are_cut(tmp_path: Path) -> None:
    names = [("x" * 10_000 + str(number)) for number in range(50)]
    assert len(refusal(dict.fromkeys(names, torch.zeros(1)), tmp_path / "m.pt")) < 800
    names = [".".join(["a"] * 5_000) + f".{number}" for number in range(50)]
    assert len(refusal({"state_dict": dict.fromkeys(names, torch.zeros(1))}, tmp_path / "m.pt")) < 800
