"""What is known of Pub/Sub: limits, transient codes, raw messages, channels."""
