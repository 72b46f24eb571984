"""What a message costs in a Dataflow worker's SDK process: this job, stock Beam, and the floor."""
