"""Laws out of published rows: what one worker did at a few rates, and what it would have done at others."""
