"""docs/wire-format.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.options.values import table
from pipeline.request.compression import MAX_UNPACKED_BYTES
from pipeline.request.errors import DecodeError
from pipeline.request.input_spec import RAW_TYPES, InputSpec
from pipeline.request.messages import DeadLetter, Result
from pipeline.request.wire_format import decode, encode, encode_dead_letter

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/wire-format.md").read_text()
BLOCKS = dict(re.findall(r"```json (\S+)\n(.*?)```", PAGE, re.DOTALL))
ROWS = re.findall(r"^\| `(\{.*?\})` \| `(.*)` \|$", PAGE, re.MULTILINE)
THREE = InputSpec.parse("3")


def test_request_and_result() -> None:
    expected = json.loads(BLOCKS["result"])
    timing = expected["timing"]
    request = decode(
        BLOCKS["request"].encode(), {}, THREE, received=timing["received"], published=timing["published"]
    )
    request.timeline.batched = timing["batched"]
    request.timeline.inference_start = timing["inference_start"]
    request.timeline.inference_end = timing["inference_end"]
    result = Result(request, np.float32(0.25), expected["model_id"], expected["batch_size"])
    assert json.loads(encode(result, timing["emitted"]).data) == expected


def test_named_request() -> None:
    (flag,) = re.findall(r"`--input_shape=(\S*:\S*)`", PAGE)
    request = decode(BLOCKS["named-request"].encode(), {}, InputSpec.parse(flag), received=0)
    assert isinstance(request.inputs, dict)
    assert {name: array.tolist() for name, array in request.inputs.items()} == json.loads(
        BLOCKS["named-request"]
    )["inputs"]


def test_dtypes_and_limits() -> None:
    (listed,) = re.findall(r"fit the input's dtype: ([\w, ]+)\.", PAGE)
    names = re.split(r", | or ", listed)
    assert [f"application/x-{name}" for name in names] == list(RAW_TYPES)
    assert f"to {MAX_UNPACKED_BYTES:,} bytes at most" in PAGE
    own = (ROOT / "docs/your-own-model.md").read_text()
    assert f"`NAME:DTYPE:SHAPE`, with {listed}." in own


def test_there_are_refusals() -> None:
    assert len(ROWS) == 5


@pytest.mark.parametrize(("data", "reason"), ROWS)
def test_refusals(data: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data.encode(), {}, THREE, received=0)
    assert str(caught.value) == reason


def test_the_table_is_made_of_the_schema() -> None:
    (command,) = re.findall(r"```bash row\n(.*?)```", PAGE, re.DOTALL)
    flags = dict(re.findall(r"--(\w+)=(\S+)", command))
    columns = {column["name"]: column["type"] for column in json.loads((ROOT / flags["schema"]).read_text())}
    assert columns[flags["time_partitioning_field"]] == "TIMESTAMP"
    # The one field that moves out of its object; tests/pipeline/io/test_bigquery.py has the rows themselves.
    assert set(columns) == {*json.loads(BLOCKS["result"]), "emitted"}
    assert table(command.split()[-1]) == "my-project:predictions.results"


def test_attributes_of_a_dead_letter() -> None:
    ours: set[str] = set()
    for size in (1, 9_999_999):
        letter = DeadLetter(b"x" * size, {"theirs": "x"}, "decode", "E", "why", 0.0, "r1")
        ours |= set(encode_dead_letter(letter).attributes) - set(letter.attributes)
    documented = re.findall(r"^\| `(\w+)` \|", PAGE.split("## Dead letter")[1], re.MULTILINE)
    assert ours == set(documented)
