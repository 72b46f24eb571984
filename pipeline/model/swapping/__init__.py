"""Another model in place of the active one, without a new process: the pointer, and who follows it."""
