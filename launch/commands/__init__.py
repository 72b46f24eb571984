"""What each launch command runs."""
