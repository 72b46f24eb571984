"""Event simulation of one worker, and of one replica of an endpoint: bundle by bundle, batch by batch."""
