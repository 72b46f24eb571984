"""The flags of NVIDIA's tritonserver, as a deployment passes them on.

Sources: command_line_parser.cc and vertex_ai_server.cc of https://github.com/triton-inference-server/server.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

# Flags in whose place Triton reads what Vertex AI sets (AIP_*), each with what says it here.
_BY_THE_SERVICE: Mapping[str, str] = {
    "--model-repository": "the models are those of --model-uri",
    "--model-store": "the models are those of --model-uri",
    "--allow-vertex-ai": "it is on, as the image is started by Vertex AI",
    "--vertex-ai-port": "the port is that of the deployment",
}


def parse(text: str) -> list[str]:
    """Return the words of `--name=value --name value`, quoted as for a shell, each with its value.

    Raises:
        ValueError: A quote is not closed, a word is no flag, or is for the service to set.
    """
    found: list[str] = []
    words = shlex.split(text)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        if not re.fullmatch(r"--[a-z][a-z0-9\-]*", flag):
            raise ValueError(f"{flag!r} is not a flag of Triton: they are written --name=value")
        if not equals:
            if not words or words[0].startswith("--"):
                raise ValueError(f"{flag}: needs a value, as in {flag}=VALUE")
            value = words.pop(0)
        if flag in _BY_THE_SERVICE:
            raise ValueError(f"{flag}: {_BY_THE_SERVICE[flag]}: leave it out")
        # The same flag may come again: --backend-config is given once for each setting.
        found.append(f"{flag}={value}")
    return found
