"""What the planner predicts, beside closed forms, events and measurements, and what that costs."""
