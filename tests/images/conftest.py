"""The images of the CPU, built once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.bases import RELEASE, mirror
from tests.images.buildah import missing
from tests.images.built import build, forget_what_is_replaced
from tests.images.pip_settings import pip_settings
from tests.waiting import TIME_SCALE

_HERE = Path(__file__).parent
# The first build on a machine downloads and installs all packages.
_LIMIT_S = 1_200 * TIME_SCALE


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE) and item.get_closest_marker("image"):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(_LIMIT_S), append=False)


@pytest.fixture(scope="session")
def _store() -> Iterator[None]:
    if reason := missing():
        pytest.skip(reason)
    if mirror() is None:
        pytest.skip(f"needs Debian {RELEASE}, whose apt says where to take a base from")
    yield
    forget_what_is_replaced()


@pytest.fixture(scope="session")
def serving(_store: None) -> str:
    """Build the endpoint's container."""
    return build("cpu", "serving")


@pytest.fixture(scope="session")
def worker(_store: None) -> str:
    """Build the job's image."""
    return build("cpu", "worker")


@pytest.fixture(scope="session")
def worker_with_compiler(_store: None) -> str:
    """Build the job's image with a compiler."""
    return build("cpu", "worker", compile=True)


@pytest.fixture(scope="session")
def gpu_serving(_store: None) -> str:
    """Build the endpoint's container of Dockerfile.gpu, on torch for CPUs: CUDA's is gigabytes."""
    if not pip_settings().has_packages_of_its_own():
        pytest.skip("needs torch for CPUs among what pip finds: PyPI's brings CUDA's gigabytes")
    return build("gpu", "serving")
