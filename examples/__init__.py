"""Reference models with their training scripts and real data."""
