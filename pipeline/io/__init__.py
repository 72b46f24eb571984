"""Sources and sinks: Pub/Sub in and out, and results as rows of BigQuery. `connectors` chooses by runner."""
