"""The job's flags and their typed values. Imports neither Beam nor torch."""
