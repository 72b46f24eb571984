"""Where pip takes packages from on this machine, told to the pip of an image that is built here.

Read from pip at run time. Folders and files of this machine are lent to the build, at paths of their own:
nothing of them is in the image afterwards but the empty folders that they were mounted on.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_CONFIG = "/etc/pip.conf"
_LENT = "/run/pip-of-the-host"
# Of one value, and of several with blanks between.
_SINGLE = ("index-url", "cert", "timeout", "default-timeout")
_SEVERAL = ("extra-index-url", "find-links", "trusted-host")


@dataclass
class PipSettings:
    """pip's settings, for `buildah bud`.

    Attributes:
        values: By name, with paths as the build sees them.
        volumes: What is lent: PATH:PATH_IN_BUILD:ro each.
    """

    values: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)

    def has_packages_of_its_own(self) -> bool:
        """Return whether pip looks anywhere beside its one index: then torch is taken from there, too."""
        return "find-links" in self.values or "extra-index-url" in self.values

    def write(self, file: Path) -> list[str]:
        """Write them as a file of pip's; return the flags by which a build gets it."""
        file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in self.values.items()))
        return [f"--volume={each}" for each in (*self.volumes, f"{file}:{_CONFIG}:ro")]

    def _lend(self, path: Path) -> str:
        inside = f"{_LENT}/{len(self.volumes)}"
        self.volumes.append(f"{path}:{inside}:ro")
        return inside

    def take(self, name: str, value: str) -> None:
        """Take up one setting; one that says nothing of indexes is left out."""
        if name in _SINGLE:
            path = Path(value)
            self.values[name] = self._lend(path) if path.is_absolute() and path.exists() else value
        elif name in _SEVERAL:
            self.values[name] = " ".join(self._inside(word) for word in value.split())

    def _inside(self, place: str) -> str:
        path = Path(place.removeprefix("file://"))
        if not path.is_absolute() or not path.exists():
            return place
        if not place.startswith("file://"):
            return self._lend(path)
        # An index names files beside it.
        return f"file://{self._lend(path.parent)}/{path.name}"


def pip_settings() -> PipSettings:
    """Return the settings of the pip that made this environment."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    by_name: dict[str, str] = {}
    # Later ones win: pip lists its files first, the environment after them.
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        by_name[name.rpartition(".")[2]] = ast.literal_eval(value)
    settings = PipSettings()
    for name, value in by_name.items():
        settings.take(name, value)
    return settings
