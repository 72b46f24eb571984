"""Pub/Sub in and out; `pubsub` chooses by runner."""
