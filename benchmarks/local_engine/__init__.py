"""How much a job carries on one machine."""
