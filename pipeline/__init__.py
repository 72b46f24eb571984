"""The streaming job: Pub/Sub in, RunInference, results and dead letters out."""
