"""What runs in the processes of other model servers: each module imports its own, and no room of ours."""
