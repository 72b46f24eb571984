"""What belongs to a process rather than to a bundle: shared objects, and how it stops."""
