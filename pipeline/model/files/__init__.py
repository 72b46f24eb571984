"""Model files: checked as data, read as modules."""
