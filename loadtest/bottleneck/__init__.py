"""What limits a run, from what it has measured, and what to change first."""
