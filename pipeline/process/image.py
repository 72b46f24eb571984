"""What the image that this process runs in says of itself."""

from __future__ import annotations

import os

# Set by the Dockerfiles: true or false, as the build argument COMPILE.
HAS_COMPILER = "IMAGE_HAS_COMPILER"


def compiler_left_out() -> bool:
    """Return whether this is an image of ours that was built without a C++ compiler.

    The template launcher runs in the workers' image, so that a launch knows what they would find.
    """
    return os.environ.get(HAS_COMPILER) == "false"
