"""What it costs to call an exported model, in one way or another."""
