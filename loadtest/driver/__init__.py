"""A run: who sends on the schedule, who collects the answers, and what they leave."""
