"""A PyTorch model: read, loaded, checked and run. Imports no Beam."""
