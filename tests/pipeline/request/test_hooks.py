from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.internal import pickler
from apache_beam.pvalue import TaggedOutput

from pipeline.io.connectors import as_it_is, as_one_list
from pipeline.job.steps import Decode, Encode
from pipeline.pubsub.protos import PubsubMessage
from pipeline.request.errors import DecodeError, EncodeError, HookError
from pipeline.request.hooks import Hook, load_hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import Request, Result, Timeline
from pipeline.request.wire_format import WireMessage, decode, encode, encode_dead_letter

SPEC = InputSpec.parse("ids:int64:2")
SINGLE = InputSpec.parse("2")


def decode_hook(function: Callable[..., Any]) -> Hook:
    return Hook("--decode_hook", "my.hooks:decode", function)


def encode_hook(function: Callable[..., Any]) -> Hook:
    return Hook("--encode_hook", "my.hooks:encode", function)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a folder on the path for the modules of one test, whose names must be its own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


class TestLoad:
    def test_a_function(self, modules: Path) -> None:
        (modules / "hooks_good.py").write_text("def double(x):\n    return 2 * x\n")
        hook = load_hook("--decode_hook", "hooks_good:double")
        assert hook(21) == 42
        assert str(hook) == "--decode_hook=hooks_good:double"

    @pytest.mark.parametrize(
        ("source", "name", "reason"),
        [
            (None, "hooks_nowhere:f", "there is no module hooks_nowhere: install it, or add"),
            (None, "hooks_nowhere.sub:f", "there is no module hooks_nowhere: "),
            (None, "json.hooks:f", "there is no module json.hooks"),
            (
                "import hooks_elsewhere",
                "hooks_a:f",
                "importing hooks_a failed: ModuleNotFoundError: No",
            ),
            ("def f(:", "hooks_b:f", "importing hooks_b failed: SyntaxError"),
            ("1 / 0", "hooks_c:f", "importing hooks_c failed: ZeroDivisionError: division by zero"),
            ("", "hooks_d:f", "the module hooks_d has nothing called f"),
            ("f = 5", "hooks_e:f", "not a function, but of type int"),
            ("f = None", "hooks_f:f", "not a function, but of type NoneType"),
        ],
    )
    def test_refuses(self, modules: Path, source: str | None, name: str, reason: str) -> None:
        if source is not None:
            (modules / f"{name.partition(':')[0]}.py").write_text(source)
        with pytest.raises(HookError) as caught:
            load_hook("--encode_hook", name)
        assert str(caught.value).startswith(f"--encode_hook={name}: {reason}")

    def test_a_worker_loads_it_anew(self) -> None:
        hook = load_hook("--decode_hook", "examples.text.hooks:decode")
        # By Beam's pickler, too, which writes functions by other rules.
        by_beam = pickler.loads(pickler.dumps(Decode(as_it_is, SPEC, 8, hook)))
        assert by_beam._hook == pickle.loads(pickle.dumps(hook)) == hook

    def test_a_worker_without_the_module_says_so(
        self, modules: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (modules / "hooks_here_only.py").write_text("def f(x):\n    return x\n")
        pickled = pickle.dumps(load_hook("--decode_hook", "hooks_here_only:f"))
        (modules / "hooks_here_only.py").unlink()
        monkeypatch.delitem(sys.modules, "hooks_here_only")
        with pytest.raises(HookError, match="--decode_hook=hooks_here_only:f: there is no module"):
            pickle.loads(pickled)


class TestDecode:
    @staticmethod
    def decoded(
        function: Callable[..., Any], data: bytes = b"{}", spec: InputSpec = SPEC, **attributes: str
    ) -> Request:
        named = {name.replace("_type", "-type"): value for name, value in attributes.items()}
        return decode(data, named, spec, received=2.0, message_id="p", hook=decode_hook(function))

    def refusal(self, function: Callable[..., Any], spec: InputSpec = SPEC, data: bytes = b"{}") -> str:
        with pytest.raises(DecodeError) as caught:
            self.decoded(function, data, spec)
        return str(caught.value)

    def test_json_and_attributes(self) -> None:
        seen: list[Any] = []

        def hook(body: Any, attributes: Any) -> Any:
            seen.append((dict(body), dict(attributes)))
            return {"ids": [body.pop("a"), body["b"]]}

        request = self.decoded(hook, b'{"a": 1, "b": 2, "features": 0, "message_id": "m"}', tenant="t")
        assert seen == [({"a": 1, "b": 2, "features": 0, "message_id": "m"}, {"tenant": "t"})]
        assert isinstance(request.inputs, dict)
        assert request.inputs["ids"].tolist() == [1, 2]
        assert request.inputs["ids"].dtype == np.int64
        assert request.passthrough == b'{"b":2}'
        assert request.request_id == "m"

    @pytest.mark.parametrize("content_type", ["image/png", "application/x-float32", "Text/Plain; charset=x"])
    def test_any_other_content_type_comes_as_bytes(self, content_type: str) -> None:
        request = self.decoded(lambda body, _: {"ids": list(body)}, b"\x05\xff", content_type=content_type)
        assert isinstance(request.inputs, dict)
        assert request.inputs["ids"].tolist() == [5, 255]
        assert (request.passthrough, request.request_id, request.data) == (b"{}", "p", b"\x05\xff")

    def test_a_single_array(self) -> None:
        request = self.decoded(lambda body, _: np.arange(2), spec=SINGLE)
        assert isinstance(request.inputs, np.ndarray)
        assert request.inputs.dtype == np.float32

    def test_what_it_raises(self) -> None:
        def hook(body: Any, attributes: Any) -> Any:
            raise LookupError("token 30523 at position 3 is not known")

        with pytest.raises(DecodeError) as caught:
            self.decoded(hook, b'{"request_id": "r"}')
        assert str(caught.value) == "--decode_hook=my.hooks:decode: token 30523 at position 3 is not known"
        assert isinstance(caught.value.__cause__, LookupError)
        assert caught.value.request_id == "r"

    def test_an_error_without_a_message(self) -> None:
        def hook(body: Any, attributes: Any) -> Any:
            raise AssertionError

        assert self.refusal(hook) == "--decode_hook=my.hooks:decode: AssertionError"

    def test_what_it_returns_is_checked(self) -> None:
        assert self.refusal(lambda body, _: {"ids": [1, 2, 3]}) == (
            "--decode_hook=my.hooks:decode: what it returned does not fit --input_shape: "
            "ids: expected shape [2], got [3]"
        )

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b'{"prediction": 1}', "the body has a field called prediction"),
            (b'{"request_id": []}', "request_id: expected a string"),
        ],
    )
    def test_the_body_is_checked_before(self, data: bytes, reason: str) -> None:
        def hook(body: Any, attributes: Any) -> Any:
            raise AssertionError("called")

        assert self.refusal(hook, data=data).startswith(reason)

    def test_the_dead_letter(self) -> None:
        def hook(body: Any, attributes: Any) -> Any:
            raise ZeroDivisionError("no")

        (batch,) = Decode(as_it_is, SPEC, 1, decode_hook(hook), clock=lambda: 5.0).process(
            PubsubMessage(data=b"{}", attributes={"a": "b"})
        )
        (letter,) = batch.value
        message = encode_dead_letter(letter)
        assert message.data == b"{}"
        assert message.attributes == {
            "error_stage": "decode",
            "error_type": "ZeroDivisionError",
            "error_message": "--decode_hook=my.hooks:decode: no",
            "failed_at": "5.000000",
            "a": "b",
        }


