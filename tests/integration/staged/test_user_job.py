"""One job in several processes at once, with hooks and a model out of a package that is installed there."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from apache_beam.metrics import monitoring_infos
from apache_beam.metrics.metric import Lineage

from benchmarks.harness.bundles import Bundle, BundleFailedError, ProcessLostError, UserMetrics
from benchmarks.harness.sdk_harness import SdkHarnesses, run_bundles, sdk_harnesses
from tests.integration.staged.messages import Outcome, bundle, request
from tests.integration.staged.user_job import (
    FAIL,
    HOLD,
    INSTALLED,
    PACKAGE,
    UserJob,
    hooks_alone,
    python_with,
    sum_of,
    user_job,
)
from tests.waiting import wait_until

MESSAGES, IN_A_BUNDLE = 200, 8
BAD = {
    3: request("3", b"no JSON"),
    31: request("31", {"text": "one two"}),
    42: sum_of("42", FAIL, 1),
    143: sum_of("143", FAIL, 2),
    57: sum_of("57", 6, 7),
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> UserJob:
    return user_job(tmp_path_factory.mktemp("staged") / "user")


@pytest.fixture(scope="module")
def workers(job: UserJob) -> Iterator[SdkHarnesses]:
    """Start two processes. All that were not killed must end by themselves, with code 0 and no files left."""
    command = python_with(INSTALLED, temporary=job.temporary)
    with sdk_harnesses(job.stage, job.staged.worker_options, processes=2, command=command) as harnesses:
        yield harnesses
    assert list(job.temporary.iterdir()) == []


@pytest.fixture(scope="module")
def done(workers: SdkHarnesses) -> list[Bundle]:
    """Run 200 messages, a few of them bad, in bundles of 8, four of them at once in each process."""
    requests = [BAD.get(number) or sum_of(str(number), number, 0.5) for number in range(MESSAGES)]
    bundles = [
        bundle(requests[first : first + IN_A_BUNDLE]) for first in range(0, len(requests), IN_A_BUNDLE)
    ]
    return [future.result() for future in run_bundles(workers.running[:2], bundles, in_flight=4)]


def good(numbers: Sequence[int]) -> list[bytes]:
    return [sum_of(str(number), number, 0.5) for number in numbers]


def test_every_message_is_answered_once(done: list[Bundle]) -> None:
    outcome = Outcome.of(done)
    assert {id_: body["prediction"] for id_, body in outcome.results} == {
        str(number): {"sum": number + 0.5} for number in range(MESSAGES) if number not in BAD
    }
    assert {id_: letter["error_stage"] for id_, letter in outcome.dead_letters} == {
        "3": "decode",
        "31": "decode",
        "42": "inference",
        "143": "inference",
        "57": "encode",
    }
    assert len(outcome.ids) == MESSAGES
    reasons = {id_: letter["error_message"] for id_, letter in outcome.dead_letters}
    assert "the number of the beast" in reasons["42"]
    assert "13 brings bad luck" in reasons["57"]


def test_a_process_has_one_model_on_one_core(job: UserJob, workers: SdkHarnesses, done: list[Bundle]) -> None:
    for harness in workers.running[:2]:
        told = job.told(harness.pid)
        assert told["load"] == 1
        # By --worker_processes=per_cpu, the default, as many processes share the machine as it has cores.
        assert {word for word in told if word.startswith("threads")} == {"threads 1"}


def test_metrics_are_reported(done: list[Bundle]) -> None:
    metrics = sum((each.metrics() for each in done), UserMetrics())
    assert {name: count for name, count in metrics.counters.items() if count} == {
        "results": MESSAGES - len(BAD),
        "dead_letters_decode": 2,
        "dead_letters_inference": 2,
        "dead_letters_encode": 1,
    }
    sizes = [body["batch_size"] for _, body in Outcome.of(done).results]
    counted = metrics.distributions["batch_size"]
    assert (counted.count, counted.sum, counted.min, counted.max) == (
        len(sizes),
        sum(sizes),
        min(sizes),
        max(sizes),
    )
    for name in ("queue_ms", "batch_wait_ms", "inference_ms", "total_ms"):
        assert metrics.distributions[name].count == len(sizes)


def test_source_and_sinks_are_reported(done: list[Bundle]) -> None:
    assert lineage(done, Lineage.SOURCE) == {"pubsub:subscription:my-project.requests"}
    assert lineage(done, Lineage.SINK) == {
        "pubsub:topic:my-project.results",
        "pubsub:topic:my-project.dead-letters",
    }


def lineage(done: list[Bundle], name: str) -> set[str]:
    """Return the full names of the resources that bundles have reported."""
    return {
        # The last part says whether the name was cut. Where nothing was reported, there is nothing else.
        "".join(parts[:-1])
        for each in done
        for info in each.infos
        if info.labels.get(monitoring_infos.NAMESPACE_LABEL) == Lineage.LINEAGE_NAMESPACE
        and info.labels[monitoring_infos.NAME_LABEL] == name
        for parts in monitoring_infos.extract_bounded_trie_value(info).flattened()
        if len(parts) > 1
    }


def test_batches_form_across_bundles(job: UserJob, workers: SdkHarnesses, tmp_path: Path) -> None:
    harness = workers.running[0]
    held = harness.submit(bundle([sum_of("held", HOLD, 1)]))
    wait_until(lambda: job.told(harness.pid)["hold 1"])
    # The model computes one bundle, and stays with it. All others are decoded meanwhile, each in a thread.
    others = [
        harness.submit(
            bundle(
                sum_of(f"{number}-{place}", number, place / 8, touch=str(tmp_path / str(number)))
                for place in range(3)
            )
        )
        for number in range(12)
    ]
    wait_until(lambda: len(list(tmp_path.iterdir())) == len(others))
    assert not held.done()
    job.go(1)
    assert [body["batch_size"] for _, body in Outcome.of([held.result()]).results] == [1]
    results = Outcome.of(future.result() for future in others).results
    assert {id_: body["prediction"]["sum"] for id_, body in results} == {
        f"{number}-{place}": number + place / 8 for number in range(12) for place in range(3)
    }
    assert max(body["batch_size"] for _, body in results) > 3


def test_bundles_of_a_killed_process_are_answered_by_another(job: UserJob, workers: SdkHarnesses) -> None:
    other, doomed = workers.running[0], workers.start()
    bundles = [bundle(good(range(first, first + 5))) for first in range(0, 50, 5)]
    bundles[4] = bundle([*good(range(20, 24)), sum_of("24", HOLD, 2)])
    done = [future.result() for future in [doomed.submit(each) for each in bundles[:4]]]
    in_flight = [(each, doomed.submit(each)) for each in bundles[4:]]
    wait_until(lambda: job.told(doomed.pid)["hold 2"])
    doomed.kill()  # while its model computes
    job.go(2)
    lost = [each for each, future in in_flight if isinstance(future.exception(), ProcessLostError)]
    done += [future.result() for _, future in in_flight if future.exception() is None]
    assert bundles[4] in lost
    again = [future.result() for future in [other.submit(each) for each in lost]]
    outcome = Outcome.of(done + again)
    assert set(outcome.ids) == {str(number) for number in range(50)}
    assert outcome.dead_letters == []
    # What was published before the end may be there twice, and nothing else.
    twice = {id_ for id_, count in Counter(outcome.ids).items() if count > 1}
    assert twice <= set(Outcome.of(again).ids)
    assert job.told(other.pid)["hold 2"] == 1  # computed a second time


def test_a_process_ends_by_itself_right_after_a_batch(workers: SdkHarnesses) -> None:
    harness = workers.start()
    assert Outcome.of([harness.submit(bundle(good([1, 2]))).result()]).ids == ["1", "2"]
    harness.end()  # raises where the code is not 0, and where a thread keeps the process
    assert not harness.is_running
    with pytest.raises(ProcessLostError):
        harness.submit(bundle(good([3]))).result()


def test_a_worker_that_lacks_the_package_says_so(job: UserJob, tmp_path: Path) -> None:
    commands = {
        "sdk-0": python_with(),
        "sdk-1": python_with(hooks_alone(tmp_path / "installed")),
    }
    with sdk_harnesses(
        job.stage,
        job.staged.worker_options,
        processes=2,
        command=lambda variables: commands[variables["WORKER_ID"]](variables),
    ) as harnesses:
        nothing, hooks = harnesses.running
        with pytest.raises(BundleFailedError, match=f"code_hook=.*: there is no module {PACKAGE}: install"):
            nothing.submit(bundle(good([1]))).result()
        with pytest.raises(BundleFailedError, match=f"--model_class: cannot import '{PACKAGE}.model:Sum'"):
            hooks.submit(bundle(good([1]))).result()
    assert PACKAGE not in sys.modules  # this process, which has staged the job, keeps nothing of it
