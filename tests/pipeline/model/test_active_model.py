"""The active model: swapped in one step, counted once, and waited for while a candidate is loaded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.model import active_model
from pipeline.model.active_model import ActiveModel
from tests.waiting import LIMIT_S


def active(path: str | None = None) -> Any:
    """Make one over text, as it does not look into models."""
    return ActiveModel("v1", path)  # type: ignore[arg-type]


def wait_on() -> None:
    """Let the wait go on."""


def test_a_swap_replaces_model_and_path() -> None:
    models = active("/models/v1")
    models.swap("v2", "/models/v2")
    assert (models.model, models.path) == ("v2", "/models/v2")


def test_counts_are_taken_once() -> None:
    models = active()
    models.swap("v2", "/models/v2")
    models.swap("v3", "/models/v3")
    models.count_refusal()
    assert models.take_counts() == (2, 1)
    assert models.take_counts() == (0, 0)


def test_without_a_candidate_nobody_waits() -> None:
    assert active().waited_for_candidate(wait_on) is False


@pytest.mark.parametrize("fails", [False, True])
def test_waits_until_the_candidate_is_loaded_or_refused(fails: bool) -> None:
    models = active()
    with ThreadPoolExecutor(1) as threads:
        try:
            with models.candidate():
                waits = threads.submit(models.waited_for_candidate, wait_on)
                with pytest.raises(TimeoutError):
                    waits.result(0.05)
                if fails:
                    raise ValueError("refused")
        except ValueError:
            assert fails
        assert waits.result(LIMIT_S) is True
    assert models.waited_for_candidate(wait_on) is False


def test_waits_no_longer_than_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_model, "_CANDIDATE_S", 0.01)
    models = active()
    with models.candidate():
        assert models.waited_for_candidate(wait_on) is False


def test_one_that_took_longer_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch that finds no memory would wait for it."""
    looks: list[None] = []
    monkeypatch.setattr(active_model, "_CANDIDATE_S", 0.01)
    models = active()
    with models.candidate():
        assert models.waited_for_candidate(lambda: looks.append(None)) is False
        seen = len(looks)
        assert models.waited_for_candidate(lambda: looks.append(None)) is False
        assert len(looks) == seen > 0
    with models.candidate():
        assert models.waited_for_candidate(lambda: looks.append(None)) is False
        assert len(looks) > seen


def test_who_waits_may_be_called_off() -> None:
    """A batch that was abandoned meanwhile has nobody to answer."""

    class CalledOffError(Exception):
        pass

    def call_off() -> None:
        raise CalledOffError

    models = active()
    with models.candidate(), pytest.raises(CalledOffError):
        models.waited_for_candidate(call_off)
