"""Turns of the job: good messages by the load driver, and beside it a process that makes what is hostile."""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from benchmarks.harness.jobs import our_job, pubsub, running_job
from benchmarks.harness.models import MODEL
from benchmarks.harness.processes import peak_resident_mib
from benchmarks.hostile import files
from benchmarks.hostile.attack import PREFIX, publish
from benchmarks.hostile.attacker import Attack, attacking
from benchmarks.hostile.good import RECORDS, Good
from benchmarks.hostile.measures import Load, Turn
from benchmarks.hostile.messages import MESSAGES
from loadtest.display import Display, Progress
from loadtest.driver.run import run
from loadtest.records import read_records
from local.container import Container
from local.topics import Topics
from pipeline.pubsub.channels import publisher_client

FIRST = "a field nested 600 deep"
REFRESH_S = 0.2  # between two looks of the job at its pointer


@dataclass
class Begin(Display):
    """Begins the attack, where it has not begun, once the job has answered its first request."""

    attack: Attack

    def update(self, progress: Progress) -> None:
        """Begin it if requests are sent."""
        if progress.sent:
            self.attack.begin()


def beside_messages(good: Good, load: Load, every_s: float | None, folder: Path) -> Turn:
    """Run the job under load, and publish a hostile message every `every_s` seconds, if at all.

    Args:
        good: What is right.
        load: Of good requests.
        every_s: None: there are none.
        folder: An empty one, for files of the job and of the driver.
    """
    with ExitStack() as started:
        started.enter_context(pubsub())
        topics = _topics()
        attack = Attack()
        if every_s is not None:
            # Beam estimates the size of the first element of a process, and of few after it.
            publish(publisher_client(), topics.input_topic, FIRST, MESSAGES[FIRST])
            target = ("job", topics.input_topic, topics.dead_letter_subscription)
            attack = started.enter_context(attacking(every_s, *target))
            attack.begin()
        return _turn(good, load, topics, [f"--model_path={MODEL}"], folder, attack)


def beside_files(good: Good, load: Load, every_s: float | None, folder: Path) -> Turn:
    """Run a job that follows a pointer, and point to a hostile file every `every_s` seconds, if at all."""
    root = folder / "models"
    root.mkdir()
    files.write_good(root, good)
    flags = [f"--model_pointer={root / files.POINTER}", f"--model_refresh_s={REFRESH_S}"]
    with ExitStack() as started:
        started.enter_context(pubsub())
        attack = Attack()
        if every_s is not None:
            attack = started.enter_context(attacking(every_s, "files", str(root)))
        turn = _turn(good, load, _topics(), flags, folder, attack)
    return replace(turn, ran=(root / "marker").exists())


def beside_answers(good: Good, load: Load, every_s: float | None, folder: Path) -> Turn:
    """Run a job in endpoint mode, before it a front that spoils a call every `every_s` seconds, if at all."""
    ended = threading.Event()
    flags = [f"--model_file={MODEL.name}", "--workers=1"]
    container = Container(
        str(MODEL.parent), flags, folder / "serving.log", on_failure=lambda reason: ended.set()
    )
    with ExitStack() as started:
        started.callback(container.stop)
        address = container.predict_url(ended).removeprefix("http://").removesuffix("/predict")
        started.enter_context(pubsub())
        # The front stands there in either case, so that both have its delay.
        front = attacking(math.inf if every_s is None else every_s, "answers", address)
        attack = started.enter_context(front)
        endpoint = ["--inference_mode=endpoint", f"--endpoint_url={attack.address}/predict"]
        return _turn(good, load, _topics(), endpoint, folder, attack)


def _topics() -> Topics:
    topics = Topics.fresh(secrets.token_hex(4))
    # Of results of hostile messages some have 9 MB: they are not the measuring process's to read.
    topics.create(output_filter=f'NOT hasPrefix(attributes.request_id, "{PREFIX}")')
    return topics


def _turn(good: Good, load: Load, topics: Topics, flags: Sequence[str], folder: Path, attack: Attack) -> Turn:
    options = topics.run_options(load.rate, load.seconds, read_records(RECORDS), folder / "driver")
    # A process that attacks takes the dead letters. A good request that has one counts as lost.
    options = replace(options, warmup=load.warmup_s, drain_timeout=30.0, dead_letter_subscription="")
    with running_job(our_job(topics, *flags), folder / "job.log") as job:
        summary = run(options, display=Begin(attack))
        attack.end()
        peak = peak_resident_mib(job.pid)
        ended = job.poll() is not None
    rows = [orjson.loads(line) for line in (folder / "driver" / "results.jsonl").read_bytes().splitlines()]
    first = [row for row in rows if not row["duplicate"]]
    right = [row for row in first if good.is_right(row["sequence"], row["result"]["prediction"])]
    return Turn(
        sent=summary.sent,
        answered=len(right),
        latencies_ms=[row["latency_ms"] for row in right if row["sequence"] >= summary.warmup_messages],
        peak_mib=peak,
        restarts=int(ended),
        outcomes=attack.outcomes,
    )
