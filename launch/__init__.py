"""Launch the job on Dataflow and change it while it runs. Starts without Beam and torch."""
