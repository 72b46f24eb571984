"""A GPU in one command: the CUDA tests, then stock Beam's way beside this project's, in minutes."""
