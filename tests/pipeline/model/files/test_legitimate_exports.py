"""What torch.export.save writes of all kinds of models: it passes the checks, and computes the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.model.files import export_check
from pipeline.model.load import load
from pipeline.request.input_spec import InputSpec

SPEC = InputSpec.parse("3")


class Calls(nn.Module):
    """Calls a function of layers and inputs."""

    def __init__(
        self,
        function: Callable[..., torch.Tensor],
        *,
        layers: Mapping[str, nn.Module] | None = None,
        tensors: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleDict(layers or {})
        for name, tensor in (tensors or {}).items():
            self.register_buffer(name, tensor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def convolution(self: Calls, x: torch.Tensor) -> torch.Tensor:
    images = x[:, None, None].expand(-1, 1, 3, 3)
    return self.layers["norm"](self.layers["conv"](images)).flatten(1)


def attention(self: Calls, x: torch.Tensor) -> torch.Tensor:
    q = x[:, None, None].expand(-1, 2, 4, 3)
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    return F.scaled_dot_product_attention(q, q, q, attn_mask=mask).mean((1, 2))


def modes(self: Calls, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        y = self.layers["linear"](x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = y + self.layers["linear"](x)
    return y.float()


def sizes(self: Calls, x: torch.Tensor) -> torch.Tensor:
    rows = x.shape[0]
    return x + torch.arange(rows)[:, None] * max(rows, 3) * 0


def checked(self: Calls, x: torch.Tensor) -> torch.Tensor:
    number = x.sum().to(torch.int64).abs().clamp(0, 5).item()
    torch._check(number >= 0)
    return x + 0 * number


def conditional(self: Calls, x: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = torch.cond(x.sum() > 1e9, lambda x: x * 2, lambda x: x - 1, (x,))
    return result


def strange_tensors(self: Calls, x: torch.Tensor) -> torch.Tensor:
    return x @ self.get_buffer("expanded") @ self.get_buffer("strided") + self.get_buffer("empty").sum()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: Calls(convolution, layers={"conv": nn.Conv2d(1, 2, 3), "norm": nn.BatchNorm2d(2)}),
    "lstm": lambda: Calls(
        lambda self, x: self.layers["lstm"](x[:, None])[0][:, 0],
        layers={"lstm": nn.LSTM(3, 4, batch_first=True)},
    ),
    "encoder layer": lambda: Calls(
        lambda self, x: self.layers["e"](x[:, None])[:, 0],
        layers={"e": nn.TransformerEncoderLayer(3, 1, 8, batch_first=True)},
    ),
    "attention mask": lambda: Calls(attention),
    "modes": lambda: Calls(modes, layers={"linear": nn.Linear(3, 3)}),
    "vmap": lambda: Calls(lambda self, x: torch.vmap(lambda row: row * 2 + row.sum())(x)),
    "arithmetic on sizes": lambda: Calls(sizes),
    "item": lambda: Calls(checked),
    "cond": lambda: Calls(conditional),
    "names with signs": lambda: Calls(
        lambda self, x: self.layers["a-b/c d"](x), layers={"a-b/c d": nn.Linear(3, 3)}
    ),
    "expanded, strided, empty": lambda: Calls(
        strange_tensors,
        tensors={
            "expanded": torch.arange(3.0).expand(3, 3),
            "strided": torch.arange(18.0).reshape(6, 3)[::2].t(),
            "empty": torch.zeros(0),
        },
    ),
    "gelu of a text": lambda: Calls(lambda self, x: F.gelu(x, approximate="tanh")),
}  # fmt: skip


def exported(module: nn.Module) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an LSTM's own attributes
        return torch.export.export(module.eval(), (torch.zeros(4, 3),), dynamic_shapes=shapes)


@pytest.mark.parametrize("name", MODELS)
def test_loads_and_computes_the_same(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = MODELS[name]().eval()
    x = torch.randn(4, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an expanded tensor
        torch.export.save(exported(module), tmp_path / "m.pt2", extra_files={"notes.txt": "by hand"})
    model = load(str(tmp_path / "m.pt2"), SPEC, max_batch_size=4)
    found = torch.tensor([list(row) for row in model.predict(list(x.numpy()))])
    with torch.no_grad():
        torch.testing.assert_close(found, module(x), rtol=1e-4, atol=1e-4)


def test_decomposed(tmp_path: Path) -> None:
    module = Calls(convolution, layers={"conv": nn.Conv2d(1, 2, 3), "norm": nn.BatchNorm2d(2)}).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own of torch
        torch.export.save(exported(module).run_decompositions(), tmp_path / "m.pt2")
    export_check.check(str(tmp_path / "m.pt2"))
