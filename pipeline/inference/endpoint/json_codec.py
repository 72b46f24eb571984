"""JSON, by Vertex AI's predict: `{"instances": […]}` and `{"predictions": […]}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import orjson

from pipeline.inference.endpoint.answer_json import is_finite, loads
from pipeline.inference.endpoint.codec import BadResponseError, EncodedCall, Predictions, WrongCountError
from pipeline.request.input_spec import Inputs
from pipeline.request.wire_format import JSON_TYPE


class JsonCodec:
    """The codec of `predict`. An instance is the list of features, or an object of named inputs."""

    def encode(self, rows: Sequence[Inputs]) -> EncodedCall:
        """See `Codec`."""
        # One array instead of many: encoded in half the time.
        instances = np.stack(rows) if isinstance(rows[0], np.ndarray) else list(rows)  # type: ignore[arg-type]
        body = orjson.dumps({"instances": instances}, option=orjson.OPT_SERIALIZE_NUMPY)
        return EncodedCall(body, {"Content-Type": JSON_TYPE})

    def decode(self, body: bytes, headers: Mapping[str, str], count: int) -> Predictions:
        """See `Codec`."""
        content, maybe_not_finite = loads(body)
        predictions = content.get("predictions") if isinstance(content, dict) else None
        if not isinstance(predictions, list):
            raise BadResponseError(f'the answer has no list "predictions": {body[:80]!r}')
        if len(predictions) != count:
            raise WrongCountError(f"the answer has {len(predictions)} predictions for {count} instances")
        if maybe_not_finite:
            predictions = [prediction if is_finite(prediction) else None for prediction in predictions]
        model_id = content.get("deployedModelId")
        return Predictions(predictions, model_id if isinstance(model_id, str) and model_id else None)
