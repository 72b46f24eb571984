"""What the Dockerfiles build on, made here: no registry of images is asked.

The base is a Debian with its own Python, in the place of `python:3.11.14-slim-bookworm`, whose Python is of
the same minor version. Of Beam's image and of the launcher's, stand-ins hold the one file that is copied
from each.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dockerfiles.dockerfile import resolved, stages, steps
from tests.images.buildah import FOLDER, buildah, exists

# Debian's release with the Python of the images.
RELEASE = "bookworm"
_PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAUNCHER = "localhost/launcher:1"
# As Beam's own does without an id.
_BOOT = "#!/bin/sh\necho 'No id provided.' >&2\nexit 1\n"
_LAUNCHER = "#!/bin/sh\nexit 0\n"


def mirror() -> str | None:
    """Return where apt takes Debian's release from on this machine; None if it does not."""
    listed = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
            f"Codename: {RELEASE}",
        ],
        capture_output=True,
        text=True,
    )
    return next(iter(listed.stdout.split()), None)


def make_bases() -> None:
    """Make the images that Dockerfile.cpu and Dockerfile.gpu take something from, unless they are there."""
    base = stages("cpu")["base"].base
    assert base == stages("gpu")["base"].base
    assert re.match(rf"python:3\.11\..*-slim-{RELEASE}", base), f"{RELEASE}'s Python is 3.11, not {base}'s"
    # A tag of its own says what it was made by.
    recipe = f"{RELEASE} {_PACKAGES} {_PATH} {inspect.getsource(_debian)}"
    made = f"localhost/base:{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if not exists(made):
        with _debian() as folder:
            _image_of(folder, made, "--env", f"PATH={_PATH}", "--cmd", "python3")
    buildah("tag", made, f"docker.io/library/{base}")
    (sdk,) = {
        found.group(1)
        for text in steps("cpu", "worker", "COPY")
        if (found := re.match(r"--from=(\S+/\S+) ", resolved("cpu", text)))
    }
    for image, path, text in (
        (f"docker.io/{sdk}", "opt/apache/beam/boot", _BOOT),
        (LAUNCHER, "opt/google/dataflow/python_template_launcher", _LAUNCHER),
    ):
        if exists(image):
            continue
        with tempfile.TemporaryDirectory(dir=FOLDER) as name:
            program = Path(name) / path
            program.parent.mkdir(parents=True)
            program.write_text(text)
            program.chmod(0o755)
            _image_of(Path(name), image)


def _image_of(folder: Path, image: str, *config: str) -> None:
    name = buildah("from", "scratch").strip()
    try:
        buildah("copy", name, str(folder), "/")
        if config:
            buildah("config", *config, name)
        buildah("commit", name, image)
    finally:
        buildah("rm", name)


@contextmanager
def _debian() -> Iterator[Path]:
    """Make a Debian in a folder, whose `python` and `pip` install into it, as those of Docker's image."""
    source = mirror()
    assert source is not None
    folder = Path(tempfile.mkdtemp(dir=FOLDER, prefix="debian-"))
    try:
        ended = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", RELEASE, folder, source],
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, f"debootstrap: {ended.stdout[-3_000:]}{ended.stderr[-3_000:]}"
        (folder / "usr/bin/python").symlink_to("python3")
        for mark in folder.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            mark.unlink()
        for package in folder.glob("var/cache/apt/archives/*.deb"):
            package.unlink()
        yield folder
    finally:
        shutil.rmtree(folder)
