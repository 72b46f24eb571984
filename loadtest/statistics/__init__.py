"""The statistics of a run: arrays in, figures out; nothing is read or written."""
