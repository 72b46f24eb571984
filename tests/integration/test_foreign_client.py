"""The aiplatform SDK's own client, unmodified, against the endpoint container.

Between them stands what Vertex AI's front-end does: it names the endpoint, and passes on status, Content-Type
and body, but no other header of the container.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import aiplatform

from pipeline.model.load import load
from pipeline.request.input_spec import InputSpec
from tests.integration.conftest import EXAMPLE, MODEL, RECORDS
from tests.integration.vertex_front import DEPLOYED_MODEL_ID, EndpointFront
from tests.serving.container import Serving

FLOAT32 = {"Content-Type": "application/x-float32"}


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a container with the example's model and return its URL."""
    log = tmp_path_factory.mktemp("serving") / "log"
    serving = Serving(log, ("--workers=2", "--drain_s=0"), {"AIP_STORAGE_URI": str(EXAMPLE)})
    try:
        yield f"http://{serving.ready().address}"
        serving.process.terminate()
        assert serving.wait() == 0
    finally:
        serving.close()


@pytest.fixture(scope="module")
def features() -> list[list[float]]:
    return [json.loads(line)["features"] for line in RECORDS.read_text().splitlines()]


@pytest.fixture(scope="module")
def expected(features: list[list[float]]) -> list[float]:
    """Return what the model says in this process, without any server."""
    spec = InputSpec.parse("30")
    model = load(str(MODEL), spec, max_batch_size=len(features))
    rows = model.predict([spec.from_json({"features": one}) for one in features])
    return [float(row) for row in rows]


@pytest.fixture(params=["shared", "dedicated"])
def endpoint(
    request: pytest.FixtureRequest, container: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[aiplatform.Endpoint]:
    with EndpointFront(container, dedicated=request.param == "dedicated") as front:
        aiplatform.init(**front.init_arguments())
        if request.param == "dedicated":
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(front.ca_file))
        yield aiplatform.Endpoint(front.name)


# Of a shared endpoint, the SDK sends raw_predict to googleapis.com whatever it is told.
only_dedicated = pytest.mark.parametrize("endpoint", ["dedicated"], indirect=True)


def test_predict(endpoint: aiplatform.Endpoint, features: list[list[float]], expected: list[float]) -> None:
    assert len(features) > 300
    prediction = endpoint.predict(instances=features)
    # Shortest decimals that are the same float32.
    assert np.array_equal(np.array(prediction.predictions, np.float32), np.array(expected, np.float32))
    assert prediction.deployed_model_id == DEPLOYED_MODEL_ID


def test_predict_of_single_instances(
    endpoint: aiplatform.Endpoint, features: list[list[float]], expected: list[float]
) -> None:
    for one, wanted in zip(features[:3], expected[:3], strict=True):
        # A batch of one may be summed up in another order than one of hundreds.
        assert endpoint.predict(instances=[one]).predictions == pytest.approx([wanted], rel=1e-5)


@only_dedicated
def test_raw_predict(
    endpoint: aiplatform.Endpoint, features: list[list[float]], expected: list[float]
) -> None:
    answer = endpoint.raw_predict(np.array(features, "<f4").tobytes(), FLOAT32)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == f"application/x-float32; shape={len(features)}"
    assert np.array_equal(np.frombuffer(answer.content, "<f4"), np.array(expected, np.float32))


@only_dedicated
def test_raw_predict_takes_json_too(
    endpoint: aiplatform.Endpoint, features: list[list[float]], expected: list[float]
) -> None:
    body = json.dumps({"instances": features}).encode()
    answer = endpoint.raw_predict(body, {"Content-Type": "application/json"})
    assert np.array_equal(np.array(answer.json()["predictions"], np.float32), np.array(expected, np.float32))


def test_a_refused_instance_is_an_error(endpoint: aiplatform.Endpoint, features: list[list[float]]) -> None:
    # The SDK's two ways of raising it.
    kind = BadRequest if not endpoint.dedicated_endpoint_enabled else ValueError
    with pytest.raises(kind, match=r"400.*instance 1: features: expected 30 numbers, got 29"):
        endpoint.predict(instances=[features[0], features[1][:29]])


@only_dedicated
def test_refused_bytes_are_an_error(endpoint: aiplatform.Endpoint) -> None:
    answer = endpoint.raw_predict(bytes(7), FLOAT32)
    assert answer.status_code == 400
    assert "float32 of shape 30 takes 120 each" in answer.json()["error"]["message"]
