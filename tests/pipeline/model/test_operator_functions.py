from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.model.operator_functions import FUNCTIONS

_ATEN = torch.ops.aten
_GENERATOR = torch.Generator().manual_seed(3)


def floats(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=_GENERATOR) + 0.5


X = floats(2, 3, 4)
WHOLE = torch.arange(24).reshape(2, 3, 4)

ARGUMENTS: dict[Any, list[tuple[Any, ...]]] = {
    _ATEN.argmax.default: [(X,), (X, 1), (WHOLE, -1, True)],
    _ATEN.bmm.default: [(X, floats(2, 4, 5))],
    _ATEN.cat.default: [([X, X],), ([X, X], 1), ([WHOLE, X], -1)],
    _ATEN.clamp.default: [(X, 0.7), (X, None, 1.0), (WHOLE, 2, 5)],
    _ATEN.conv1d.default: [(X, floats(5, 3, 2)), (X, floats(5, 3, 2), floats(5), [2], [1])],
    _ATEN.conv2d.default: [(floats(2, 3, 8, 8), floats(5, 3, 2, 2), None, [2, 2], [1, 1], [1, 1], 1)],
    _ATEN.dropout.default: [(X, 0.5, False)],
    _ATEN.embedding.default: [(floats(30, 4), WHOLE), (floats(30, 4), WHOLE, 0)],
    _ATEN.flatten.using_ints: [(X,), (X, 1), (X, 0, 1)],
    _ATEN.layer_norm.default: [(X, [4]), (X, [4], floats(4), floats(4), 1e-3)],
    _ATEN.linear.default: [(X, floats(5, 4)), (X, floats(5, 4), floats(5))],
    _ATEN.matmul.default: [(X, floats(4, 5)), (X, floats(4))],
    _ATEN.mean.dim: [(X, [1]), (X, [0, -1], True)],
    _ATEN.permute.default: [(X, [2, 0, 1])],
    _ATEN.pow.Tensor_Scalar: [(X, 2), (X, 0.5), (WHOLE, 2)],
    _ATEN.reshape.default: [(X, [2, -1]), (X.transpose(0, 1), [24])],
    _ATEN.scaled_dot_product_attention.default: [(X, X, X), (X, X, X, None, 0.0, True)],
    _ATEN.select.int: [(X, 1, 0), (WHOLE, -1, 2)],
    _ATEN.softmax.int: [(X, -1), (X, 1, torch.float64)],
    _ATEN.squeeze.dim: [(floats(2, 1, 3), 1), (X, 0)],
    _ATEN.stack.default: [([X, X],), ([X, X], 1)],
    _ATEN.sum.dim_IntList: [(X, [1]), (WHOLE, [0, 1], True), (X, None)],
    _ATEN.transpose.int: [(X, 0, 1)],
    _ATEN.unsqueeze.default: [(X, 1), (WHOLE, -1)],
    _ATEN.view.default: [(X, [6, 4]), (X, [-1])],
    **{
        operator: [(X, X), (X, 2), (WHOLE, X), (WHOLE, 3), (X, floats(4)), (X.half(), 0.3)]
        for operator in (_ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor, _ATEN.div.Tensor)
    },
    **{
        operator: [(X,), (X.double(),)]
        for operator in (
            *(_ATEN.abs.default, _ATEN.exp.default, _ATEN.gelu.default, _ATEN.log.default, _ATEN.neg.default),
            *(_ATEN.relu.default, _ATEN.sigmoid.default, _ATEN.sqrt.default, _ATEN.square.default),
            _ATEN.tanh.default,
        )
    },
}
NAMED: dict[Any, dict[str, Any]] = {
    _ATEN.add.Tensor: {"alpha": 2},
    _ATEN.sub.Tensor: {"alpha": 2},
    _ATEN.gelu.default: {"approximate": "tanh"},
    _ATEN.sum.dim_IntList: {"dtype": torch.float64},
    _ATEN.mean.dim: {"dtype": torch.float64},
}


@pytest.mark.parametrize("overload", FUNCTIONS, ids=str)
def test_answers_as_its_operator(overload: torch._ops.OpOverload) -> None:
    for arguments in ARGUMENTS[overload]:
        wanted, got = overload(*arguments), FUNCTIONS[overload](*arguments)
        assert (got.dtype, got.shape, got.stride()) == (wanted.dtype, wanted.shape, wanted.stride())
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("overload", NAMED, ids=str)
def test_takes_what_has_a_name(overload: torch._ops.OpOverload) -> None:
    arguments = ARGUMENTS[overload][0]
    assert torch.equal(
        FUNCTIONS[overload](*arguments, **NAMED[overload]), overload(*arguments, **NAMED[overload])
    )