class TestEncode:
    RESULT = Result(
        Request("r1", np.zeros(2), b"{}", {}, b'{"x": 1}', Timeline(received=1.0)),
        np.array([0.25, 0.5, 0.125], np.float32),
        "model@1",
        7,
    )

    def prediction(self, function: Callable[..., Any]) -> Any:
        ((message,),) = Encode(as_one_list, as_one_list, encode_hook(function), clock=lambda: 5.0).process(
            [self.RESULT]
        )
        assert isinstance(message, WireMessage)
        return json.loads(message.data)["prediction"]

    def test_it_makes_the_prediction(self) -> None:
        assert self.prediction(lambda scores: {"best": int(scores.argmax())}) == {"best": 1}

    def test_numpy_of_any_kind(self) -> None:
        made = self.prediction(
            lambda scores: {
                "reversed": scores[::-1],
                "order": scores.argsort()[::-1],
                "best": scores.max(),
                "names": np.array(["a", "b"]),
                "any": np.bool_(True),
            }
        )
        assert made == {
            "reversed": [0.125, 0.5, 0.25],
            "order": [1, 0, 2],
            "best": 0.5,
            "names": ["a", "b"],
            "any": True,
        }

    def test_what_it_raises_is_a_dead_letter(self) -> None:
        encode = Encode(as_one_list, as_one_list, encode_hook(lambda scores: scores[9]), clock=lambda: 5.0)
        (output,) = encode.process([self.RESULT])
        assert isinstance(output, TaggedOutput)
        attributes = output.value[0].attributes
        assert (attributes["error_stage"], attributes["error_type"]) == ("encode", "IndexError")
        assert attributes["error_message"].startswith("--encode_hook=my.hooks:encode: index 9 is out of")
        assert attributes["request_id"] == "r1"

    def test_what_json_cannot_hold(self) -> None:
        with pytest.raises(EncodeError, match=r"cannot be written as JSON: .*--encode_hook=my.hooks:encode"):
            encode(self.RESULT, 5.0, encode_hook(lambda scores: {1, 2}))
