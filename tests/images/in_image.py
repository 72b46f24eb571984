"""Run inside an image by its Python, from stdin: loads a model, answers one row, and says what it found.

Arguments: worker or serving; the model's file; true to compile it. Prints a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys


def main() -> None:
    """Do what the process of a worker, or a server, does before its first request."""
    kind, path, compiled = sys.argv[1:]
    if kind == "worker":
        for name in ("apache_beam.runners.worker.sdk_worker_main", "pipeline.job.main", "pipeline.inference"):
            importlib.import_module(name)
    else:
        import serving

        for module in pkgutil.walk_packages(serving.__path__, "serving."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    import numpy

    from pipeline.model.compute import Compute
    from pipeline.model.load import load
    from pipeline.request.input_spec import InputSpec

    compute = Compute(compile=compiled == "true")
    model = load(path, InputSpec.parse("30"), max_batch_size=2, compute=compute)
    (answer,) = model.predict([numpy.arange(30, dtype=numpy.float32) / 30])
    cached = {
        name: module.__cached__
        for name, module in list(sys.modules.items())
        if isinstance(getattr(module, "__cached__", None), str) and str(module.__file__).endswith(".py")
    }
    found = {
        "answer": float(answer),
        "modules": len(cached),
        "without_bytecode": sorted(name for name, file in cached.items() if not os.path.exists(file)),
        "user": os.getuid(),
    }
    print(json.dumps(found))


main()
