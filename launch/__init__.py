"""Launching the job on Dataflow and changing it while it runs. Imports neither Beam nor torch."""
