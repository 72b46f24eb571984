"""What a message costs in process."""
