"""Requests, results and dead letters: inputs, wire format, hooks, errors."""
