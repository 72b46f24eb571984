"""What the tests of the command lines share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

UsageError = Callable[..., str]


@pytest.fixture
def usage_error(capsys: pytest.CaptureFixture[str]) -> UsageError:
    """Return a function that gives `parse` wrong flags, and returns the error that it ends with."""

    def run(parse: Callable[[list[str]], object], *flags: str) -> str:
        with pytest.raises(SystemExit) as ended:
            parse(list(flags))
        assert ended.value.code == 2
        # Not the usage before it, which names every flag.
        return capsys.readouterr().err.partition(" error: ")[2]

    return run
