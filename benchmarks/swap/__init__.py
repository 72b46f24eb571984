"""The latency of a live job while its model is swapped."""
