"""A run on one machine: broker, endpoint container, job and load driver."""
