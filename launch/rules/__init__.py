"""What Google's services refuse, or ignore in silence, of a launch's settings."""
