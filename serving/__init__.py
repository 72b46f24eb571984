"""The endpoint container: the HTTP server that Vertex AI runs for a custom model."""
