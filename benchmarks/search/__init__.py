"""The search for the highest sustainable rate, on systems whose truth is known."""
