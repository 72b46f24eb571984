"""The job's flags and their typed values."""
