"""The real gcloud against the embedded broker's REST face. A call takes seconds: one of each kind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from broker import EmbeddedBroker
from tests.waiting import LIMIT_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="there is no gcloud"),
]


class Gcloud:
    """Runs `gcloud pubsub …` with a configuration of its own."""

    def __init__(self, rest_url: str, folder: Path) -> None:
        self._environment = os.environ | {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"{rest_url}/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CONFIG": str(folder),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_PROJECT": "test",
        }

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["gcloud", "pubsub", *command.split(), "--format=json"],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def __call__(self, command: str) -> Any:
        """Return what a command prints as JSON."""
        done = self.run(command)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null")


def test_gcloud_does_its_commands(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        gcloud = Gcloud(broker.rest_url, tmp_path)
        gcloud("topics create one dead --message-retention-duration=10m")
        gcloud(
            "subscriptions create one-sub --topic=one --ack-deadline=30 --enable-message-ordering "
            "--message-filter=attributes:a --retain-acked-messages --message-retention-duration=1d "
            "--expiration-period=never --dead-letter-topic=dead --max-delivery-attempts=7"
        )
        (published,) = gcloud("topics publish one --message=hello --attribute=a=b --ordering-key=k")[
            "messageIds"
        ]
        (received,) = gcloud("subscriptions pull one-sub")
        assert (received["message"]["messageId"], received["deliveryAttempt"]) == (published, 1)
        gcloud(f"subscriptions ack one-sub --ack-ids={received['ackId']}")
        assert broker.stats("projects/test/subscriptions/one-sub").acknowledged == 1
        gcloud("subscriptions seek one-sub --time=2020-01-01T00:00:00Z")
        (again,) = gcloud("subscriptions pull one-sub --auto-ack")
        assert again["message"]["messageId"] == published
        gcloud("subscriptions update one-sub --clear-dead-letter-policy --update-labels=x=y")
        found = gcloud("subscriptions describe one-sub")
        assert found == {
            "ackDeadlineSeconds": 30,
            "enableMessageOrdering": True,
            "expirationPolicy": {},
            "filter": "attributes:a",
            "labels": {"x": "y"},
            "messageRetentionDuration": "86400s",
            "name": "projects/test/subscriptions/one-sub",
            "pushConfig": {},
            "retainAckedMessages": True,
            "state": "ACTIVE",
            "topic": "projects/test/topics/one",
            "topicMessageRetentionDuration": "600s",
        }
        gcloud("topics update one --message-retention-duration=20m")
        assert [topic["name"].rpartition("/")[2] for topic in gcloud("topics list")] == ["dead", "one"]
        gcloud("subscriptions delete one-sub")
        gcloud("topics delete one dead")
        assert gcloud("subscriptions list") == []


def test_gcloud_shows_why_it_was_refused(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        done = Gcloud(broker.rest_url, tmp_path).run("topics describe missing")
        assert done.returncode == 1
        assert "topic 'projects/test/topics/missing' does not exist" in done.stderr
