from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from loadtest import auc
from loadtest.display import Display, Progress
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import request_message
from loadtest.driver.run import LEAD_S, run
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.raw_log import RawLog, Sample, Series
from loadtest.records import read_records
from loadtest.run_folder import RESULTS
from loadtest.schedule.shapes import Schedule
from pipeline.pubsub.protos import PublishRequest
from tests.loadtest.conftest import (
    DEAD_LETTER_TOPIC,
    INPUT,
    INPUT_TOPIC,
    OUTPUT,
    OUTPUT_TOPIC,
    Hub,
)
from tests.loadtest.echo import Answer, dead_letter_message, echo, result_message
from tests.waiting import LIMIT_S, TIME_SCALE, wait_until


class Recorder(Display):
    """Keeps the progress it is shown, and may react to it."""

    def __init__(self, react: Callable[[Progress], object] = lambda progress: None) -> None:
        self.shown: list[Progress] = []
        self._react = react

    def update(self, progress: Progress) -> None:
        self.shown.append(progress)
        self._react(progress)


@pytest.fixture
def options(input_file: Path, tmp_path: Path) -> RunOptions:
    return RunOptions(
        project="project",
        input_topic="requests",
        output_subscription="results",
        dead_letter_subscription="dead-letters",
        rate=400,
        duration=0.5,
        input=read_records(input_file),
        out=tmp_path / "out",
        drain_timeout=LIMIT_S,
        ready_timeout=LIMIT_S,
    )


def sequence(message: Any) -> int | None:
    text = message.attributes["request_id"].split("-")[1]
    return None if text == "probe" else int(text)


def to_results(message: Any) -> list[Answer]:
    return [(OUTPUT_TOPIC, result_message(message))]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_request_is_accounted_for(
    hub: Hub, options: RunOptions, input_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auc, "EXAMPLE", input_file)
    recorder = Recorder()
    with echo(hub.calls, INPUT, to_results):
        summary = run(options, display=recorder)
    assert (summary.sent, summary.received, summary.duplicates, summary.lost) == (200, 200, 0, 0)
    assert (summary.dead_lettered, summary.publish_errors, summary.foreign, summary.censored) == (0, 0, 0, 0)
    assert summary.failures() == []
    labels, features = [0] * 4 + [1] * 4, [0.1, 0.2, 0.3, 0.6, 0.5, 0.7, 0.8, 0.9]
    assert summary.auc == pytest.approx(roc_auc_score(labels, features), abs=1e-12)
    assert summary.auc_note is None
    written = lines(options.out / "results.jsonl")
    assert sorted(line["sequence"] for line in written) == list(range(200))
    for line in written:
        assert line["result"]["passthrough"]["record_id"] == line["sequence"] % 8
    latencies = [line["latency_ms"] for line in written]
    assert summary.latency_ms["p50"] == pytest.approx(np.percentile(latencies, 50))
    assert summary.latency_ms["max"] == pytest.approx(max(latencies))
    assert summary.stages_ms["queue"]["p50"] == 0.25
    assert (options.out / "dead_letters.jsonl").read_text() == ""
    assert json.loads((options.out / "summary.json").read_text()) == dataclasses.asdict(summary)
    assert hub.unacknowledged(OUTPUT) == 0
    last = recorder.shown[-1]
    assert (last.phase, last.sent, last.received, last.outstanding) == ("draining", 200, 200, 0)


def test_sources_of_the_system_are_opened_and_sampled_beside_the_processes(
    hub: Hub, options: RunOptions
) -> None:
    class Gpu:
        open = False

        def sample(self, at: float) -> list[Sample]:
            assert self.open
            return [Sample(at, "gpu/0/utilization", 0.5)]

        def series(self) -> list[Series]:
            return [Series("gpu/0/utilization", "1", "NVML", "partly not available: 1 of 9 readings failed")]

    gpu = Gpu()

    @contextmanager
    def sources() -> Iterator[list[Gpu]]:
        gpu.open = True
        yield [gpu]
        gpu.open = False

    with echo(hub.calls, INPUT, to_results):
        run(options, system=System(sources=sources))
    log = RawLog.read(options.out)
    assert set(log.values("gpu/0/utilization")[1]) == {0.5}
    assert log.series["gpu/0/utilization"].unavailable.startswith("partly not available: ")
    assert len(log.values("driver/cpu_s")[0])
    assert [sample.at for sample in log.samples] == sorted(sample.at for sample in log.samples)
    assert not gpu.open


