"""Where modules are looked for: the user's own are found in the working folder, which never comes first.

launch.sh starts Python with -P, which keeps the working folder out of `sys.path`, so that a `pipeline.py` or
a `queue.py` of the user's is not taken for ours or for Python's. The variable PYTHONSAFEPATH would do the
same, but every Python started below would inherit it; gcloud is one, and does not find its own modules then
(https://github.com/GoogleCloudPlatform/gsutil/issues/1735).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType


def import_user_module(name: str) -> ModuleType:
    """Import a module that a flag names, such as `my_package.hooks`; the working folder is searched last.

    Without -P nothing is added: Python itself has put the working folder, or that of the script, first.

    Raises:
        ModuleNotFoundError: There is no such module.
        Exception: Whatever the module raises while it is imported.
    """
    if sys.flags.safe_path:
        folder = os.getcwd()
        if folder not in sys.path:
            sys.path.append(folder)
    return importlib.import_module(name)


def explain_hidden_module(name: str) -> str:
    """Return the end of a message: that another module hides the user's file of this name; "" if none does.

    For when the module `name` is not there, or lacks what a flag says is in it.
    """
    top, inside_package, _ = name.partition(".")
    file, folder = Path(f"{top}.py"), Path(top)
    meant = (folder, file) if inside_package else (file, folder)
    theirs = next((path for path in meant if path.exists()), None)
    spec = importlib.util.find_spec(top) if theirs else None
    if theirs is None or spec is None:
        return ""
    # A namespace package has folders only.
    places = [place for place in (spec.origin, *(spec.submodule_search_locations or ())) if place]
    if theirs.resolve() in (Path(place).resolve() for place in places):
        return ""
    return f"; the module {top} that is found is {places[0]}, not {theirs.resolve()}: give yours another name"


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours as a process, with -P if this process has it."""
    safe_path = ["-P"] if sys.flags.safe_path else []
    return [sys.executable, *safe_path, "-m", module, *arguments]
