"""Makes the packages of an image small, in the step that installs them.

What nothing runs there is taken out, and Python's bytecode is kept for what is imported only: packages are
installed without (`pip --no-compile`), and Python writes it for each module that it imports here. In a
later step it would be too late: each new worker pulls what an earlier layer of the image holds all the
same. Metadata stays, so that `pip check` sees every package.
"""

from __future__ import annotations

import argparse
import importlib
import io
import shutil
import sysconfig
from collections.abc import Iterable
from pathlib import Path

# Of torch 2.13: the programs that test it in C++ (83 and 37 MB), and protoc, which its own build needs (12
# MB).
_TORCH = (
    "torch/test",
    "torch/bin/test_*",
    "torch/bin/*Test",
    "torch/bin/protoc*",
    "torch/bin/upgrader_models",
    "torch/bin/*.ptl",
    "torch/lib/*_test.so",
)
# For whoever compiles against a package, as --compile=true does against torch (62 MB).
_HEADERS = ("torch/include", "torch/share/cmake", "numpy/_core/include", "pyarrow/include")
# Types for whoever writes code.
_STUBS = ("numpy/**/*.pyi", "torch/**/*.pyi")
# Packages' own tests in Python: of these packages only, as others import what lies in a folder of that name.
_TESTS = ("google/genai/tests", "networkx/**/tests", "numpy/**/tests", "pyarrow/tests", "sympy/**/tests")


def unused(site: Path, *, headers: bool) -> list[Path]:
    """Return the files and folders to take out.

    Args:
        site: The folder that packages are installed in.
        headers: Whether headers are among them.
    """
    patterns = (*_TORCH, *_TESTS, *_STUBS, *(_HEADERS if headers else ()))
    found = {path for pattern in patterns for path in site.glob(pattern)}
    # Not what lies in a folder that goes as a whole.
    return sorted(path for path in found if found.isdisjoint(path.parents))


def trim(site: Path, *, headers: bool) -> None:
    """Take out what nothing runs; the arguments are those of `unused`."""
    for path in unused(site, headers=headers):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def use(modules: Iterable[str]) -> None:
    """Import modules, and load a model as the processes do: 1,200 more are imported only then."""
    import torch

    for name in (*modules, "numpy.typing", "torch.export.passes"):
        importlib.import_module(name)
    rows = {0: torch.export.Dim("rows")}
    file = io.BytesIO()
    exported = torch.export.export(torch.nn.Linear(2, 1), (torch.ones(3, 2),), dynamic_shapes=(rows,))
    torch.export.save(exported, file)
    file.seek(0)
    torch.export.load(file).module()(torch.ones(1, 2))


def main() -> None:
    """Make the packages of this Python small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", choices=("true", "false"), required=True, help="true: headers stay")
    parser.add_argument("modules", nargs="*", help="what the image's processes import")
    arguments = parser.parse_args()
    trim(Path(sysconfig.get_path("purelib")), headers=arguments.compile == "false")
    use(arguments.modules)


if __name__ == "__main__":
    main()
