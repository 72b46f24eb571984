"""The job as DataflowRunner stages it, run by real SDK harness processes, as Dataflow's workers have them."""
