"""`./launch.sh smoke`: nothing of it stays, whatever fails."""

from __future__ import annotations

import pytest

from launch.cloud.shell import CommandError
from launch.commands import smoke
from tests.launch.smoke.conftest import CREATED, DELETED, JOB, Cloud


@pytest.mark.parametrize(
    ("refused", "done", "said"),
    [
        ("auth", ["auth"], "gcloud auth application-default print-access-token: PERMISSION_DENIED"),
        (
            "subscriptions",
            ["auth", CREATED[0], CREATED[1], DELETED[-1]],
            "gcloud pubsub subscriptions create",
        ),
        ("run", ["auth", *CREATED, "flex-template run", *DELETED], "gcloud dataflow flex-template run"),
    ],
)
def test_what_was_made_goes_where_a_step_is_refused(
    cloud: Cloud, refused: str, done: list[str], said: str
) -> None:
    cloud.refuse(refused)
    with pytest.raises(CommandError, match=f"^{said}"):
        cloud.run()
    assert cloud.steps() == done


LAUNCHED = ["auth", *CREATED, "flex-template run", "jobs describe"]


@pytest.mark.parametrize(
    ("states", "steps", "said"),
    [
        ("FAILED", LAUNCHED, f"^the job {JOB} became JOB_STATE_FAILED, not JOB_STATE_RUNNING"),
        (
            "RUNNING CANCELLED",
            [*LAUNCHED, "driver", "jobs drain", "jobs describe"],
            "became JOB_STATE_CANCELLED, not JOB_STATE_DRAINED",
        ),
    ],
)
def test_a_job_that_has_ended_is_not_cancelled(
    cloud: Cloud, states: str, steps: list[str], said: str
) -> None:
    cloud.states(states)
    with pytest.raises(CommandError, match=said):
        cloud.run()
    assert cloud.steps() == [*steps, *DELETED]


def test_the_job_is_cancelled_where_results_are_missing(cloud: Cloud) -> None:
    cloud.states("RUNNING")
    cloud.answers(99, 1)
    cloud.complain("lost 1 of 100 requests")
    with pytest.raises(CommandError, match="^99 results for 100 of 100 records, and 1 dead letters: see "):
        cloud.run()
    assert cloud.steps() == [*LAUNCHED, "driver", "jobs cancel", *DELETED]


def test_waiting_ends(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "STATE_WAIT_S", -1.0)
    cloud.states("PENDING")
    with pytest.raises(CommandError, match=f"^the job {JOB} is JOB_STATE_PENDING after"):
        cloud.run()
    assert cloud.steps() == [*LAUNCHED, "jobs cancel", *DELETED]


def test_an_interrupt_leaves_nothing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(smoke, "_send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cloud.run()
    assert cloud.steps() == [*LAUNCHED, "jobs describe", "jobs cancel", *DELETED]


def test_what_cannot_be_deleted_is_told_and_the_rest_goes(cloud: Cloud) -> None:
    cloud.refuse("delete")
    with pytest.raises(
        CommandError, match="^100 of 100 results, but this stays: smoke-.*-dead-letters"
    ) as caught:
        cloud.run()
    assert str(caught.value).count("PERMISSION_DENIED") == 6
    assert cloud.steps()[-6:] == DELETED


def test_a_driver_that_fails_is_told(cloud: Cloud) -> None:
    (cloud.folder / "driver.py").write_text("import sys\nsys.exit('no answer to the probe')\n")
    with pytest.raises(CommandError, match="^sending the records failed: .*no answer to the probe"):
        cloud.run()
    assert cloud.steps()[-7:] == ["jobs cancel", *DELETED]
