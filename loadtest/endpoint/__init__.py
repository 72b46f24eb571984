"""Load straight at an endpoint or container, without the pipeline: what it takes, how fast, until where."""
