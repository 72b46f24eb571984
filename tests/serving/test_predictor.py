from __future__ import annotations

import gzip
import time
from contextlib import ExitStack

import numpy as np
import orjson
import pytest
import torch
from torch import nn

from pipeline.model import compute
from pipeline.model.active_model import ActiveModel
from pipeline.model.model import Model
from pipeline.model.outputs import OutputRows
from pipeline.request.input_spec import Inputs, InputSpec
from serving.errors import DeviceLost
from serving.exchange import Answer, Exchange
from serving.limits import body_limit
from serving.model_call import ModelCall
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


class Alone:
    """A predictor that answers one call at a time."""

    def __init__(self, model: Model, spec: InputSpec) -> None:
        self.predictor = Predictor(ActiveModel(model), spec, max_batch_size=4)

    def __call__(self, content_type: str, body: bytes, encoding: str = "") -> Answer:
        answers: list[Answer] = []
        call = model_call(content_type, body, encoding)
        self.predictor.answer(
            [call], lambda: None, lambda answered: answers.extend(answer for _, answer in answered)
        )
        (answer,) = answers
        return answer


class Nobody:
    def respond(self, exchange: Exchange, answer: Answer) -> None:
        raise AssertionError("nothing is delivered here")


def model_call(content_type: str, body: bytes, encoding: str = "") -> ModelCall:
    exchange = Exchange(Nobody(), "POST", b"/predict")
    exchange.headers[b"content-type"] = [content_type.encode()]
    exchange.headers[b"content-encoding"] = [encoding.encode()]
    return ModelCall(exchange, body, time.monotonic())


def predictor(module: nn.Module, shape: str) -> Alone:
    spec = InputSpec.parse(shape)
    return Alone(Model(module, spec, "m@1"), spec)


def refusal(module: nn.Module, shape: str, content_type: str, body: bytes) -> tuple[int, str]:
    answer = predictor(module, shape)(content_type, body)
    assert answer.status >= 400
    assert orjson.loads(answer.content)["error"]["message"] == answer.message
    return answer.status, answer.message


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "Application/JSON"])
def test_json_in_and_out(content_type: str) -> None:
    answer = predictor(Linear(), "3")(content_type, instances([1, 2, 3], [4, 5, 6]))
    assert answer.content_type == JSON
    assert orjson.loads(answer.content) == {"predictions": [6, 15]}


def test_named_inputs_and_outputs() -> None:
    answer = predictor(Named(), "ids:int64:2,scale:int64:1")(
        JSON, instances({"ids": [1, 2], "scale": [3]}, {"ids": [5, 5], "scale": [0]})
    )
    assert orjson.loads(answer.content) == {
        "predictions": [{"total": 3, "scaled": [3, 6]}, {"total": 10, "scaled": [0, 0]}]
    }


@pytest.mark.parametrize("content_type", [FLOAT32, "application/x-float32; shape=2x3"])
def test_float32_in_and_out(content_type: str) -> None:
    sent = np.array([[1, 2, 3], [4, 5, 6]], "<f4").tobytes()
    answer = predictor(Linear(), "3")(content_type, sent)
    assert answer.content_type == "application/x-float32; shape=2"
    assert np.frombuffer(answer.content, "<f4").tolist() == [6, 15]


def test_gzip_in() -> None:
    answer = predictor(Linear(), "3")(JSON, gzip.compress(instances([1, 2, 3])), "gzip")
    assert orjson.loads(answer.content) == {"predictions": [6]}
    sent = np.array([1, 2, 3], "<f4").tobytes()
    answer = predictor(Linear(), "3")(FLOAT32, gzip.compress(sent), "gzip")
    assert np.frombuffer(answer.content, "<f4").tolist() == [6]


def test_the_limit_of_a_body_counts_when_it_is_unpacked() -> None:
    most = body_limit(InputSpec.parse("3"), 4)
    fits = instances([1, 2, 3]).ljust(most)
    ask = predictor(Linear(), "3")
    assert orjson.loads(ask(JSON, gzip.compress(fits), "gzip").content) == {"predictions": [6]}
    refused = ask(JSON, gzip.compress(fits + b" "), "gzip")
    assert refused.status == 413
    assert f"unpack to more than {most:,} bytes" in refused.message


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
    answer = predictor(Constant(dtype), "3")(JSON, instances([0, 0, 0]))
    assert orjson.loads(answer.content) == {"predictions": [0]}


