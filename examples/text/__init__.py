"""A text classifier with two integer inputs, and hooks from text to token ids and from score to label."""
