"""How close to its schedule the load driver sends, and what that costs driver and broker."""
