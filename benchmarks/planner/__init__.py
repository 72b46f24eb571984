"""The planner against closed forms, published rows and its own promises of speed."""
