from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from torch import nn

from pipeline.model.model import Model
from pipeline.request.input_spec import Inputs, InputSpec
from serving.errors import DeviceLost, Refusal
from serving.limits import body_limit
from serving.predictor import Predictor
from tests.pipeline.models import Linear, Named, WholeBatch
from tests.serving.container import FLOAT32, JSON, instances
from tests.serving.models import (
    FAIL,
    LOSE_DEVICE,
    LOST,
    NAN,
    NO_HOST_MEMORY,
    NO_MEMORY,
    PID,
    Constant,
    NamedWithNaN,
    Puppet,
)


def predictor(module: nn.Module, shape: str) -> Predictor:
    spec = InputSpec.parse(shape)
    return Predictor(Model(module, spec, "m@1"), spec, max_batch_size=4)


def refusal(module: nn.Module, shape: str, content_type: str, body: bytes) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        predictor(module, shape).answer(content_type, body)
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "Application/JSON"])
def test_json_in_and_out(content_type: str) -> None:
    body, answered = predictor(Linear(), "3").answer(content_type, instances([1, 2, 3], [4, 5, 6]))
    assert answered == JSON
    assert orjson.loads(body) == {"predictions": [6, 15]}


def test_named_inputs_and_outputs() -> None:
    body, _ = predictor(Named(), "ids:int64:2,scale:int64:1").answer(
        JSON, instances({"ids": [1, 2], "scale": [3]}, {"ids": [5, 5], "scale": [0]})
    )
    assert orjson.loads(body) == {
        "predictions": [{"total": 3, "scaled": [3, 6]}, {"total": 10, "scaled": [0, 0]}]
    }


@pytest.mark.parametrize("content_type", [FLOAT32, "application/x-float32; shape=2x3"])
def test_float32_in_and_out(content_type: str) -> None:
    sent = np.array([[1, 2, 3], [4, 5, 6]], "<f4").tobytes()
    body, answered = predictor(Linear(), "3").answer(content_type, sent)
    assert answered == "application/x-float32; shape=2"
    assert np.frombuffer(body, "<f4").tolist() == [6, 15]


def test_gzip_in() -> None:
    body, _ = predictor(Linear(), "3").answer(JSON, gzip.compress(instances([1, 2, 3])), "gzip")
    assert orjson.loads(body) == {"predictions": [6]}
    sent = np.array([1, 2, 3], "<f4").tobytes()
    body, _ = predictor(Linear(), "3").answer(FLOAT32, gzip.compress(sent), "gzip")
    assert np.frombuffer(body, "<f4").tolist() == [6]


def test_the_limit_of_a_body_counts_when_it_is_unpacked() -> None:
    most = body_limit(InputSpec.parse("3"), 4)
    fits = instances([1, 2, 3]).ljust(most)
    answer = predictor(Linear(), "3").answer
    assert orjson.loads(answer(JSON, gzip.compress(fits), "gzip")[0]) == {"predictions": [6]}
    with pytest.raises(Refusal, match=f"unpack to more than {most:,} bytes") as caught:
        answer(JSON, gzip.compress(fits + b" "), "gzip")
    assert caught.value.status == 413


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream", "json"])
def test_another_content_type(content_type: str) -> None:
    status, text = refusal(Linear(), "3", content_type, instances([1, 2, 3]))
    assert status == 415
    assert "expected application/json or application/x-float32" in text


def test_bodies_that_are_refused_keep_their_status() -> None:
    assert refusal(Linear(), "3", JSON, b"{")[0] == 400
    assert refusal(Linear(), "3", FLOAT32, b"1")[0] == 400
    assert refusal(Linear(), "3", JSON, instances(*[[1, 2, 3]] * 5))[0] == 413
    assert refusal(Named(), "ids:int64:2,scale:int64:1", FLOAT32, bytes(12))[0] == 406


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_float32_asked_of_a_model_that_answers_with_another_dtype(dtype: torch.dtype) -> None:
    status, text = refusal(Constant(dtype), "3", FLOAT32, bytes(12))
    assert status == 406
    assert str(dtype).removeprefix("torch.") in text
    body, _ = predictor(Constant(dtype), "3").answer(JSON, instances([0, 0, 0]))
    assert orjson.loads(body) == {"predictions": [0]}


@pytest.mark.parametrize("length", [200, 60_000])
def test_a_long_content_type_is_not_echoed(length: int) -> None:
    _, text = refusal(Linear(), "3", "x" * length, instances([1, 2, 3]))
    assert len(text) < 200


def test_a_device_that_is_lost_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    puppet = predictor(Puppet(), "1")
    with pytest.raises(DeviceLost, match=LOST) as caught:
        puppet.answer(JSON, instances([PID], [LOSE_DEVICE]))
    assert caught.value.status == 422
    # The error of another thread may be of any kind: then the device is asked.
    monkeypatch.setattr("serving.predictor.is_device_gone", lambda: True)
    with pytest.raises(DeviceLost, match="told to fail") as caught:
        predictor(Puppet(), "1").answer(JSON, instances([FAIL]))
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("text", "code"),
    [("CUDA error: uncorrectable ECC error encountered", None), ("CUDA error: lost NVLink", 220)],
)
def test_no_request_is_to_blame_for_broken_hardware(
    monkeypatch: pytest.MonkeyPatch, text: str, code: int | None
) -> None:
    error = torch.AcceleratorError(text)
    if code is not None:
        error.error_code = code

    def fail(self: Model, rows: list[Inputs]) -> list[Any]:
        raise error

    monkeypatch.setattr(Model, "predict", fail)
    with pytest.raises(DeviceLost) as caught:
        predictor(Linear(), "3").answer(JSON, instances([1, 2, 3]))
    assert caught.value.status == 503


def test_a_model_that_fails() -> None:
    assert refusal(Puppet(), "1", JSON, instances([PID], [FAIL])) == (422, "the model failed: told to fail")
    status, text = refusal(WholeBatch(), "3", JSON, instances([1, 2, 3], [1, 2, 3]))
    assert status == 422
    assert "returned shape [] for 2 requests" in text


@pytest.mark.parametrize("content_type", [JSON, FLOAT32])
def test_an_output_that_is_not_finite(content_type: str) -> None:
    body = instances([PID], [NAN]) if content_type == JSON else np.array([PID, NAN], "<f4").tobytes()
    assert refusal(Puppet(), "1", content_type, body) == (
        422,
        "instance 1: the model's output holds NaN or infinity",
    )


def test_one_of_several_outputs_that_is_not_finite() -> None:
    assert refusal(NamedWithNaN(), "1", JSON, instances([0], [0], [0]))[1].startswith("instance 2: ")


@pytest.mark.parametrize("order", [NO_MEMORY, NO_HOST_MEMORY])
def test_lack_of_memory_is_worth_another_try(order: int) -> None:
    status, text = refusal(Puppet(), "1", JSON, instances([order]))
    assert status == 503
    assert text.startswith("out of memory: ")


@pytest.mark.parametrize("order", [NO_MEMORY, NO_HOST_MEMORY])
def test_fewer_at_once_may_fit_into_memory(order: int) -> None:
    status, text = refusal(Puppet(), "1", JSON, instances([PID], [order]))
    assert status == 413
    assert text.startswith("out of memory: ")
    assert text.endswith("(with 2 instances)")