@pytest.mark.parametrize("length", [200, 60_000])
def test_a_long_content_type_is_not_echoed(length: int) -> None:
    _, text = refusal(Linear(), "3", "x" * length, instances([1, 2, 3]))
    assert len(text) < 200


def test_a_device_that_is_lost_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    puppet = predictor(Puppet(), "1")
    with pytest.raises(DeviceLost, match=LOST) as caught:
        puppet(JSON, instances([PID], [LOSE_DEVICE]))
    assert caught.value.status == 422
    # The error of another thread may be of any kind: then the device is asked.
    monkeypatch.setattr(compute, "is_device_gone", lambda: True)
    with pytest.raises(DeviceLost, match="told to fail") as caught:
        predictor(Puppet(), "1")(JSON, instances([FAIL]))
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

    def fail(self: Model, inputs: list[Inputs], rows: int) -> OutputRows:
        raise error

    monkeypatch.setattr(Model, "run", fail)
    with pytest.raises(DeviceLost) as caught:
        predictor(Linear(), "3")(JSON, instances([1, 2, 3]))
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


def test_an_output_that_is_not_finite_harms_no_other_call_of_the_batch() -> None:
    spec = InputSpec.parse("1")
    several = Predictor(ActiveModel(Model(Puppet(), spec, "puppet")), spec, max_batch_size=8)
    orders = ([PID, PID], [NAN], [PID], [PID, NAN])
    calls = [model_call(JSON, instances(*([order] for order in each))) for each in orders]
    answers: dict[ModelCall, Answer] = {}
    several.answer(calls, lambda: None, answers.update)
    assert [answers[call].status for call in calls] == [200, 422, 200, 422]
    assert [
        orjson.loads(answers[call].content).get("error", {}).get("message", "")[:10] for call in calls
    ] == [
        "",
        "instance 0",
        "",
        "instance 1",
    ]


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


class OutOfRoom(nn.Module):
    """float32 [batch, 1] → [batch]: takes two rows at most, and in one pass none, beside a candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.active: ActiveModel | None = None
        self.fails_at: list[float] = []
        self.candidate = ExitStack()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if len(features) > 2:
            raise MemoryError
        if self.active is not None and float(features[0, 0]) in self.fails_at:
            self.fails_at.clear()
            self.candidate.enter_context(self.active.candidate())
            raise MemoryError
        return features[:, 0]


def test_no_call_is_answered_by_two_models() -> None:
    """Memory has room for two rows at a time, and before the second two the model is swapped."""
    spec = InputSpec.parse("1")
    module = OutOfRoom()
    active = ActiveModel(Model(module, spec, "m@1"))
    module.active = active
    predictor = Predictor(active, spec, max_batch_size=4)

    def answers(*bodies: bytes) -> list[Answer]:
        found: dict[ModelCall, Answer] = {}
        calls = [model_call(JSON, body) for body in bodies]
        predictor.answer(calls, renew, lambda answered: found.update(answered))
        return [found[call] for call in calls]

    def renew() -> None:
        # Called while the candidate is waited for, too: it takes the model's place then.
        if module.fails_at == [] and active.model.model_id == "m@1":
            active.swap(Model(Constant(torch.float32), spec, "m@2"), "m2")
            module.candidate.close()

    module.fails_at = [7.0]
    first, second = answers(instances([1], [2]), instances([3], [4]))
    assert [answer.status for answer in (first, second)] == [200, 200]
    (mixed,) = answers(instances([5], [6], [7], [8]))
    assert (mixed.status, mixed.message) == (503, "the model was swapped between two parts of this call")
    (whole,) = answers(instances([5], [6], [7], [8]))
    assert (whole.status, dict(whole.headers)["X-Model-Id"]) == (200, "m@2")
