"""Inference by a Vertex AI endpoint, or by any server that speaks its protocol."""
