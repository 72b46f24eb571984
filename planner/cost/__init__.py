"""What a run costs, by a dated file of prices."""