def test_the_schedule_is_the_one_asked_for(hub: Hub, options: RunOptions) -> None:
    arrived: dict[int, float] = {}

    def note(message: Any) -> list[Answer]:
        number = sequence(message)
        if number is not None:
            arrived[number] = float(message.attributes["intended_time"])
        return to_results(message)

    with echo(hub.calls, INPUT, note):
        summary = run(dataclasses.replace(options, schedule="poisson", seed=5))
    offsets = Schedule("poisson", 400, 0.5, seed=5).offsets()
    assert summary.sent == len(offsets)
    gaps = np.diff([arrived[number] for number in range(len(offsets))])
    np.testing.assert_allclose(gaps, np.diff(offsets), rtol=0, atol=2e-6)


def test_dead_letters_losses_and_double_answers(hub: Hub, options: RunOptions) -> None:
    def answering(message: Any) -> list[Answer]:
        match sequence(message):
            case 3:
                return []
            case 5:
                return [(DEAD_LETTER_TOPIC, dead_letter_message(message))]
            case 7:
                return [*to_results(message), (DEAD_LETTER_TOPIC, dead_letter_message(message))]
            case 9:
                return to_results(message) * 3
            case _:
                return to_results(message)

    with echo(hub.calls, INPUT, answering):
        summary = run(dataclasses.replace(options, drain_timeout=2 * TIME_SCALE))
    assert (summary.sent, summary.lost, summary.censored) == (200, 1, 1)
    assert (summary.received, summary.dead_lettered, summary.answered_both) == (198, 2, 1)
    assert summary.duplicates == 3
    assert len(summary.failures()) == 1
    assert "lost 1 of 200" in summary.failures()[0]
    dead = {line["sequence"]: line for line in lines(options.out / "dead_letters.jsonl")}
    assert set(dead) == {5, 7}
    assert json.loads(dead[5]["data"])["record_id"] == 5
    assert dead[5]["attributes"]["error_stage"] == "decode"
    assert sum(reason.count for reason in summary.dead_letter_reasons) == 2
    assert len(lines(options.out / "results.jsonl")) == 200


def test_warm_up_messages_are_sent_and_left_out(hub: Hub, options: RunOptions) -> None:
    with echo(hub.calls, INPUT, to_results):
        summary = run(dataclasses.replace(options, warmup=0.25, duration=0.25))
    assert (summary.sent, summary.received, summary.warmup_messages) == (200, 200, 100)
    assert summary.offered_rate == pytest.approx(400, abs=2)


def test_faults_on_the_way_lose_nothing(hub: Hub, options: RunOptions) -> None:
    """Streams break, publishing fails, deliveries double: all in mid-run, all overcome and counted."""
    struck = threading.Event()

    def strike(progress: Progress) -> None:
        if progress.received > 20 and not struck.is_set():
            struck.set()
            hub.broker.faults.drop_streams()
            hub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=2)
            hub.broker.faults.fail("Acknowledge", grpc.StatusCode.UNAVAILABLE, times=1)

    # Before the run, of which the probe takes three at most: later on, all may have been delivered already.
    hub.broker.faults.duplicate(times=8)
    recorder = Recorder(strike)
    with echo(hub.calls, INPUT, to_results):
        summary = run(options, display=recorder)
    assert struck.is_set()
    assert (summary.sent, summary.received, summary.lost, summary.publish_errors) == (200, 200, 0, 0)
    assert summary.duplicates >= 5


