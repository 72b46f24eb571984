"""Full garbage collections of a worker visit little: what is there once the model serves is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.conftest import Start
from tests.serving.container import puppet
from tests.serving.models import COLLECTED, PID

pytestmark = pytest.mark.slow

# With torch and the example's model there are 320,000, which a full collection takes 160 ms to visit; after
# 2,000 calls 450 are left.
MOST_OBJECTS = 5_000


def test_a_full_collection_visits_little_however_many_calls_there_were(start: Start, tmp_path: Path) -> None:
    serving = start(*puppet(tmp_path), "--workers=1").ready()
    first = serving.predict([COLLECTED]).json["predictions"][0]
    for _ in range(200):
        assert serving.predict([PID]).status == 200
    last = serving.predict([COLLECTED]).json["predictions"][0]
    assert 0 < first < MOST_OBJECTS
    assert 0 < last < MOST_OBJECTS
