"""Inference in the worker: a Beam ModelHandler over the process's one PyTorch model."""
