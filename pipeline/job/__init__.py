"""The job on one screen: command line, graph, steps, and how it is run."""
