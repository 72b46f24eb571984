"""A turn of the job: good messages by the load driver, hostile ones by a process beside it."""

from __future__ import annotations

import secrets
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import orjson

from benchmarks.harness.jobs import our_job, pubsub, running_job
from benchmarks.harness.models import MODEL
from benchmarks.harness.processes import peak_resident_mib
from benchmarks.hostile.attack import publish
from benchmarks.hostile.attacker import Attack, attacking
from benchmarks.hostile.good import RECORDS, Good
from benchmarks.hostile.measures import Turn
from benchmarks.hostile.messages import MESSAGES
from loadtest.records import read_records
from loadtest.run import run
from local.topics import Topics
from pipeline.pubsub.channels import publisher_client

FIRST = "a field nested 600 deep"
WARMUP_S = 3.0


def take_turn(good: Good, rate: float, seconds: float, every_s: float | None, folder: Path) -> Turn:
    """Run the job for some seconds at `rate` good msg/s.

    Args:
        good: What is right.
        rate: In msg/s.
        seconds: After a warm-up of 3 s.
        every_s: Between two hostile messages; None: there are none.
        folder: An empty one, for files of the job and of the driver.
    """
    with pubsub():
        topics = Topics.fresh(secrets.token_hex(4))
        topics.create()
        options = topics.run_options(rate, seconds, read_records(RECORDS), folder / "driver")
        # The process that attacks takes the dead letters. A good request that has one counts as lost.
        options = replace(options, warmup=WARMUP_S, drain_timeout=30.0, dead_letter_subscription="")
        if every_s is not None:
            # Beam estimates the size of the first element of a process, and of few after it.
            publish(publisher_client(), topics.input_topic, FIRST, MESSAGES[FIRST])
        with running_job(our_job(topics, f"--model_path={MODEL}"), folder / "job.log") as job:
            target = ("job", topics.input_topic, topics.dead_letter_subscription)
            with nullcontext(Attack()) if every_s is None else attacking(every_s, *target) as attack:
                summary = run(options)
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
