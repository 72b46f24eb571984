"""What a job and an endpoint cost, as profile.json: measured once, predicted from later."""