def test_another_runs_results_are_left_alone(hub: Hub, options: RunOptions) -> None:
    with echo(hub.calls, INPUT, to_results):
        first = run(dataclasses.replace(options, rate=40))
        hub.broker.faults.clear()
        late = result_message(_request(f"{first.run}-0"))
        hub.calls.publish(PublishRequest(topic=OUTPUT_TOPIC, messages=[late]), timeout=LIMIT_S)
        second = run(options)
    assert (second.received, second.foreign, second.lost) == (200, 1, 0)
    assert hub.unacknowledged(OUTPUT) == 1
    assert first.run != second.run


def _request(request_id: str) -> Any:
    return request_message(b'{"features": [1]}', request_id, 0, 0)


def test_stopping_early_still_gives_the_figures(hub: Hub, options: RunOptions) -> None:
    stop = Stop()

    def stop_soon(progress: Progress) -> None:
        if progress.received > 20:
            stop.end("interrupted (SIGINT)")
            stop.end("later")

    with echo(hub.calls, INPUT, to_results):
        summary = run(dataclasses.replace(options, duration=3600), display=Recorder(stop_soon), stop=stop)
    assert 20 < summary.sent < 3600 * 400
    assert summary.received == summary.sent
    assert summary.lost == 0
    assert summary.failures() == [f"interrupted (SIGINT) after {summary.sent:,} of 1,440,000 messages"]
    assert summary.offered_rate == pytest.approx(400, rel=0.2)
    assert json.loads((options.out / "summary.json").read_text())["error"] == summary.error


def test_stopped_while_waiting_for_the_job(hub: Hub, options: RunOptions) -> None:
    stop = Stop()

    def stop_now(progress: Progress) -> None:
        stop.end("the job was killed (SIGKILL)")

    summary = run(options, display=Recorder(stop_now), stop=stop)
    assert (summary.sent, summary.offered_rate) == (0, None)
    assert summary.failures() == ["the job was killed (SIGKILL) before the first message was sent"]
    assert list(options.out.iterdir()) == []


def test_a_run_that_does_not_begin_leaves_earlier_results_alone(hub: Hub, options: RunOptions) -> None:
    with echo(hub.calls, INPUT, to_results):
        run(dataclasses.replace(options, duration=0.1))
    earlier = {path.name: path.read_bytes() for path in options.out.iterdir()}
    assert earlier.keys() == {
        "results.jsonl", "dead_letters.jsonl", "summary.json", "run.json", "messages.npz", "samples.jsonl",
    }  # fmt: skip
    with pytest.raises(RunError, match="no answer to a first request"):
        run(dataclasses.replace(options, ready_timeout=0.2))
    assert {path.name: path.read_bytes() for path in options.out.iterdir()} == earlier
    with echo(hub.calls, INPUT, to_results):
        later = run(dataclasses.replace(options, duration=0.1))
    assert json.loads((options.out / "summary.json").read_text())["run"] == later.run
    assert (options.out / "results.jsonl").read_bytes() != earlier["results.jsonl"]


def test_a_silent_job_is_named_before_the_schedule_starts(hub: Hub, options: RunOptions) -> None:
    with pytest.raises(RunError, match=r"no answer to a first request within 0\.2 s") as caught:
        run(dataclasses.replace(options, ready_timeout=0.2))
    assert OUTPUT in str(caught.value)
    assert INPUT_TOPIC in str(caught.value)
    assert hub.unacknowledged(INPUT) == 1  # the probe alone


