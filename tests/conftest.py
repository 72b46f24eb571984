"""What holds for every test: its time limit, and which tests `./launch.sh test --fast` leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.waiting import TEST_LIMIT_S

_INTEGRATION = Path(__file__).parent / "integration"

# A busy machine must not fail a test that is right.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.hookimpl(tryfirst=True)  # before -m selects by mark
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Limit each test's time, unless --timeout does, and mark the integration tests as slow."""
    for item in items:
        if config.getoption("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_LIMIT_S))
        if item.path.is_relative_to(_INTEGRATION):
            item.add_marker(pytest.mark.slow)
