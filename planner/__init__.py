"""The planner: what a job will do and cost, before it is launched."""
