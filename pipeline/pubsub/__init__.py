"""What is known of Pub/Sub: limits, status codes, raw messages, channels and the calls on them."""
