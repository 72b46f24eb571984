from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtest.raw_log import MESSAGES, RUN, Messages, RawLog, RawLogError, RunFacts, Sample, Series

FACTS = RunFacts(
    run="0a1b2c3d",
    system={"kind": "local job", "flags": "--max_batch_size=32"},
    schedule="constant 100",
    arrivals_seed=1,
    payloads_seed=None,
    started=1_790_000_000.0,
    duration=0.03,
    warmup=0.0,
    ended_at=1_790_000_001.0,
    partial=None,
    drivers=1,
    publish_calls=3,
    publish_errors=0,
    foreign=0,
    unreadable_results=0,
    unacknowledged=0,
    dead_letter_reasons={"decode: not JSON": 1},
    versions={"python": "3.11.7", "torch": None},
    cpus=2,
)
MESSAGES_OF_THREE = Messages(
    intended=np.array([1.0, 2.0, 3.0]),
    sent_at=np.array([1.0, 2.0, np.nan]),
    result_at=np.array([1.5, np.nan, np.nan]),
    dead_letter_at=np.array([np.nan, 2.5, np.nan]),
    stages_ms=np.full((3, 4), np.nan),
    batch_size=np.array([8.0, np.nan, np.nan]),
    deliveries=np.array([1, 2, 0]),
)
SERIES = {
    "job/cpu_s": Series("job/cpu_s", "s", "process"),
    "gpu/power": Series("gpu/power", "W", "NVML", unavailable="no GPU"),
}
SAMPLES = (Sample(1.0, "job/cpu_s", 0.25), Sample(2.0, "job/cpu_s", 0.5))


def a_log() -> RawLog:
    return RawLog(FACTS, MESSAGES_OF_THREE, SERIES, SAMPLES)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    a_log().write(tmp_path)
    read = RawLog.read(tmp_path)
    assert read.facts == FACTS
    assert (read.series, read.samples) == (SERIES, SAMPLES)
    np.testing.assert_array_equal(read.messages.result_at, MESSAGES_OF_THREE.result_at)
    np.testing.assert_array_equal(read.messages.deliveries, [1, 2, 0])
    at, values = read.values("job/cpu_s")
    assert (at.tolist(), values.tolist()) == ([1.0, 2.0], [0.25, 0.5])
    assert not len(read.values("gpu/power")[0])


def test_the_same_log_has_the_same_bytes(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        a_log().write(folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    a_log().write(tmp_path)
    (tmp_path / MESSAGES).unlink()
    with pytest.raises(RawLogError, match=r"messages\.npz is missing: give the folder of a run"):
        RawLog.read(tmp_path)


@pytest.mark.parametrize("damage", [b"{", b"[]", b"{}", b'{"series": [{}]}'])
def test_a_foreign_file_is_refused(tmp_path: Path, damage: bytes) -> None:
    a_log().write(tmp_path)
    (tmp_path / RUN).write_bytes(damage)
    with pytest.raises(RawLogError, match="holds no raw log of this version"):
        RawLog.read(tmp_path)


def test_arrays_of_unlike_lengths_are_refused(tmp_path: Path) -> None:
    a_log().write(tmp_path)
    arrays = dict(np.load(tmp_path / MESSAGES))
    np.savez(tmp_path / MESSAGES, **(arrays | {"deliveries": np.zeros(2, dtype=np.int64)}))
    with pytest.raises(RawLogError, match="differ in length"):
        RawLog.read(tmp_path)
