"""The calls of a load as a raw log: a message for each call."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from loadtest.endpoint.caller import Target
from loadtest.endpoint.calls import Calls, by_failure
from loadtest.raw_log import REPORTED, RUN, Messages, RawLog, RunFacts
from loadtest.run_folder import make_private
from loadtest.versions import versions

LOADS = "loads"
"""The folder, in that of a run, with a folder for each load."""


def raw_log(calls: Calls, *, run: str, target: Target, schedule: str, seed: int) -> RawLog:
    """Return the raw log of a load.

    A call that was not served has no result, so that it counts as missing, never as answered; how many failed
    and why is in `system`. `sent_at` holds the wait for a connection, which is in the schedule error of an
    analysis, too.

    Args:
        calls: Of the load.
        run: Its id.
        target: That was called.
        schedule: As the flags say it.
        seed: Of the arrivals.
    """
    served = calls.served
    stages = np.full((len(calls), len(REPORTED)), np.nan)
    stages[:, REPORTED.index("inference")] = calls.service_s * 1e3
    stages[:, REPORTED.index("server")] = np.where(served, calls.server_ms, np.nan)
    failures = ", ".join(f"{count:,} x {failure}" for failure, count in by_failure(calls).items())
    facts = RunFacts(
        run=run,
        system={
            "kind": "endpoint",
            "url": target.address.url,
            "protocol": target.protocol,
            "rows a call": str(calls.rows),
            "connections": str(calls.connections),
            "failures": failures or "none",
        },
        schedule=schedule,
        arrivals_seed=seed,
        payloads_seed=None,
        started=calls.start,
        duration=calls.duration,
        warmup=calls.warmup,
        ended_at=calls.ended,
        partial=calls.partial or None,
        drivers=1,
        publish_calls=int((~np.isnan(calls.sent_at)).sum()),
        publish_errors=0,
        foreign=0,
        unreadable_results=0,
        unacknowledged=0,
        dead_letter_reasons={},
        versions=versions(),
        cpus=len(os.sched_getaffinity(0)),
    )
    messages = Messages(
        intended=calls.intended,
        sent_at=calls.sent_at,
        result_at=np.where(served, calls.ended_at, np.nan),
        dead_letter_at=np.full(len(calls), np.nan),
        stages_ms=stages,
        batch_size=np.where(served, float(calls.rows), np.nan),
        deliveries=served.astype(np.int64),
    )
    return RawLog(facts, messages)


def remove_raw_logs(folder: Path) -> None:
    """Remove the raw logs of an earlier run, each a folder; whatever else is there stays."""
    for earlier in folder.glob(f"*/{RUN}"):
        shutil.rmtree(earlier.parent)


def write_raw_log(folder: Path, log: RawLog) -> None:
    """Write a raw log into a folder, which is made.

    Raises:
        FolderError: It cannot be made.
    """
    make_private(folder.parent)
    make_private(folder)
    log.write(folder)
