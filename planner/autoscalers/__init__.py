"""The control laws that add and remove workers and replicas, and the time that a new one takes."""
