"""A model for another server than ours: what `./launch.sh export` writes."""
