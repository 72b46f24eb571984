"""A PyTorch model: read, loaded, checked and run."""
