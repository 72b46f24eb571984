"""The search for the highest rate that meets objectives: it asks for probes and takes what was observed."""
