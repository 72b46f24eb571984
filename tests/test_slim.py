"""docker/slim.py: what it takes out of a folder of packages. tests/images shows that the rest is enough."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[1] / "docker/slim.py"
KEPT = (
    "torch/__init__.py",
    "torch/bin/torch_shm_manager",
    "torch/lib/libtorch_cpu.so",
    "torch/testing/__init__.py",
    "numpy/testing/__init__.py",
    "others/tests/fixtures.py",
    "sympy/core/add.py",
)
TAKEN_OUT = (
    "torch/_C/__init__.pyi",
    "torch/bin/HashStoreTest",
    "torch/bin/protoc-3.13.0.0",
    "torch/bin/test_api",
    "torch/lib/libjitbackend_test.so",
    "torch/test/cpp/test",
    "numpy/_core/tests/test_dtype.py",
    "numpy/_core/tests/stubs.pyi",
    "pyarrow/tests/test_array.py",
    "sympy/core/tests/test_add.py",
)
HEADERS = ("torch/include/torch/all.h", "numpy/_core/include/numpy/arrayobject.h", "pyarrow/include/api.h")


@pytest.fixture(scope="module")
def slim() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slim", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("headers", [True, False])
def test_what_is_taken_out(slim: ModuleType, tmp_path: Path, headers: bool) -> None:
    for name in (*KEPT, *TAKEN_OUT, *HEADERS):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    slim.trim(tmp_path, headers=headers)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(KEPT) | (set() if headers else set(HEADERS))
