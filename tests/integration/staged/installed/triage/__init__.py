"""A package of a user's, as the workers' image has it: hooks and a model. Nothing of ours is imported."""
