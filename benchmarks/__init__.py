"""Experiments that hold this project against stock Beam and against its own goals, a folder each."""
