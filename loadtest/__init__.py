"""Open-loop load driver for the streaming inference job: what was sent, what came back, and how late."""
