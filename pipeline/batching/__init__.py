"""Batches across bundles: requests of many threads meet in one forward pass."""
