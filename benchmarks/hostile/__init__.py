"""Hostile messages, calls, answers and files beside good requests."""
