"""From a raw log to every figure that a user sees, each with its unit, its interval and what it rests on."""