def test_where_nothing_listens_it_is_said_at_once_and_as_an_error(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # and never listens
        address = f"127.0.0.1:{unheard.getsockname()[1]}"
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        seen = Recorder()
        with pytest.raises(RunError, match=r"cannot publish to --input_topic .* within 0\.2 s") as caught:
            run(dataclasses.replace(options, ready_timeout=0.2), display=seen)
    assert f"that Pub/Sub at {address} (PUBSUB_EMULATOR_HOST) is reachable" in str(caught.value)
    first = seen.shown[0]
    assert (first.phase, first.note) == ("waiting for Pub/Sub", "")
    assert first.waits_for.startswith(f"waiting for Pub/Sub at {address} (PUBSUB_EMULATOR_HOST)")
    assert first.left is not None
    assert 0 < first.left <= 0.2
    assert "UNAVAILABLE" in seen.shown[-1].note


def test_the_time_that_is_left_is_shown(hub: Hub, options: RunOptions) -> None:
    seen = Recorder()
    with echo(hub.calls, INPUT, to_results):
        run(dataclasses.replace(options, duration=1.0), display=seen)
    waiting = [each for each in seen.shown if each.phase == "waiting for the job"]
    assert all(OUTPUT in each.waits_for for each in waiting)
    sending = [each.left for each in seen.shown if each.phase == "sending"]
    assert None not in sending
    assert sending == sorted(sending, reverse=True)  # type: ignore[type-var]
    assert sending[0] is not None
    assert sending[0] <= options.warmup + 1.0 + LEAD_S
    draining = [each.left for each in seen.shown if each.phase == "draining"]
    assert draining[0] is not None
    assert draining[0] <= options.drain_timeout + LEAD_S


def test_the_probe_may_end_as_a_dead_letter(hub: Hub, options: RunOptions) -> None:
    with echo(hub.calls, INPUT, lambda message: [(DEAD_LETTER_TOPIC, dead_letter_message(message))]):
        summary = run(options)
    assert (summary.received, summary.dead_lettered, summary.lost) == (0, 200, 0)
    (reason,) = summary.dead_letter_reasons
    assert (reason.stage, reason.count) == ("decode", 200)
    assert summary.failures() == ["no request has a result: those that were answered are dead letters"]
    assert (summary.auc, summary.auc_note) == (None, None)  # the labels are not the example's


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"input_topic": "missing"},
            "cannot publish to --input_topic projects/project/topics/missing: NOT_FOUND",
        ),
        (
            {"output_subscription": "missing"},
            "cannot collect answers from projects/project/subscriptions/missing: NOT_FOUND",
        ),
    ],
)
def test_a_missing_topic_or_subscription_is_named(
    hub: Hub, options: RunOptions, change: dict[str, str], text: str
) -> None:
    with pytest.raises(RunError) as caught:
        run(dataclasses.replace(options, **change))  # type: ignore[arg-type]
    assert str(caught.value).startswith(text)


def test_a_subscription_that_disappears_ends_the_run_with_its_figures(hub: Hub, options: RunOptions) -> None:
    def remove(progress: Progress) -> None:
        if progress.received > 20:
            hub.broker.faults.fail("StreamingPull", grpc.StatusCode.NOT_FOUND, times=5, message="gone")
            hub.broker.faults.drop_streams()

    with echo(hub.calls, INPUT, to_results):
        summary = run(dataclasses.replace(options, duration=3600), display=Recorder(remove))
    assert "NOT_FOUND: gone" in (summary.error or "")
    assert summary.sent > 20


def test_no_thread_outlives_a_run(hub: Hub, options: RunOptions) -> None:
    names = ("sampler", "stream result", "stream dead_letter", "collector", "acknowledger")
    with echo(hub.calls, INPUT, to_results):
        run(dataclasses.replace(options, duration=0.1))
    wait_until(lambda: not [t for t in threading.enumerate() if t.name in names])


