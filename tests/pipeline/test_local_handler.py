from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.inference.local import LocalModelHandler
from pipeline.inference.model import Model
from pipeline.input_spec import InputSpec
from pipeline.messages import DeadLetter, Request, Result, Timeline
from tests.pipeline.models import Sum

SPEC = InputSpec.parse("3")


def requests(*firsts: float) -> list[Request]:
    return [
        Request(f"r{first:g}", np.array([first, 1, 1], np.float32), b"%g" % first, {"a": "b"}, {}, Timeline())
        for first in firsts
    ]


def ticking() -> Callable[[], float]:
    ticks = iter(range(1000))
    return lambda: float(next(ticks))


def run(forward: Callable, batch: list[Request]) -> list[Result | DeadLetter]:
    handler = LocalModelHandler("unused", SPEC, max_batch_size=50, clock=ticking())
    return list(handler.run_inference(batch, Model(forward, SPEC, "m@1")))


class TestRunInference:
    def test_results_in_order_with_times_and_batch_size(self) -> None:
        batch = requests(1, 2, 3)
        answers = run(Sum(), batch)
        assert [(a.request.request_id, float(a.prediction), a.model_id, a.batch_size) for a in answers] == [  # type: ignore[union-attr]
            ("r1", 3.0, "m@1", 3),
            ("r2", 4.0, "m@1", 3),
            ("r3", 5.0, "m@1", 3),
        ]
        assert {(t.batched, t.inference_start, t.inference_end) for t in (r.timeline for r in batch)} == {
            (0, 1, 2)
        }

    @pytest.mark.parametrize("place", [0, 17, 49])
    def test_the_offender_stands_alone(self, place: int) -> None:
        firsts = [666 if i == place else i for i in range(50)]
        answers = run(Sum(), requests(*firsts))
        letters = [a for a in answers if isinstance(a, DeadLetter)]
        results = [a for a in answers if isinstance(a, Result)]
        assert [(a.data, a.stage, a.error_type, a.request_id) for a in letters] == [
            (b"666", "inference", "ValueError", "r666")
        ]
        assert "the number of the beast" in letters[0].error_message
        assert {a.request.request_id: float(a.prediction) for a in results} == {
            f"r{i}": i + 2.0 for i in range(50) if i != place
        }

    def test_two_offenders(self) -> None:
        answers = run(Sum(), requests(1, 666, 2, 666, 3))
        assert [type(a) for a in answers] == [Result, DeadLetter, Result, DeadLetter, Result]

    def test_nan_is_a_dead_letter(self) -> None:
        answers = run(lambda x: torch.log(x[:, 0]), requests(1, -1, 2, 0))
        assert [type(a) for a in answers] == [Result, DeadLetter, Result, DeadLetter]
        assert answers[1].error_message == "the model's output holds NaN or infinity"  # type: ignore[union-attr]

    def test_nan_in_a_named_output(self) -> None:
        answers = run(lambda x: {"a": x, "b": torch.log(x)}, requests(1, -1))
        assert [type(a) for a in answers] == [Result, DeadLetter]


def test_the_model_is_loaded_once_for_all_copies(tmp_path: Path) -> None:
    torch.save(Sum().state_dict(), tmp_path / "m.pt")
    first, second = (
        LocalModelHandler(
            str(tmp_path / "m.pt"), SPEC, max_batch_size=8, model_class="tests.pipeline.models:Sum"
        )
        for _ in range(2)
    )
    assert first.load_model() is second.load_model()


def test_bytes_are_those_of_the_bodies() -> None:
    handler = LocalModelHandler("unused", SPEC, max_batch_size=8)
    assert handler.get_num_bytes(requests(1, 22, 333)) == 6
