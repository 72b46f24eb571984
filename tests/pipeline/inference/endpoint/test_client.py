"""The client over real sockets, against a scripted endpoint."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from pipeline.inference.endpoint import client as client_module
from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.inference.endpoint.retry_policy import RetryPolicy
from pipeline.options.address import Address
from pipeline.request.errors import EndpointError, TransientError
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Request, Result
from pipeline.request.wire_format import decode
from tests.pipeline.inference.endpoint.server import READY_SOON, ScriptedEndpoint
from tests.waiting import LIMIT_S, wait_until

THREE = InputSpec.parse("3")
PATIENT = RetryPolicy(timeout_s=LIMIT_S, deadline_s=LIMIT_S, scale_up_wait_s=LIMIT_S)

Make = Callable[..., EndpointClient]


@pytest.fixture
def make(endpoint: ScriptedEndpoint) -> Iterator[Make]:
    clients: list[EndpointClient] = []

    def make_client(**changes: Any) -> EndpointClient:
        config = EndpointConfig(Address(f"{endpoint.address}/predict", False), "predict", 10, 8, PATIENT)
        clients.append(EndpointClient(replace(config, **changes)))
        return clients[-1]

    yield make_client
    for client in clients:
        client.close()


def requests(count: int, first: int = 0) -> list[Request]:
    """Make requests whose ids are their sums."""
    bodies = (json.dumps({"features": [n, 0, 0], "request_id": str(n)}) for n in range(first, first + count))
    return [decode(body.encode(), {}, THREE, received=0.0) for body in bodies]


def predict(
    client: EndpointClient, batch: list[Request], throttled: Callable[[float], object] = lambda seconds: None
) -> list[Result | DeadLetter]:
    return client.predict(batch, stopping=lambda: False, throttled=throttled)


def assert_right(answers: list[Result | DeadLetter], count: int) -> None:
    """Every request has its own answer, in order."""
    results = [answer for answer in answers if isinstance(answer, Result)]
    assert [float(result.prediction) for result in results] == list(range(count))
    assert [result.request.request_id for result in results] == [str(n) for n in range(count)]


@pytest.mark.parametrize("protocol", ["predict", "raw"])
def test_a_batch_is_split_into_even_calls(protocol: str, endpoint: ScriptedEndpoint, make: Make) -> None:
    answers = predict(make(protocol=protocol), requests(33))
    assert_right(answers, 33)
    assert sorted(endpoint.sizes) == [8, 8, 8, 9]
    assert set(endpoint.paths) == {"/predict"}
    assert set(endpoint.tokens) == {None}


def test_results_say_who_made_them_and_when(endpoint: ScriptedEndpoint, make: Make) -> None:
    (result,) = predict(make(), requests(1))
    assert isinstance(result, Result)
    assert (result.model_id, result.batch_size) == ("sum@1", 1)
    times = result.request.timeline
    assert times.inference_start is not None
    assert times.inference_end is not None
    assert times.inference_start <= times.inference_end
    assert times.server_ms == 1.5


def test_the_model_that_vertex_ai_names(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.headers = {}
    endpoint.script = [lambda rows: {"predictions": rows, "deployedModelId": "77"}, 200]
    client = make()
    named, unnamed = predict(client, requests(1))[0], predict(client, requests(1))[0]
    assert isinstance(named, Result)
    assert isinstance(unnamed, Result)
    assert named.model_id == "77"
    assert unnamed.model_id == f"{endpoint.address}/predict"
    assert unnamed.request.timeline.server_ms is None


def test_calls_are_in_flight_together_up_to_the_cap(endpoint: ScriptedEndpoint, make: Make) -> None:
    """Also those of other bundle threads: the cap is the process's."""
    endpoint.hold.clear()
    client = make(max_concurrency=6)
    with ThreadPoolExecutor(3) as threads:
        bundles = [threads.submit(predict, client, requests(40)) for _ in range(3)]
        wait_until(lambda: endpoint.most_in_flight == 6)
        endpoint.hold.set()
        for bundle in bundles:
            assert_right(bundle.result(), 40)
    assert endpoint.most_in_flight == 6
    assert len(endpoint.sizes) == 12


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_trouble_is_tried_again(status: int, endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.script = [status, status]
    assert_right(predict(make(), requests(5)), 5)
    assert endpoint.sizes == [5, 5, 5]


def test_one_line_for_a_spell_of_trouble(
    endpoint: ScriptedEndpoint, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.script = [503] * 20
    assert_right(predict(make(batch_size=1), requests(8)), 8)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("status", [400, 422])
def test_only_the_offender_is_refused(status: int, endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.refuse = lambda instances: status if [5, 0, 0] in instances else None
    answers = predict(make(), requests(10))
    letter = answers.pop(5)
    assert isinstance(letter, DeadLetter)
    assert (letter.request_id, letter.stage, letter.error_type) == ("5", "inference", "InferenceError")
    assert letter.error_message == f"the endpoint refused it: {status} scripted"
    assert json.loads(letter.data)["features"] == [5, 0, 0]
    assert [float(answer.prediction) for answer in answers if isinstance(answer, Result)] == [
        0, 1, 2, 3, 4, 6, 7, 8, 9,
    ]  # fmt: skip


def test_what_is_too_large_by_itself_is_a_dead_letter(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.refuse = lambda instances: 413 if [5, 0, 0] in instances else None
    letter = predict(make(), requests(10))[5]
    assert isinstance(letter, DeadLetter)
    assert letter.error_message == "too large for the endpoint, also by itself: 413 scripted"


def test_too_large_calls_are_made_smaller(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.refuse = lambda instances: 413 if len(instances) > 3 else None
    assert_right(predict(make(), requests(10)), 10)


def test_another_number_of_predictions_shifts_no_row(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.script = [
        lambda rows: {"predictions": rows[1:]},
        lambda rows: {"predictions": [rows[0], *rows]},
        lambda rows: {"predictions": []},
    ]
    assert_right(predict(make(), requests(10)), 10)


def test_one_instance_with_another_number_is_tried_again(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.script = [lambda rows: {"predictions": []}, lambda rows: {"predictions": [7, 8]}]
    assert_right(predict(make(), requests(1)), 1)
    assert endpoint.sizes == [1, 1, 1]


def test_an_unreadable_answer_is_tried_again(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.script = [lambda rows: b'{"predictions": [0', lambda rows: {"outputs": rows}]
    assert_right(predict(make(), requests(4)), 4)


def test_a_prediction_that_is_no_number_is_a_dead_letter(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.script = [lambda rows: b'{"predictions": [0, NaN, null]}']
    first, second, third = predict(make(), requests(3))
    assert isinstance(first, Result)
    for letter in (second, third):
        assert isinstance(letter, DeadLetter)
        assert letter.error_message == "the endpoint's prediction is null, or holds NaN or infinity"


def test_past_the_deadline_nothing_is_refused(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.script = [500] * 1000
    with pytest.raises(TransientError, match=r"failed for 1 s \(--endpoint_deadline_s\).* 500 scripted"):
        predict(make(retry_policy=replace(PATIENT, deadline_s=1)), requests(30))


def test_a_server_that_asks_for_more_time_than_there_is(endpoint: ScriptedEndpoint, make: Make) -> None:
    """It gets what there is, and is asked once more before the end."""
    endpoint.script = [503]
    endpoint.refusal_headers = {"Retry-After": "300"}
    client = make(retry_policy=replace(PATIENT, deadline_s=1.5))
    assert_right(predict(client, requests(3)), 3)
    assert endpoint.sizes == [3, 3]


def test_a_missed_deadline_is_tried_again(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.hold.clear()
    client = make(retry_policy=replace(PATIENT, timeout_s=0.2))
    with ThreadPoolExecutor(1) as threads:
        bundle = threads.submit(predict, client, requests(5))
        wait_until(lambda: len(endpoint.sizes) == 2)
        endpoint.hold.set()
        assert_right(bundle.result(), 5)


def test_nobody_there(make: Make) -> None:
    nowhere = Address("http://127.0.0.1:1/predict", False)
    with pytest.raises(TransientError, match="127.0.0.1:1/predict failed for 0.2 s"):
        predict(make(address=nowhere, retry_policy=replace(PATIENT, deadline_s=0.2)), requests(3))


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405, 415])
def test_no_endpoint_for_this_job(status: int, endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.script = [status] * 10
    with pytest.raises(EndpointError, match=f"answered {status}"):
        predict(make(), requests(30))


def test_one_call_that_fails_for_good_ends_the_others(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.hold.clear()
    endpoint.script = [200, 200, 403]
    with pytest.raises(EndpointError, match="403"):
        predict(make(), requests(30))


class TestScaleUp:
    def test_waits_beyond_the_deadline_with_one_line(
        self, endpoint: ScriptedEndpoint, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        endpoint.message = READY_SOON
        endpoint.script = [429] * 6
        client = make(retry_policy=RetryPolicy(10, 0.1, 20))
        assert_right(predict(client, requests(40)), 40)
        assert [
            "is not yet ready for inference: waiting up to 20 s" in r.message for r in caplog.records
        ] == [
            True,
            False,
        ]
        assert "is ready after" in caplog.records[1].message
        # The four that met it, then one that asks again and again, then the other three.
        assert len(endpoint.sizes) == 4 + 3 + 3

    def test_not_for_ever(self, endpoint: ScriptedEndpoint, make: Make) -> None:
        endpoint.message = READY_SOON
        endpoint.script = [429] * 1000
        with pytest.raises(TransientError, match=r"not ready for inference within 0.5 s"):
            predict(make(retry_policy=RetryPolicy(10, 20, 0.5)), requests(40))

    def test_a_stop_ends_the_wait(self, endpoint: ScriptedEndpoint, make: Make) -> None:
        endpoint.message = READY_SOON
        endpoint.script = [429] * 1000
        stop = threading.Event()
        client = make(retry_policy=RetryPolicy(10, 20, 600))
        with ThreadPoolExecutor(1) as threads:
            bundle = threads.submit(
                client.predict, requests(5), stopping=stop.is_set, throttled=lambda s: None
            )
            wait_until(lambda: endpoint.sizes)
            stop.set()
            with pytest.raises(TransientError, match="told to stop"):
                bundle.result(LIMIT_S)


def test_a_stop_gives_up_a_call_that_hangs(
    endpoint: ScriptedEndpoint, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "FINISH_WITHIN_S", 0.1)
    endpoint.hold.clear()
    with pytest.raises(TransientError, match="told to stop"):
        make().predict(requests(5), stopping=lambda: True, throttled=lambda s: None)


def test_a_stop_lets_a_call_finish(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.hold.clear()
    client = make()
    with ThreadPoolExecutor(1) as threads:
        bundle = threads.submit(client.predict, requests(5), stopping=lambda: True, throttled=lambda s: None)
        wait_until(lambda: endpoint.sizes)
        endpoint.hold.set()
        assert_right(bundle.result(LIMIT_S), 5)


def test_an_answer_that_arrives_as_the_look_ends_is_used() -> None:
    class Late(Future[list[Result | DeadLetter]]):
        def result(self, timeout: float | None = None) -> list[Result | DeadLetter]:
            if self.done():
                return super().result(timeout)
            self.set_result([])
            raise TimeoutError

    assert client_module._result_within(Late(), 0) == []
    assert client_module._result_within(Future(), 0) is None


def test_throttled_seconds_are_those_of_the_wait(endpoint: ScriptedEndpoint, make: Make) -> None:
    client = make()
    reported: list[float] = []
    predict(client, requests(5), reported.append)
    assert reported == []
    endpoint.script = [429] * 4
    predict(client, requests(5), reported.append)
    # Four pauses, each at least half of 50, 100, 200 and 400 ms.
    assert sum(reported) >= 0.375


def test_at_its_end_it_logs_how_long_it_was_throttled(
    endpoint: ScriptedEndpoint, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    client = make()
    endpoint.script = [429, 500, 429]
    with caplog.at_level(logging.INFO):
        predict(client, requests(5))
        client.close()
        client.close()
    [line] = [record.getMessage() for record in caplog.records if " attempts, " in record.getMessage()]
    found = re.fullmatch(
        r"http://\S+: 4 attempts, 2 of them found it full; bundles waited for it for ([0-9.]+) s, "
        r"throttled for ([0-9.]+) s",
        line,
    )
    assert found, line
    # Three pauses, each at least half of 50, 100 and 200 ms, all of them while the bundle waited.
    assert 0.175 <= float(found[2]) <= float(found[1])


def test_closing_ends_what_is_in_flight(endpoint: ScriptedEndpoint, make: Make) -> None:
    endpoint.hold.clear()
    client = make()
    with ThreadPoolExecutor(1) as threads:
        bundle = threads.submit(predict, client, requests(5))
        wait_until(lambda: endpoint.sizes)
        client.close()
        with pytest.raises(TransientError, match="cancelled"):
            bundle.result(LIMIT_S)


def test_nothing_to_predict(make: Make) -> None:
    assert predict(make(), []) == []
