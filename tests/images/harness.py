"""A process of Beam's SDK harness in the worker image, as a worker of Dataflow has several."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tests.images.buildah import environment, in_container

# What whoever starts a harness tells it, by the environment.
TOLD = (
    "CONTROL_API_SERVICE_DESCRIPTOR",
    "LOGGING_API_SERVICE_DESCRIPTOR",
    "PIPELINE_OPTIONS",
    "WORKER_ID",
)


def harness_script(container: str, script: Path, *, volumes: Sequence[str] = ()) -> Path:
    """Write the command of a `SubprocessSDKEnvironment`: it starts a harness inside a container.

    Args:
        container: Of the worker image, as `tests.images.buildah.container` gives it, one for each
            process.
        script: Where to write it.
        volumes: What the harness sees of this machine: FOLDER:FOLDER_IN_CONTAINER[:ro] each.

    Returns:
        `script`.
    """
    argv = in_container(
        container,
        *("python", "-m", "apache_beam.runners.worker.sdk_worker_main"),
        volumes=volumes,
    )
    # Each by the value that the script itself is started with.
    at = argv.index("run") + 1
    told = " ".join(f'--env={name}="${name}"' for name in TOLD)
    store = environment()
    exports = "".join(
        f"export {name}={shlex.quote(store[name])}\n"
        for name in ("CONTAINERS_STORAGE_CONF", "BUILDAH_ISOLATION")
    )
    script.write_text(f"#!/bin/sh\n{exports}exec {shlex.join(argv[:at])} {told} {shlex.join(argv[at:])}\n")
    script.chmod(0o755)
    return script
