"""docs/local-pubsub.md says what the broker does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from broker.__main__ import main
from broker.retention import MAX_RETAINED_BYTES
from broker.settings import DEFAULT_EXPIRATION_S, DEFAULT_RETENTION_S, supported_fields
from pipeline.pubsub import protos

PAGE = (Path(__file__).parents[2] / "docs/local-pubsub.md").read_text()
DAY_S = 24 * 60 * 60


def test_its_command_takes_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = re.findall(r"^python -m broker (.*)$", PAGE, re.MULTILINE)
    with pytest.raises(SystemExit) as ended:
        main([*shlex.split(command), "--help"])
    assert ended.value.code == 0
    assert "--rest-port" in capsys.readouterr().out


def test_its_bounds_are_those_of_the_code() -> None:
    assert f"{MAX_RETAINED_BYTES // 2**20} MiB for each topic and each subscription" in PAGE
    assert f"({DEFAULT_EXPIRATION_S // DAY_S} days by default" in PAGE
    assert f"({DEFAULT_RETENTION_S // DAY_S} days unless set)" in PAGE


def test_each_setting_that_does_something_is_listed() -> None:
    plain = {"name", "topic", "labels", "ack_deadline_seconds", "push_config"}
    for resource in (protos.Topic, protos.Subscription):
        for field in supported_fields(resource.DESCRIPTOR.name) - plain:
            assert f"`{field}`" in PAGE