def test_the_raw_log_has_each_message_and_what_processes_used(hub: Hub, options: RunOptions) -> None:
    def answering(message: Any) -> list[Answer]:
        match sequence(message):
            case 5:
                return [(DEAD_LETTER_TOPIC, dead_letter_message(message))]
            case 9:
                return to_results(message) * 3
            case _:
                return to_results(message)

    with subprocess.Popen(["sleep", "600"]) as job, echo(hub.calls, INPUT, answering):
        system = System({"kind": "echo"}, lambda: {"job": job.pid})
        summary = run(
            dataclasses.replace(options, schedule="poisson", seed=3, payload_seed=7, drivers=2), system=system
        )
        job.kill()
    log = RawLog.read(options.out)
    facts, messages = log.facts, log.messages
    assert (facts.run, facts.partial, facts.drivers) == (summary.run, None, 2)
    assert (facts.schedule, facts.arrivals_seed, facts.payloads_seed) == ("poisson --rate=400", 3, 7)
    assert facts.system == {"kind": "echo", "input_topic": INPUT_TOPIC, "output_subscription": OUTPUT}
    assert (facts.duration, facts.warmup, facts.dead_letter_reasons) == (0.5, 0, {"decode: ": 1})
    assert 0 < facts.publish_calls <= len(messages) == summary.sent
    offsets = Schedule("poisson", 400, 0.5, seed=3).offsets()
    np.testing.assert_allclose(messages.intended - facts.started, offsets, rtol=0, atol=1e-6)
    assert (messages.sent_at >= messages.intended).all()
    answered_at = np.fmin(messages.result_at, messages.dead_letter_at)
    assert (answered_at >= messages.intended).all()
    assert messages.deliveries.sum() == len(messages) + summary.duplicates == len(messages) + 2
    assert np.isnan(messages.result_at).nonzero()[0].tolist() == [5]
    assert np.isnan(messages.stages_ms[:, 0]).nonzero()[0].tolist() == [5]
    results = lines(options.out / RESULTS)
    sent = {line["sequence"]: line["result"]["passthrough"]["record_id"] for line in results}
    assert [sent[k] for k in range(4)] == options.input.shuffled(7).ids[:4]
    for name in ("driver", "sender-1", "sender-2", "job"):
        times, cpu_s = log.values(f"{name}/cpu_s")
        assert len(times) >= 2
        assert (np.diff(cpu_s) >= 0).all()
        assert (log.values(f"{name}/rss_bytes")[1] > 0).all()


def test_a_run_that_is_stopped_leaves_a_partial_raw_log(hub: Hub, options: RunOptions) -> None:
    stop = Stop()

    def stop_soon(progress: Progress) -> None:
        if progress.received > 20:
            stop.end("interrupted (SIGINT)")

    with echo(hub.calls, INPUT, to_results):
        summary = run(dataclasses.replace(options, duration=60), display=Recorder(stop_soon), stop=stop)
    log = RawLog.read(options.out)
    assert (log.facts.partial, len(log.messages)) == (summary.error, 24_000)
    assert int((~np.isnan(log.messages.sent_at)).sum()) == summary.sent
    assert int((~np.isnan(log.messages.result_at)).sum()) == summary.received


@pytest.mark.slow
def test_a_sender_that_is_killed_ends_the_run_with_its_figures(hub: Hub, options: RunOptions) -> None:
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.received > 20 and not killed:
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and is_sender(process):
                    killed.append(int(process.name))
                    os.kill(killed[-1], signal.SIGKILL)
                    break

    with echo(hub.calls, INPUT, to_results):
        summary = run(dataclasses.replace(options, duration=3600, drivers=2), display=Recorder(kill))
    assert (summary.error or "").startswith("a sending process was killed (SIGKILL) after ")
    assert summary.sent > 20
    assert summary.lost <= summary.publish_errors  # what was in flight may have arrived
    assert not any(is_sender(Path(f"/proc/{pid}")) for pid in children())


def is_sender(process: Path) -> bool:
    """Whether it is a sender that this process has started."""
    try:
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        return parent == os.getpid() and b"loadtest.driver.sending" in (process / "cmdline").read_bytes()
    except FileNotFoundError:
        return False


def children() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def test_a_broker_that_goes_away_for_good_leaves_an_account(hub: Hub, options: RunOptions) -> None:
    """Its messages are tried again until the run gives up; none is forgotten."""

    def fail(progress: Progress) -> None:
        if progress.received > 20:
            hub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=1_000_000, message="away")

    with echo(hub.calls, INPUT, to_results):
        summary = run(dataclasses.replace(options, drain_timeout=1), display=Recorder(fail))
    assert summary.sent == 200
    assert summary.received < 200
    assert summary.lost == 200 - summary.received
    # The echo cannot publish either: some were lost on the way back.
    assert 0 < summary.publish_errors <= summary.lost
    assert summary.last_publish_error == "UNAVAILABLE: away"
