"""A real Triton Inference Server on this machine, without Docker: installed, started, awaited, stopped."""
